"""Tests of `interceptor.net`."""

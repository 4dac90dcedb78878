"""Tests of `interceptor.names`."""

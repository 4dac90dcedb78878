"""Tests of interceptor.layers."""

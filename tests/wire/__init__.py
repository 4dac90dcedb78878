"""Tests of the sans-IO codecs."""

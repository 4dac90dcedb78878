"""Tests of the manual: its examples run, its lists are complete."""

"""What stops a measurement."""

from __future__ import annotations


class BenchError(Exception):
    """A program could not be started, or what it did makes a measurement worthless."""


class NotMeasuredError(BenchError):
    """This machine is not one on which it can be told; the text says why."""

"""Fuzzing: every codec is fed what nobody would send, for a short while in each run of the tests.

``make fuzz`` does it for as long as one likes. What it finds is kept in ``corpus``, in a folder for
each target, and tried first by every run from then on.
"""

from __future__ import annotations

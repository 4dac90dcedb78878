"""Tests with real sockets, processes and client programs."""

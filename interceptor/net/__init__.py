"""Twisted edges: transports, read gates, deadlines and upstream connections. Knows no hooks."""

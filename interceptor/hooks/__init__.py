"""Hooks: the interfaces that declare them, the bus that calls them, the addons and scripts that have them."""

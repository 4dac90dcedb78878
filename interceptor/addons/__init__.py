"""Built-in addons, written against the public hook API only."""

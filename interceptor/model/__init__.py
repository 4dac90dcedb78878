"""Plain data that every level may use: messages, connections, flows, modes, options. No Twisted."""

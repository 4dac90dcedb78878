"""Sans-IO codecs: bytes to events, events to bytes. No Twisted, no hooks, no clock."""

"""Cases that peers of a protocol are judged by, with the proxy between them and without it."""

"""What a connection is spoken as: sessions, detection, HTTP exchanges, tunnels."""

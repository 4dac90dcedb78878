"""Connects to the staging server in place of www, and expects its certificate."""


def serverconnect(server_conn):
    if server_conn.address == ("www.example.test", 443):
        server_conn.address = ("staging.example.test", 443)
        server_conn.sni = "staging.example.test"

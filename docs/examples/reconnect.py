def serverconnect(server_conn):
    host, port = server_conn.address
    if host == "api.example.test":
        server_conn.address = ("127.0.0.1", port)
    elif port not in (80, 443):
        server_conn.refuse("only the usual ports")

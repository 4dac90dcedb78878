def clientconnect(root_layer):
    host, port = root_layer.client_conn.address
    if not host.startswith("192.0.2."):
        root_layer.client_conn.refuse("not one of ours")

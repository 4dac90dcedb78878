"""Print what mail clients and servers say, and what of it was encrypted."""


def tcp_message(flow):
    message = flow.messages[-1]
    where = "in TLS" if flow.client_conn.tls_established else "plain"
    who = "client" if message.from_client else "server"
    for line in message.content.decode(errors="replace").splitlines():
        print(f"{who} ({where}): {line}")

"""Answers the line `PING`, and tells all clients of raw TCP when the proxy is about to stop."""

clients = set()


def tcp_start(flow):
    clients.add(flow)


def tcp_message(flow):
    message = flow.messages[-1]
    if message.from_client and message.content == b"PING\r\n":
        message.content = b""
        flow.inject(b"PONG\r\n", to_client=True)


def tcp_end(flow):
    clients.discard(flow)


def done():
    for flow in clients:
        flow.inject(b"bye\r\n", to_client=True)

"""Lose every tenth datagram on its way to the server, and say hello to each client."""

count = 0


def udp_start(flow):
    flow.inject(b"hello from the proxy\n", to_client=True)


def udp_message(flow):
    global count
    message = flow.messages[-1]
    if message.from_client:
        count += 1
        if count % 10 == 0:
            message.drop()

held = []


def request(flow):
    if flow.request.method == "POST":
        flow.intercept()
        held.append(flow)


def release():
    """Let everything go on that was held; whoever judges the flows calls this."""
    while held:
        held.pop().resume()


def done():
    release()

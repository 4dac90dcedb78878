from interceptor import exceptions

streams = set()


def sse_event(flow):
    streams.add(flow.sse)


def request(flow):
    if flow.request.path == "/announce":
        for stream in [stream for stream in streams if stream.live]:
            try:
                stream.inject(flow.request.text, "announcement")
            except exceptions.EventStreamError:
                pass  # a client that does not read


def response(flow):
    streams.discard(flow.sse)


error = response

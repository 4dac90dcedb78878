from interceptor import ctx


class LineCounter:
    """Gives each line its number, whatever the chunks are."""

    def __init__(self):
        self.rest = b""
        self.number = 0

    def __call__(self, chunk):
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            self.number += 1
            yield b"%d %b\n" % (self.number, line)
        if not chunk and self.rest:
            yield self.rest


def responseheaders(flow):
    if flow.response.headers.get("Content-Type", "").startswith("text/plain"):
        flow.response.stream = LineCounter()


def response(flow):
    if flow.response.raw_content is None:
        ctx.log.info(f"{flow.response.body_size} bytes streamed by")

"""Replace bytes in responses as they stream by, however they are cut into chunks.

Arguments: what to look for, what to put in its place, and optionally a filter expression that
chooses the responses (without one: ``~ts text/``)::

    interceptor run -s "scripts/stream_transform.py http://old.example https://new.example"

Nothing is gathered: every chunk goes on at once but for the few bytes at its end that could be the
beginning of a match. So this works on event streams and on downloads of any size. The server is
asked for uncompressed bodies; one that comes compressed, or in part only, passes unchanged.
"""

from __future__ import annotations

from interceptor import ctx, exceptions, flowfilter, http


class Replacement:
    """A transform: called with each chunk, and with ``b""`` at the end, it returns bytes."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.old, self.new = old, new
        self.held = b""

    def __call__(self, chunk: bytes) -> bytes:
        *before, last = (self.held + chunk).split(self.old)
        kept = self.beginning_of_match(last) if chunk else 0
        self.held = last[len(last) - kept :]
        return self.new.join([*before, last[: len(last) - kept]])

    def beginning_of_match(self, data: bytes) -> int:
        """How many bytes at the end of ``data`` may turn out to begin a match."""
        for length in range(min(len(self.old) - 1, len(data)), 0, -1):
            if data.endswith(self.old[:length]):
                return length
        return 0


class StreamTransform:
    """Sets a `Replacement` on every response that ``expression`` chooses."""

    name = "stream_transform"

    def __init__(self, old: bytes, new: bytes, expression: str = "~ts text/") -> None:
        if not old:
            raise ValueError("what to look for is empty")
        self.old, self.new = old, new
        self.chosen = flowfilter.parse(expression)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.request.anticomp()
        flow.request.headers.pop("Range", None)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None or response.status_code == 206 or not self.chosen(flow):
            return
        if response.headers.get("Content-Encoding", "identity").lower() == "identity":
            response.stream = Replacement(self.old, self.new)
            # They were true of the old body.
            for name in ("Content-Length", "ETag", "Content-Digest", "Repr-Digest"):
                response.headers.pop(name, None)


def start() -> StreamTransform:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if len(arguments) not in (2, 3):
        raise exceptions.OptionsError("stream_transform.py: expected OLD NEW [FILTER]")
    old, new, *rest = arguments
    try:
        return StreamTransform(old.encode(), new.encode(), *rest)
    except ValueError as error:
        raise exceptions.OptionsError(f"stream_transform.py: {error}") from None

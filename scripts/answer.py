r"""Answer requests from the proxy: a maintenance page, a fixed piece of JSON, an empty file.

Arguments: a filter expression that chooses the requests (a bare word is searched in the URL), the
status, the body (``@FILE`` reads it from a file), and optionally its content type::

    interceptor run -s "scripts/answer.py /api/health 200 '{\"ok\": true}' application/json"
    interceptor run -s "scripts/answer.py '~d shop.example' 503 @maintenance.html text/html"

The server is asked nothing, and the request's body is not waited for.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from interceptor import ctx, exceptions, flowfilter, http


class Answer:
    """Answers what ``expression`` chooses, always in the same way."""

    name = "answer"

    def __init__(self, expression: str, status: int, body: bytes, content_type: str) -> None:
        self.chosen = flowfilter.parse(expression)
        if self.chosen.searches_body:
            raise ValueError("the answer is given before the body is there: ~b cannot choose")
        self.status, self.body = status, body
        self.headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        self.answer()  # raises ValueError for what is no response

    def answer(self) -> http.Response:
        """A new response."""
        return http.Response.make(self.status, self.body, self.headers)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None and self.chosen(flow):
            flow.response = self.answer()


def start() -> Answer:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if len(arguments) not in (3, 4):
        raise exceptions.OptionsError("answer.py: expected FILTER STATUS BODY|@FILE [CONTENT-TYPE]")
    expression, status, text, *rest = arguments
    body, guess = text.encode(), "text/plain; charset=utf-8"
    try:
        if text.startswith("@"):
            body = Path(text[1:]).read_bytes()
            guess = mimetypes.guess_type(text)[0] or "application/octet-stream"
        if not status.isdecimal():
            raise ValueError(f"expected a status code, not `{status}`")
        if not 200 <= int(status) <= 599:
            raise ValueError(f"expected a status code from 200 to 599, not `{status}`")
        return Answer(expression, int(status), body, rest[0] if rest else guess)
    except (OSError, ValueError) as error:
        raise exceptions.OptionsError(f"answer.py: {error}") from None

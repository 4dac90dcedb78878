r"""Refuse requests that a filter expression, or a file of them, chooses.

Arguments: filter expressions, or ``@FILE`` with one expression on each line (empty lines and lines
that begin with ``#`` are skipped). What one of them matches is answered with 403::

    interceptor run -s "scripts/block.py '~d ads.example' '~m DELETE' @blocked.txt"

It decides on the head of a request, before any byte goes to a server, so that no way of sending a
body gets round it; and should it fail, the flow dies (``error_policy``). CONNECT tunnels are
refused as well where the expression matches ``host:port``; inside of one it sees what the proxy can
read, which is HTTP, and TLS unless that passes through. To allow only certain hosts, use ``~host``,
which a client cannot get round by a false Host field::

    interceptor run -s "scripts/block.py '!~host ^www\.example\.com$'"
"""

from __future__ import annotations

from pathlib import Path

from interceptor import ctx, exceptions, flowfilter, http

error_policy = "kill"


class Block:
    r"""Refuses what any of ``expressions`` matches."""

    name = "block"
    error_policy = error_policy

    def __init__(self, expressions: list[flowfilter.Filter]) -> None:
        self.expressions = expressions

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        for expression in self.expressions:
            if expression(flow):
                flow.response = http.Response.make(
                    403, "blocked by the proxy\n", {"Content-Type": "text/plain; charset=utf-8"}
                )
                ctx.log.debug(f"{flow.request.pretty_url}: blocked by {expression.pattern}")
                return

    http_connect = requestheaders


def parse_all(texts: list[str], place: str) -> list[flowfilter.Filter]:
    """Compile expressions; ``place`` says where they stand. Raises ``OptionsError``."""
    expressions = []
    for number, text in enumerate(texts, 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            expression = flowfilter.parse(text)
        except flowfilter.FilterError as error:
            raise exceptions.OptionsError(f"block.py: {place} {number}: {error}") from None
        if expression.searches_body:
            raise exceptions.OptionsError(
                f"block.py: {place} {number}: it is decided before the body is there, without ~b"
            )
        expressions.append(expression)
    return expressions


def start() -> Block:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if not arguments:
        raise exceptions.OptionsError("block.py: expected FILTER or @FILE …")
    expressions = parse_all([text for text in arguments if text[:1] != "@"], "filter")
    for name in [text[1:] for text in arguments if text[:1] == "@"]:
        try:
            lines = Path(name).read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise exceptions.OptionsError(f"block.py: {name}: {error}") from None
        expressions += parse_all(lines, f"{name}, line")
    return Block(expressions)

"""Allow only certain methods: a read-only view of a site, for instance.

Arguments: the methods that are allowed, and optionally ``--filter EXPRESSION``, which chooses the
requests that this goes for. All others are answered with 405::

    interceptor run -s "scripts/limit_methods.py GET HEAD OPTIONS --filter '~d wiki.example'"

CONNECT has to be named to be allowed: inside of a tunnel the proxy cannot read (TLS that passes
through, say) any method could be used unseen. The script decides on the head of a request; should
it fail, the flow dies (``error_policy``).
"""

from __future__ import annotations

import re

from interceptor import ctx, exceptions, flowfilter, http

error_policy = "kill"


class LimitMethods:
    """Refuses other methods than ``allowed`` for what ``expression`` chooses (None: all)."""

    name = "limit_methods"
    error_policy = error_policy

    def __init__(self, allowed: list[str], expression: flowfilter.Filter | None = None) -> None:
        for method in allowed:
            if not re.fullmatch(r"[A-Z-]+", method):
                raise ValueError(f"expected a method in capitals, not `{method}`")
        if expression is not None and expression.searches_body:
            raise ValueError("it is decided before the body is there: ~b cannot choose")
        self.allowed = allowed
        self.expression = expression

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # Methods are case-sensitive (RFC 9110, section 9.1): `get` is another one than GET.
        if flow.request.method not in self.allowed and flowfilter.match(self.expression, flow):
            flow.response = http.Response.make(
                405,
                f"the proxy allows {', '.join(self.allowed)}\n",
                {"Allow": ", ".join(self.allowed), "Content-Type": "text/plain; charset=utf-8"},
            )

    http_connect = requestheaders


def start() -> LimitMethods:
    """Make the addon from the script's arguments."""
    allowed, expression = ctx.args[1:], None
    try:
        if "--filter" in allowed:
            at = allowed.index("--filter")
            expression = flowfilter.parse(" ".join(allowed[at + 1 :]))
            del allowed[at:]
        if not allowed:
            raise ValueError("expected METHOD … [--filter EXPRESSION]")
        return LimitMethods(allowed, expression)
    except ValueError as error:
        raise exceptions.OptionsError(f"limit_methods.py: {error}") from None

"""Set a header field on requests or responses.

Arguments: ``request`` or ``response``, the field's name, its value, and optionally a filter
expression that chooses the flows. A field of that name that is already there is replaced::

    interceptor run -s "scripts/add_header.py response X-Frame-Options DENY '~t html'"

Bodies are not waited for.
"""

from __future__ import annotations

from interceptor import ctx, exceptions, flowfilter, http


class AddHeader:
    """Sets one field; ``expression`` of None chooses every flow."""

    name = "add_header"

    def __init__(
        self, side: str, field: str, value: str, expression: flowfilter.Filter | None = None
    ) -> None:
        if side not in ("request", "response"):
            raise ValueError(f"expected `request` or `response`, not `{side}`")
        http.Headers([(field, value)])  # raises ValueError for what is no field
        if expression is not None and expression.searches_body:
            raise ValueError("it is decided before the body is there: ~b cannot choose")
        self.side, self.field, self.value, self.expression = side, field, value, expression

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self.side == "request" and flowfilter.match(self.expression, flow):
            flow.request.headers[self.field] = self.value

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if self.side == "response" and flowfilter.match(self.expression, flow):
            assert flow.response is not None
            flow.response.headers[self.field] = self.value


def start() -> AddHeader:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if len(arguments) not in (3, 4):
        raise exceptions.OptionsError(
            "add_header.py: expected request|response NAME VALUE [FILTER]"
        )
    side, field, value, *rest = arguments
    try:
        return AddHeader(side, field, value, flowfilter.parse(rest[0]) if rest else None)
    except ValueError as error:
        raise exceptions.OptionsError(f"add_header.py: {error}") from None

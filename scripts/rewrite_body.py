r"""Replace a regular expression in the bodies of responses.

Arguments: the pattern, the replacement (``\1`` is the first group), and optionally a filter
expression that chooses the responses. Without one, text, JSON, JavaScript and XML are searched::

    interceptor run -s "scripts/rewrite_body.py 'colou?r' farbe '~d example.com ~ts html'"

Content codings are removed before and applied again after. Bodies are gathered for this, but those
that stream by their nature, such as event streams, pass unchanged; stream_transform.py is for them.
"""

from __future__ import annotations

import re

from interceptor import ctx, exceptions, flowfilter, http

TEXTUAL = r"~ts '^text/|[/+](json|xml|javascript|ecmascript)\b'"

# What a server said of the old body would be wrong of the new one.
STALE = ("ETag", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


class RewriteBody:
    """Replaces ``pattern`` in every response that ``expression`` chooses."""

    name = "rewrite_body"

    def __init__(self, pattern: str, replacement: str, expression: str = TEXTUAL) -> None:
        self.pattern = re.compile(pattern)
        # Finds a reference to a group that is not there before any response does.
        re.compile(pattern + "|").sub(replacement, "")
        self.replacement = replacement
        self.chosen = flowfilter.parse(expression)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # Only codings that can be removed again, and the whole body rather than a range of it.
        flow.request.constrain_encoding()
        flow.request.headers.pop("Range", None)

    def response(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None or not response.raw_content or not self.chosen(flow):
            return
        text = response.text
        if text is None or response.content_error is not None:
            return
        changed, count = self.pattern.subn(self.replacement, text)
        if count:
            response.text = changed
            for name in STALE:
                response.headers.pop(name, None)


def start() -> RewriteBody:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if len(arguments) not in (2, 3):
        raise exceptions.OptionsError("rewrite_body.py: expected PATTERN REPLACEMENT [FILTER]")
    try:
        return RewriteBody(*arguments)
    except (re.error, IndexError, ValueError) as error:
        raise exceptions.OptionsError(f"rewrite_body.py: {error}") from None

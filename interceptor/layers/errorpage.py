"""The short page that a client gets when its request could not be served."""

from __future__ import annotations

import re

from interceptor.model.http import Response

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def error_response(status: int, code: str, message: str) -> Response:
    """Return a plain text page that names ``status``, the stable ``code`` and what happened."""
    shown = _UNPRINTABLE.sub("\ufffd", message)
    response = Response.make(
        status,
        b"",
        {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
    )
    if status == 426:
        # RFC 6455 section 4.4, RFC 9110 section 15.5.22
        response.headers["Sec-WebSocket-Version"] = "13"
        response.headers["Upgrade"] = "websocket"
    reason = response.reason
    response.text = f"{status} {reason}\n\ninterceptor: {code}\n{shown}\n"
    return response

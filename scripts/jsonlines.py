"""Write one line of JSON for every flow that ended.

Arguments: a file, which is added to and made readable for its owner only, and optionally a filter
expression that chooses the flows::

    interceptor run -s "scripts/jsonlines.py flows.jsonl '~c >= 400 | ~e'"

A line has ``time`` (seconds since the epoch), ``client``, ``method``, ``url``, ``status``,
``type``, ``request_bytes``, ``response_bytes``, ``milliseconds`` and, where there was one,
``error`` with its ``code`` and ``message``. There are no headers, no bodies, and no values of URL
parameters that by their names are secrets. Lines are kept for a tenth of a second and then written
together. A CONNECT has its line when it is asked for, and another one should it fail.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, TextIO

from interceptor import ctx, exceptions, flowfilter, http

SECRET = re.compile(
    r"([?&;][^=&;#]*(?:token|key|secret|passw|pwd|auth|signature|credential|session|code)[^=&;#]*=)"
    r"[^&;#]+",
    re.IGNORECASE,
)


class JSONLines:
    """Writes the flows that ``expression`` chooses (None: all) to ``file``."""

    name = "jsonlines"
    # Changes nothing, so that no body need be kept for it.
    observes_only = True

    def __init__(self, file: TextIO, expression: flowfilter.Filter | None = None) -> None:
        self.file = file
        self.expression = expression
        self.lines: list[str] = []

    def response(self, flow: http.HTTPFlow) -> None:
        if flowfilter.match(self.expression, flow):
            self.lines.append(json.dumps(describe(flow)))

    error = response
    http_connected = response

    def http_connect(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and flow.response.status_code >= 300:
            # Another script has refused it.
            self.response(flow)

    def tick(self) -> None:
        if not self.lines:
            return
        lines, self.lines = self.lines, []
        try:
            self.file.write("\n".join(lines) + "\n")
            self.file.flush()
        except OSError as error:
            ctx.log.error(f"{len(lines)} flows were not written: {error}")

    def done(self) -> None:
        self.tick()
        try:
            self.file.close()
        except OSError as error:
            ctx.log.error(f"{self.file.name}: {error}")


def describe(flow: http.HTTPFlow) -> dict[str, Any]:
    """What is written of a flow."""
    request, response = flow.request, flow.response
    address = flow.client_conn.address
    record: dict[str, Any] = {
        "time": round(request.timestamp_start, 3),
        "client": None if address is None else address[0],
        "method": request.method,
        "url": SECRET.sub(r"\1…", request.pretty_url),
        "status": None,
        "request_bytes": size_of(request),
    }
    end = None if flow.error is None else flow.error.timestamp
    if response is not None:
        record["status"] = response.status_code
        record["type"] = response.headers.get("Content-Type", "").partition(";")[0].strip()
        record["response_bytes"] = size_of(response)
        end = response.timestamp_end or end
    if end is not None:
        record["milliseconds"] = round((end - request.timestamp_start) * 1000, 1)
    if flow.server_conn.ssl_verification_error is not None:
        record["unverified"] = flow.server_conn.ssl_verification_error
    if flow.error is not None:
        record["error"] = {"code": flow.error.code, "message": flow.error.msg}
    return record


def size_of(message: http.Request | http.Response) -> int:
    """Bytes of a body, be it there or have it streamed by."""
    return message.body_size or len(message.raw_content or b"")


def open_private(path: str, flags: int) -> int:
    """An opener for files that only their owner may read."""
    return os.open(path, flags, 0o600)


def start() -> JSONLines:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if len(arguments) not in (1, 2):
        raise exceptions.OptionsError("jsonlines.py: expected FILE [FILTER]")
    path, *rest = arguments
    try:
        expression = flowfilter.parse(rest[0]) if rest else None
        if expression is not None and expression.searches_body:
            raise ValueError("bodies are not kept for this script: ~b cannot choose")
        return JSONLines(open(path, "a", encoding="utf-8", opener=open_private), expression)
    except (OSError, ValueError) as error:
        raise exceptions.OptionsError(f"jsonlines.py: {error}") from None

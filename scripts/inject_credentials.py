r"""Add an Authorization field to requests for certain hosts, so that clients need not know it.

Arguments: any number of ``HOST=env:VARIABLE`` or ``HOST=file:PATH``. What the variable or the file
holds is the field's value, such as ``Bearer 0123abcd``; it is read once, when the script is loaded,
and appears in no argument, log or error::

    API_AUTH='Bearer 0123abcd' interceptor run \
        -s "scripts/inject_credentials.py api.example.com=env:API_AUTH git.test=file:/run/auth"

The host is the one that the request really goes to, whatever its Host field says; load this script
after those that send requests elsewhere. A field that the client sent itself is left alone. Inside
of a CONNECT tunnel it works where the proxy can read what is spoken: HTTP, and TLS unless that
passes through.
"""

from __future__ import annotations

import os
from pathlib import Path

from interceptor import ctx, exceptions, http


class InjectCredentials:
    """``credentials`` maps hosts, in lower case, to values of the field."""

    name = "inject_credentials"

    def __init__(self, credentials: dict[str, str]) -> None:
        self.credentials = credentials

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        value = self.credentials.get(flow.request.host.lower().rstrip("."))
        if value is not None and "Authorization" not in flow.request.headers:
            flow.request.headers["Authorization"] = value


def read_credentials(source: str) -> str:
    """What ``env:VARIABLE`` or ``file:PATH`` holds. Raises `ValueError` without telling it."""
    kind, _, place = source.partition(":")
    if kind == "env" and place:
        value = os.environ.get(place, "")
    elif kind == "file" and place:
        try:
            value = Path(place).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise ValueError(f"{place}: {type(error).__name__}") from None
    else:
        raise ValueError("expected env:VARIABLE or file:PATH")
    value = value.strip()
    if not value:
        raise ValueError(f"{place} is empty or not there")
    if not value.isprintable():
        raise ValueError(f"{place} holds something that cannot stand in a header field")
    return value


def start() -> InjectCredentials:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    credentials = {}
    for argument in arguments:
        host, equals, source = argument.partition("=")
        try:
            if not host or not equals:
                raise ValueError("expected HOST=env:VARIABLE or HOST=file:PATH")
            credentials[host.lower()] = read_credentials(source)
        except ValueError as error:
            raise exceptions.OptionsError(f"inject_credentials.py: {host}: {error}") from None
    if not credentials:
        raise exceptions.OptionsError("inject_credentials.py: expected HOST=SOURCE …")
    return InjectCredentials(credentials)

"""Send requests for one host to another one.

Arguments: any number of ``FROM=TO``, each side ``HOST``, ``HOST:PORT`` or ``[V6]:PORT``. A side
without a port means any port, and the port that was asked for::

    interceptor run -s "scripts/redirect_host.py www.example.com=localhost:3000 a.test=b.test"

The Host field is changed along; CONNECT tunnels are redirected too. The client notices nothing: it
is not answered with a redirection.
"""

from __future__ import annotations

import re

from interceptor import ctx, exceptions, http

Address = tuple[str, int | None]


class RedirectHost:
    """``table`` maps a host and a port (None: any) to where its requests go instead."""

    name = "redirect_host"

    def __init__(self, table: dict[Address, Address]) -> None:
        self.table = table

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        request = flow.request
        host = request.host.lower()
        target = self.table.get((host, request.port)) or self.table.get((host, None))
        if target is not None:
            request.host = target[0]
            if target[1] is not None:
                request.port = target[1]

    http_connect = requestheaders


def parse_address(text: str) -> Address:
    """``HOST``, ``HOST:PORT`` or ``[V6]:PORT``. Raises `ValueError` for anything else."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/?#=@\[\]]+))(?::([0-9]{1,5}))?", text)
    if found is None or (found[3] and not 0 < int(found[3]) < 65536):
        raise ValueError(f"expected HOST, HOST:PORT or [V6]:PORT, not `{text}`")
    return (found[1] or found[2]).lower(), int(found[3]) if found[3] else None


def start() -> RedirectHost:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if not arguments:
        raise exceptions.OptionsError("redirect_host.py: expected FROM=TO …")
    table = {}
    for argument in arguments:
        old, _, new = argument.partition("=")
        try:
            table[parse_address(old)] = parse_address(new)
        except ValueError as error:
            raise exceptions.OptionsError(f"redirect_host.py: `{argument}`: {error}") from None
    return RedirectHost(table)

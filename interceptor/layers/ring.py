"""Proxies in a ring, told by what each of them adds to Via (RFC 9110, section 7.6.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from secrets import token_hex
from typing import TYPE_CHECKING

from interceptor.errors import UpstreamError

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection
    from interceptor.model.http import Request
    from interceptor.model.options import Options


class RingGuard:
    """The options ``via`` and ``via_limit``.

    ``name`` is what this proxy is called in Via: new each time it starts, so that it is nobody
    else's. A request that comes back has it there already.
    """

    def __init__(self, options: Options) -> None:
        self.name = f"interceptor-{token_hex(4)}"
        self._ours = re.compile(rf"(?:^|,)[ \t]*[^ \t,]+[ \t]+{self.name}(?=[ \t,]|$)")
        self.always = False
        """Whether every request has to be given to `pass_on`."""
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the options."""
        self.always = options.via == "always"
        self._never = options.via == "never"
        self._limit = options.via_limit

    def check(self, values: Iterable[str]) -> None:
        """Raise `UpstreamError` (``proxy-ring``, 508) where a request has been here too often.

        ``values`` are those of its Via fields. 508 is "Loop Detected" (RFC 5842, section 7.2).
        """
        if self._never:
            return
        times = sum(len(self._ours.findall(value)) for value in values)
        if times >= self._limit:
            raise UpstreamError(
                f"this request has come through this proxy {times} times before: the proxies that "
                "it goes by lead back to each other",
                "proxy-ring",
                508,
            )

    def pass_on(self, request: Request) -> None:
        """Check a request, and add this proxy to its Via."""
        headers = request.headers
        self.check(headers.get_all("via"))
        version = request.http_version.removeprefix("HTTP/").removesuffix(".0")
        headers.add("Via", f"{'1.0' if version == '1' else version} {self.name}")

    def request_field(
        self, received: Iterable[str], client_conn: ClientConnection
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Return the field that a next hop is sent with each request of a client's, if any.

        ``received`` are the values with which the client asked for the tunnel that they are in.
        """
        values = [value.encode("utf-8", "surrogateescape") for value in received]
        if not self.always:
            values.append(self._own(client_conn))
        return self._field(values)

    def connect_field(
        self, received: Iterable[str], client_conn: ClientConnection
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Return the field that a next hop is sent with CONNECT, if any.

        ``received`` are the values of what that is for.
        """
        values = [value.encode("utf-8", "surrogateescape") for value in received]
        if not values or not values[-1].endswith(self.name.encode()):
            values.append(self._own(client_conn))
        return self._field(values)

    def _field(self, values: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        return () if self._never or not values else ((b"Via", b", ".join(values)),)

    def _own(self, client_conn: ClientConnection) -> bytes:
        return b"%b %b" % (b"2" if client_conn.alpn == b"h2" else b"1.1", self.name.encode())

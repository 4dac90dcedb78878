"""The client's half of CONNECT: one request to a proxy, and then a tunnel (RFC 9110, 9.3.6)."""

from __future__ import annotations

from binascii import b2a_base64

from interceptor.errors import ProtocolError, UpstreamError
from interceptor.model.headers import Headers
from interceptor.model.hostports import ascii_host
from interceptor.model.http import Request
from interceptor.model.wording import shown
from interceptor.wire.http1client import HTTP1ClientCodec
from interceptor.wire.httpbody import HTTP1Limits
from interceptor.wire.httpevents import ResponseHead

_LIMITS = HTTP1Limits(head_size=16384, field_count=200)


class ConnectClient:
    """Asks a proxy for a tunnel to a server.

    Send what `start` returns and give `receive` what comes back, until ``done``; ``rest`` is what
    came after the proxy's answer, from the server. ``fields`` are sent with the request.
    """

    def __init__(self, host: str, port: int, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.destination = (host, port)
        try:
            name = ascii_host(host)
        except UnicodeError as error:
            raise UpstreamError(f"{shown(host)} is no name of a host", "dns-failed") from error
        self._request = Request(
            b"CONNECT", b"", name, port, b"", b"HTTP/1.1", Headers(), "authority", 0.0
        )
        self._codec = HTTP1ClientCodec(_LIMITS, "repair", own_fields=fields)
        self.done = False
        self.rest = b""

    def start(self) -> bytes:
        """Return the request. Raises `UpstreamError` where the host cannot be asked for."""
        try:
            return self._codec.send_message(self._request, b"")
        except ProtocolError as error:
            raise UpstreamError(str(error), "dns-failed") from error

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the proxy; return what is to be sent, which is nothing here.

        Raises `UpstreamError`: ``upstream-proxy-auth``, ``upstream-proxy-refused``,
        ``upstream-proxy-malformed``.
        """
        self._codec.receive_data(data)
        while not self.done:
            try:
                event = self._codec.next_event(0.0)
            except ProtocolError as error:
                raise UpstreamError(
                    f"its answer to CONNECT is faulty: {error}", "upstream-proxy-malformed"
                ) from error
            if not isinstance(event, ResponseHead):
                # There is no more for now: nothing but heads comes before the answer's.
                break
            response = event.response
            status = response.status_code
            if status < 200:
                continue
            if status >= 300:
                raise refusal(status, response.reason)
            self.done = True
            self.rest = self._codec.take_rest()
        return b""


def refusal(status: int, reason: str) -> UpstreamError:
    """Return the error for a proxy that answers with a ``status`` that is none of success."""
    said = f"{status} {shown(reason)}" if reason else str(status)
    if status == 508:
        return UpstreamError(f"it is part of a ring of proxies: {said}", "proxy-ring", 508)
    if status == 407:
        return UpstreamError(f"it wants other credentials: {said}", "upstream-proxy-auth")
    return UpstreamError(f"it refuses the connection: {said}", "upstream-proxy-refused")


def basic(user: bytes, password: bytes) -> bytes:
    """Return the credentials of the Basic scheme (RFC 7617, section 2)."""
    return b"Basic " + b2a_base64(b"%b:%b" % (user, password), newline=False)

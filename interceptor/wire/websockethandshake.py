"""WebSocket's opening handshake (RFC 6455 section 4), as a proxy between the two sees it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from interceptor.errors import RemoteProtocolError, UpstreamError
from interceptor.wire.websocketdeflate import Deflate, agreed, is_offer, parse_extensions

if TYPE_CHECKING:
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EXTENSIONS: Final = b"sec-websocket-extensions"
VERSION: Final = b"13"


def accept_for(key: bytes) -> bytes:
    """Return what a server answers to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.strip() + _GUID, usedforsecurity=False).digest())


def names_websocket(upgrade: bytes | None) -> bool:
    """Whether the value of an Upgrade field has ``websocket`` among its protocols."""
    if upgrade is None:
        return False
    return any(part.strip(b" \t").lower() == b"websocket" for part in upgrade.split(b","))


def check_request(request: Request) -> None:
    """Raise `RemoteProtocolError` for a handshake that no server may accept.

    Its status is 400, or 426 where the version is another one.
    """
    headers = request.headers
    versions = _values(headers, b"sec-websocket-version")
    if versions and versions != [VERSION]:
        shown = b", ".join(versions)[:100].decode("latin-1")
        raise RemoteProtocolError(
            f"the client asks for version {shown!r} of WebSocket, and there is only 13",
            "websocket-version-unsupported",
            426,
        )
    if request.method_bytes != b"GET":
        raise _refused(f"a WebSocket is asked for with GET, not {request.method[:20]}")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _refused("there is no Sec-WebSocket-Key of 16 bytes")
    if not versions:
        raise _refused("there is no Sec-WebSocket-Version")


def check_connect(request: Request) -> None:
    """The same for an extended CONNECT (RFC 8441 section 5), which has no key."""
    if _values(request.headers, b"sec-websocket-version") != [VERSION]:
        raise _refused("there is no Sec-WebSocket-Version, or another one than 13")


def as_connect(request: Request) -> Request:
    """Return an upgrade of HTTP/1 as the extended CONNECT that means the same."""
    made = request.copy()
    made.method_bytes = b"CONNECT"
    for name in ("connection", "upgrade", "sec-websocket-key"):
        made.headers.pop(name, None)
    return made


def as_upgrade(request: Request, key: bytes) -> Request:
    """Return an extended CONNECT as the upgrade of HTTP/1 that means the same."""
    made = request.copy()
    made.method_bytes = b"GET"
    made.http_version = "HTTP/1.1"
    made.headers["Upgrade"], made.headers["Connection"] = "websocket", "Upgrade"
    made.headers["Sec-WebSocket-Key"] = key.decode("ascii")
    return made


def _refused(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, "websocket-handshake-invalid")


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def keep_known_extensions(request: Request) -> None:
    """Take out of an offer what nobody here understands, and all of it where it is malformed."""
    headers = request.headers
    values = _values(headers, _EXTENSIONS)
    if not values:
        return
    try:
        offered = parse_extensions(values)
    except ValueError:
        offered = []
    kept = [extension for extension in offered if is_offer(extension)]
    if kept and len(kept) == len(offered):
        return
    del headers["sec-websocket-extensions"]
    if kept:
        headers["Sec-WebSocket-Extensions"] = b", ".join([e.written for e in kept]).decode("ascii")


def offers_deflate(request: Request) -> bool:
    """Whether permessage-deflate is offered."""
    try:
        offered = parse_extensions(_values(request.headers, _EXTENSIONS))
    except ValueError:
        return False
    return any(is_offer(extension) for extension in offered)


def check_response(response: Response, key: bytes | None, offered: bool) -> Deflate | None:
    """Return what a server's 101 agrees to; ``key`` and ``offered`` are of what it was sent.

    ``key`` is None over HTTP/2, which has none. Raises `UpstreamError` for an answer that a client
    may not take for one to what it has asked (RFC 6455 section 4.1).
    """
    headers = response.headers
    if key is not None:
        if not names_websocket(headers.get_bytes(b"upgrade")):
            raise _misled("another protocol was switched to")
        if _values(headers, b"sec-websocket-accept") != [accept_for(key)]:
            raise _misled("Sec-WebSocket-Accept does not fit the key")
    try:
        deflate = agreed(parse_extensions(_values(headers, _EXTENSIONS)))
    except ValueError as error:
        raise _misled(f"Sec-WebSocket-Extensions: {error}") from None
    if deflate is not None and not offered:
        raise _misled("Sec-WebSocket-Extensions: permessage-deflate was not offered")
    return deflate


def _misled(message: str) -> UpstreamError:
    return UpstreamError(
        f"the server's answer to a WebSocket handshake is wrong: {message}",
        "websocket-answer-invalid",
    )


def agreed_with_client(response: Response, offered: bool) -> Deflate | None:
    """Return what the 101 that the client is about to get agrees to, and make it fit to be sent.

    ``offered`` says whether the client has offered permessage-deflate. What hooks made of the
    field that cannot be is taken out.
    """
    values = _values(response.headers, _EXTENSIONS)
    if not values:
        return None
    deflate = None
    try:
        if offered:
            deflate = agreed(parse_extensions(values))
    except ValueError:
        deflate = None
    if deflate is None:
        del response.headers["sec-websocket-extensions"]
    return deflate


def key_of(headers: Headers) -> bytes | None:
    """Return the value of Sec-WebSocket-Key, if there is one."""
    return headers.get_bytes(b"sec-websocket-key")


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers.fields if key.lower() == name]

"""What an HTTP/2 codec says besides the events that name no version.

Events of the connection come with stream 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.wire.httpevents import RequestHead

if TYPE_CHECKING:
    from interceptor.model.http import Request
    from interceptor.wire.framing import Framing


class HTTP2RequestHead(RequestHead):
    """The head of a request with what only HTTP/2 has.

    ``protocol`` is the value of ``:protocol``, which makes it an extended CONNECT (RFC 8441), else
    None. ``priority`` are the five bytes of the priority fields in its HEADERS frame, or empty.
    """

    __slots__ = ("priority", "protocol")

    def __init__(
        self,
        request: Request,
        framing: Framing,
        end_of_message: bool,
        protocol: bytes | None,
        priority: bytes,
    ) -> None:
        self.request = request
        self.framing = framing
        self.end_of_message = end_of_message
        self.protocol = protocol
        self.priority = priority


class GoAway:
    """The peer wants no new streams. Those above ``last_stream_id`` are reset by events of theirs.

    ``code`` is an RFC 9113 section 7 error code; ``debug`` is for people.
    """

    __slots__ = ("code", "debug", "last_stream_id")

    def __init__(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


class SettingsChanged:
    """The peer's settings are other ones now: ask the codec's `may_open` and the like again.

    ``first`` marks those of its connection preface.
    """

    __slots__ = ("first",)

    def __init__(self, first: bool) -> None:
        self.first = first


class WindowOpened:
    """Data may be sent where none could: on this stream, or for stream 0 on any."""

    __slots__ = ()


class PingAcknowledged:
    """The answer to a PING with these eight bytes."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class AltSvc:
    """An ALTSVC frame (RFC 7838): ``origin`` is empty for one on a stream, that of its request."""

    __slots__ = ("origin", "value")

    def __init__(self, origin: bytes, value: bytes) -> None:
        self.origin = origin
        self.value = value


WINDOW_OPENED = WindowOpened()
"""There is nothing to tell one from another."""

ConnectionEvent = GoAway | SettingsChanged | WindowOpened | PingAcknowledged | AltSvc
"""What ``next_event`` may return besides the events of `interceptor.wire.httpevents`."""

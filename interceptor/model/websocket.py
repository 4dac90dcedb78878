"""WebSocket messages, and what a flow knows of the WebSocket that its exchange became."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from interceptor.errors import InterceptorError
from interceptor.model.keyed import Keyed
from interceptor.model.masking import payload_of

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT: Final = "text"
BINARY: Final = "binary"
PING: Final = "ping"
PONG: Final = "pong"
CLOSE: Final = "close"

DATA_TYPES: Final = frozenset((TEXT, BINARY))
"""The types of messages that applications send; the others belong to the protocol."""

NO_STATUS: Final = 1005
"""The code of a close that says none (RFC 6455 section 7.4.1); never sent."""

ABNORMAL: Final = 1006
"""The code of a connection that ended without a close; never sent."""

CONTROL_LIMIT: Final = 125
"""Bytes that the payload of a ping, a pong or a close may have (RFC 6455 section 5.5)."""


def may_be_sent(code: int) -> bool:
    """Whether a close may say ``code``: RFC 6455 section 7.4, and what IANA has added."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


class WebSocketMessage(Keyed):
    """A whole message, or a ping, a pong or a close.

    ``type`` is ``text``, ``binary``, ``ping``, ``pong`` or ``close``; ``from_client`` says who sent
    it and ``timestamp`` when, in seconds since the epoch. ``injected``: no peer did, but a hook or
    somebody outside. ``dropped`` messages are not passed on.

    What was received is kept as it came, and is passed on like that as long as nobody changes it:
    with its fragments, its mask and its compression.
    """

    __slots__ = (
        "_close_code",
        "_content",
        "_settled",
        "compressed",
        "dropped",
        "edited",
        "frames",
        "from_client",
        "injected",
        "timestamp",
        "type",
    )

    def __init__(
        self,
        from_client: bool,
        type: str,
        content: bytes | None = b"",
        timestamp: float | None = None,
        frames: bytes | None = None,
        compressed: bool = False,
    ) -> None:
        """``frames`` are the bytes of the wire; ``content`` may be None where they tell it."""
        self.from_client = from_client
        self.type = type
        self._content = content
        self.timestamp = time.time() if timestamp is None else timestamp
        self.frames = frames
        self.compressed = compressed
        self.dropped = self.edited = self.injected = self._settled = False
        self._close_code = NO_STATUS

    @property
    def content(self) -> bytes:
        """The payload, unmasked and inflated; of a close, the reason. May be changed.

        Text has to stay UTF-8, a ping or pong within 125 bytes and a reason within 123:
        `ValueError` otherwise.
        """
        content = self._content
        if content is None:
            assert self.frames is not None
            content = self._content = payload_of(self.frames)
            if self._settled:
                # One of the two is enough to keep.
                self.frames = None
        return content

    @content.setter
    def content(self, value: bytes) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"the content of a message is bytes, not {type(value).__name__}")
        value = bytes(value)
        check_content(self.type, value)
        if value != self.content:
            self._content = value
            self.edited = True

    @property
    def text(self) -> str:
        """The content as text; bytes that are no UTF-8 are escaped as `surrogateescape` does."""
        return self.content.decode("utf-8", "surrogateescape")

    @text.setter
    def text(self, value: str) -> None:
        self.content = value.encode("utf-8", "surrogateescape")

    @property
    def is_text(self) -> bool:
        """Whether it is a message of text."""
        return self.type == TEXT

    @property
    def close_code(self) -> int:
        """The code of a close; 1005 where it says none, and of everything else."""
        return self._close_code

    @close_code.setter
    def close_code(self, value: int) -> None:
        if self.type != CLOSE:
            raise ValueError(f"a {self.type} has no close code")
        if value != NO_STATUS and not may_be_sent(value):
            raise ValueError(f"{value} is no code that a close may have")
        if value != self._close_code:
            self._close_code = value
            self.edited = True

    def drop(self) -> None:
        """Do not pass the message on. A close cannot be dropped: `ValueError`."""
        if self.type == CLOSE:
            raise ValueError("a close cannot be dropped; flow.kill() ends both connections")
        self.dropped = True

    def settle(self) -> None:
        """Let go of what only serves to pass the message on, now and later."""
        self._settled = True
        if self._content is not None:
            self.frames = None

    @property
    def kept_size(self) -> int:
        """About how many bytes of memory the message takes."""
        size = 256
        if self.frames is not None:
            size += len(self.frames)
        if self._content is not None:
            size += len(self._content)
        return size

    def copy(self) -> WebSocketMessage:
        """Return an independent copy."""
        made = WebSocketMessage(
            self.from_client,
            self.type,
            self._content,
            self.timestamp,
            self.frames,
            self.compressed,
        )
        made.dropped, made.edited, made.injected = self.dropped, self.edited, self.injected
        made._close_code = self._close_code
        return made

    def _key(self) -> tuple[Any, ...]:
        return (self.from_client, self.type, self.content, self._close_code, self.timestamp)

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        code = f" {self._close_code}" if self.type == CLOSE else ""
        return f"<WebSocketMessage {arrow} {self.type}{code}, {len(self.content)} bytes>"


def check_content(type: str, content: bytes) -> None:
    """Raise `ValueError` where a message of that type cannot have that content."""
    if type == BINARY:
        return
    if type in (TEXT, CLOSE):
        content.decode()
    most = CONTROL_LIMIT - 2 if type == CLOSE else CONTROL_LIMIT
    if type != TEXT and len(content) > most:
        raise ValueError(f"a {type} has room for {most} bytes, not for {len(content)}")


class WebSocketControl(Protocol):
    """What the live end of a `WebSocketData` implements."""

    def inject(self, message: WebSocketMessage) -> None:
        """Send a message that no peer sent. Raises `InterceptorError` where there is no room."""

    def close(self, code: int, reason: str) -> None:
        """Close both connections in an orderly way."""


class WebSocketData:
    """What became of a WebSocket: ``flow.websocket``.

    ``messages`` holds what passed, the latest of it, as much as ``websocket_kept_size`` allows, and
    ``forgotten`` counts those that are no longer there. ``messages_from_client`` and
    ``messages_from_server`` count text and binary messages, ``bytes_from_client`` and
    ``bytes_from_server`` what was received on the wire.

    ``close_code`` and ``close_reason`` are those of the close that came first; 1005 is a close
    without a code, 1006 an end without a close. ``closed_by_client`` says who began with it, and is
    None where the proxy did. ``timestamp_end`` is None while it goes on.
    """

    __slots__ = (
        "_control",
        "bytes_from_client",
        "bytes_from_server",
        "close_code",
        "close_reason",
        "closed_by_client",
        "forgotten",
        "messages",
        "messages_from_client",
        "messages_from_server",
        "timestamp_end",
    )

    def __init__(self, messages: Iterable[WebSocketMessage] = ()) -> None:
        self.messages = list(messages)
        self.forgotten = 0
        self.messages_from_client = 0
        self.messages_from_server = 0
        self.bytes_from_client = 0
        self.bytes_from_server = 0
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.closed_by_client: bool | None = None
        self.timestamp_end: float | None = None
        self._control: WebSocketControl | None = None

    @property
    def live(self) -> bool:
        """Whether messages can still be sent."""
        return self._control is not None

    def attach(self, control: WebSocketControl | None) -> None:
        """Say what is behind it; None makes it a mere record."""
        self._control = control

    def inject(self, to_client: bool, content: str | bytes, type: str | None = None) -> None:
        """Send a message to the client, or to the server, as if the other had.

        Text where ``content`` is a `str`, else binary; ``type`` may ask for ``ping`` or ``pong``,
        or for bytes to be sent as text. It is sent after the message that hooks are busy with, and
        is given to hooks like any other, with ``injected`` set. Call it in the reactor's thread.

        Raises `ValueError` for a content that cannot be, and `InterceptorError` with code
        ``websocket-not-open`` where the WebSocket has been closed, or ``websocket-inject-full``
        where more waits to be sent than one message may have.
        """
        data = content.encode() if isinstance(content, str) else bytes(content)
        if type is None:
            type = TEXT if isinstance(content, str) else BINARY
        elif type not in (TEXT, BINARY, PING, PONG):
            raise ValueError(f"{type!r} is no type of message that can be injected")
        check_content(type, data)
        message = WebSocketMessage(not to_client, type, data)
        message.injected = True
        control = self._control
        if control is None:
            raise InterceptorError("the WebSocket is not open", "websocket-not-open")
        control.inject(message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both connections in an orderly way, with a code and a reason.

        Does nothing where that is over. Raises `ValueError` for a code that must not be sent, and
        for a reason of more than 123 bytes.
        """
        if not may_be_sent(code):
            raise ValueError(f"{code} is no code that a close may have")
        check_content(CLOSE, reason.encode())
        if self._control is not None:
            self._control.close(code, reason)

    def copy(self) -> WebSocketData:
        """Return an independent copy, which is not live."""
        made = WebSocketData(message.copy() for message in self.messages)
        for name in self.__slots__:
            if name not in ("_control", "messages"):
                setattr(made, name, getattr(self, name))
        return made

    def __repr__(self) -> str:
        state = "open" if self.close_code is None else f"closed {self.close_code}"
        return f"<WebSocketData {len(self.messages)} messages, {state}>"

"""The reading half that both HTTP/1 codecs share: the buffer, message bodies, trailers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Fields, Framing, Mode, request_fault
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    HTTPEvent,
    NoEvent,
)
from interceptor.wire.httphead import parse_fields
from interceptor.wire.httpwrite import is_forbidden_trailer


@dataclass(frozen=True, slots=True)
class HTTP1Limits:
    """How much an HTTP/1 peer may send before it has to make sense; sizes in bytes.

    ``head_size`` bounds a start line and its fields, ``field_count`` the fields of a head or of
    trailers, ``chunk_line`` one chunk-size line, ``chunk_extensions`` the extensions of a whole
    body beyond a 16th of its data, ``trailer_size`` the trailers, ``informational`` the 1xx
    responses before a final one.
    """

    head_size: int = 65536
    field_count: int = 1000
    chunk_line: int = 4096
    chunk_extensions: int = 65536
    trailer_size: int = 65536
    informational: int = 100


# What is read next. The order matters: see `MessageReader.next_event`.
HEAD: Final = 0
LENGTH: Final = 1
CHUNK_LINE: Final = 2
CHUNK_DATA: Final = 3
CHUNK_END: Final = 4
TRAILERS: Final = 5
UNTIL_EOF: Final = 6
DONE: Final = 7
IDLE: Final = 8
FINISHED: Final = 9

_BODY_STATES: Final = {"none": DONE, "length": LENGTH, "chunked": CHUNK_LINE, "eof": UNTIL_EOF}

# RFC 9112 section 7.1. Extensions are bounded and dropped (section 7.1.1 lets a recipient ignore
# them): data is sent on in the chunks in which it arrives, so that there is nothing to put them on.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)([ \t]*+;[^\x00-\x08\x0a-\x1f\x7f]*+)?\r\n")
_LENIENT_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)([ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?)\r?\n"
)
# The end of a chunk's data and the beginning of the next chunk, as nearly all senders write them.
_PLAIN_CHUNK: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n").match
# The same as some write it.
_ODD_CHUNK: Final = re.compile(
    rb"\r?\n([0-9A-Fa-f]{1,16}+)([ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?)(\r?)\n"
).match
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_SMALL_CHUNK: Final = 512
_GATHERED: Final = 16384
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENIENT_END = re.compile(rb"\n\r?\n")
_TCHAR = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z\r\n]")


class MessageReader(ABC):
    """Bytes in, events out, one message at a time.

    Every byte is looked at a bounded number of times however the input is split: a search goes on
    where the last one stopped, and what was consumed is not moved. A received chunk that lies
    inside a body is passed on as the object that came.
    """

    __slots__ = (
        "_bare_end",
        "_broken",
        "_buffer",
        "_eof",
        "_extensions",
        "_head_size",
        "_limits",
        "_message",
        "_mode",
        "_position",
        "_remaining",
        "_scanned",
        "_skipped",
        "_state",
    )

    _is_response = False
    _fault = request_fault

    def __init__(self, limits: HTTP1Limits, mode: Mode) -> None:
        self._limits = limits
        self._head_size = limits.head_size
        self._mode = mode
        # The bytes as they were received while there is only one piece; a bytearray beyond that.
        self._buffer: bytes | bytearray = b""
        self._position = 0
        self._scanned = 0
        self._eof = False
        self._state = HEAD
        self._remaining = 0
        self._extensions = 0
        self._skipped = 0
        self._bare_end = False
        self._message: Request | Response | None = None
        self._broken: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many received bytes no event was made of yet."""
        return len(self._buffer) - self._position

    @property
    def eof_received(self) -> bool:
        """Whether `receive_eof` was called."""
        return self._eof

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; `next_event` tells what they mean."""
        buffer = self._buffer
        position = self._position
        if position == len(buffer):
            self._buffer = data
            self._position = self._scanned = 0
            return
        if not isinstance(buffer, bytearray):
            buffer = self._buffer = bytearray(memoryview(buffer)[position:])
        elif position > 65536 and position * 2 > len(buffer):
            # Moving is paid for by the bytes consumed since the last move.
            del buffer[:position]
        else:
            buffer += data
            return
        buffer += data
        self._scanned = max(self._scanned - position, 0)
        self._position = 0

    def receive_eof(self) -> None:
        """Note that the peer will send no more."""
        self._eof = True

    def take_rest(self) -> bytes:
        """Hand over the unread bytes, for what follows CONNECT or an upgrade.

        The codec reads nothing any more.
        """
        rest = self._take(len(self._buffer) - self._position)
        self._state = FINISHED
        return rest

    def next_event(self, now: float) -> HTTPEvent | NoEvent:
        """Return the next event, `NEED_DATA` or `CONNECTION_CLOSED`.

        After the last event of a message `NEED_DATA` is all there is until the next cycle begins.
        ``now``, in seconds since the epoch, becomes the time at which a message started. Raises
        `RemoteProtocolError`; the codec is broken then and raises the same again.
        """
        broken = self._broken
        if broken is not None:
            raise RemoteProtocolError(str(broken), broken.code, broken.status)
        state = self._state
        try:
            if state == HEAD:
                return self._read_head(now)
            if state < DONE:
                return self._read_body(state)
        except RemoteProtocolError as error:
            self._broken = error
            raise
        if state == IDLE and self._eof and self._position == len(self._buffer):
            return CONNECTION_CLOSED
        return NEED_DATA

    @abstractmethod
    def _read_head(self, now: float) -> HTTPEvent | NoEvent:
        """Read the head of the next message, if it is there."""

    def _message_done(self) -> None:
        self._state = DONE
        # A connection may idle for long now: it must not keep the message, body and all.
        self._message = None

    def _let_go(self) -> None:
        """Hold on to no bytes that were consumed, while the connection may be idle."""
        if self._position == len(self._buffer):
            self._buffer = b""
            self._position = 0
        self._scanned = self._position

    # Heads

    def _find_head(self) -> tuple[bytes, int, int] | None:
        """Find the head that begins at the position.

        Returns bytes that hold it, where it starts in them, and where its last line ends; the
        position is moved past the empty line. None when it is not all there.
        """
        buffer = self._buffer
        start = self._position
        end = buffer.find(b"\r\n\r\n", max(self._scanned, start))
        if end < 0:
            return self._find_odd_head()
        if end - start > self._head_size:
            raise self._too_large()
        self._position = end + 4
        if isinstance(buffer, bytearray):
            return bytes(memoryview(buffer)[start : end + 2]), 0, end + 2 - start
        return buffer, start, end + 2

    def _find_odd_head(self) -> tuple[bytes, int, int] | None:
        buffer = self._buffer
        start = self._position
        size = len(buffer) - start
        if size and _TCHAR.match(buffer, start) is None:
            # TLS, or anything else that is no HTTP: it is told at once.
            raise self._malformed("this is no HTTP/1 message")
        scanned = max(self._scanned - 2, start)
        if self._is_response:
            match = _LENIENT_END.search(buffer, scanned)
            if match is not None:
                head = bytes(memoryview(buffer)[start : match.start() + 1])
                self._position = match.end()
                self._bare_end = True
                return head, 0, len(head)
        elif _BARE_LF.search(buffer, scanned) is not None:
            raise self._malformed("a line of the head ends in a bare LF")
        if size > self._head_size:
            raise self._too_large()
        self._scanned = max(len(buffer) - 3, start)
        return None

    def _earlier_end(self, head: bytes, start: int, end: int) -> int:
        """Where a response's head ends if a bare LF makes it end before the CRLF CRLF found.

        Moves the position back to what follows then.
        """
        match = _LENIENT_END.search(head, start, end)
        if match is None:
            return end
        self._position -= end + 2 - match.end()
        self._bare_end = True
        return match.start() + 1

    def _skip_empty_lines(self) -> None:
        """Skip empty lines before a start line, a bounded number; RFC 9112 section 2.2."""
        buffer = self._buffer
        position = self._position
        while buffer.startswith(b"\r\n", position):
            position += 2
            self._skipped += 1
        if self._skipped > 4:
            raise self._malformed("there are too many empty lines before the message")
        self._position = position
        self._scanned = max(self._scanned, position)

    def _malformed(self, message: str) -> RemoteProtocolError:
        return self._fault(message, "malformed" if self._is_response else "head-malformed")

    def _too_large(self) -> RemoteProtocolError:
        return self._fault(
            f"the head is larger than {self._limits.head_size} bytes", "head-too-large", 431
        )

    def _check_count(self, fields: Fields) -> None:
        if len(fields) > self._limits.field_count:
            raise self._fault(f"there are {len(fields)} fields", "too-many-fields", 431)

    def _begin_body(self, message: Request | Response, framing: Framing) -> bool:
        """Set up for the body that the framing announces; True when there is none."""
        self._skipped = 0
        state = self._state = _BODY_STATES.get(framing.kind, DONE)
        if state == DONE:
            return True
        self._message = message
        if state == LENGTH:
            assert framing.length is not None
            self._remaining = framing.length
        elif state == CHUNK_LINE:
            self._extensions = 0
            self._scanned = self._position
        return False

    # Bodies

    def _take(self, size: int) -> bytes:
        buffer = self._buffer
        start = self._position
        end = start + size
        if isinstance(buffer, bytearray):
            data = bytes(memoryview(buffer)[start:end])
        elif start == 0 and end == len(buffer):
            data = buffer
        else:
            data = buffer[start:end]
        if end == len(buffer):
            self._buffer = b""
            self._position = self._scanned = 0
        else:
            self._position = end
        return data

    def _read_body(self, state: int) -> HTTPEvent | NoEvent:
        if state in (LENGTH, CHUNK_DATA):
            return self._read_counted(state)
        if state == UNTIL_EOF:
            size = len(self._buffer) - self._position
            if size:
                return Data(self._take(size), False)
            if not self._eof:
                return NEED_DATA
            self._message_done()
            return EndOfMessage(None)
        if state == CHUNK_END and not self._read_chunk_end():
            return self._starved()
        if self._state == CHUNK_LINE:
            if not self._read_chunk_line():
                return self._starved()
            if self._state == CHUNK_DATA:
                return self._read_counted(CHUNK_DATA)
        return self._read_trailers()

    def _starved(self) -> NoEvent:
        """More is needed; an end of the connection here is a truncation (RFC 9112 section 8)."""
        if not self._eof:
            return NEED_DATA
        raise self._fault(
            "the connection ended before the message did",
            "truncated" if self._is_response else "body-truncated",
        )

    def _read_counted(self, state: int) -> HTTPEvent | NoEvent:
        available = len(self._buffer) - self._position
        if not available:
            return self._starved()
        remaining = self._remaining
        if available < remaining:
            self._remaining = remaining - available
            return Data(self._take(available), False)
        if state == LENGTH:
            self._remaining = 0
            self._message_done()
            return Data(self._take(remaining), True)
        if self._buffer.startswith(_LAST_CHUNK, self._position + remaining):
            data = self._take(remaining)
            self._take(len(_LAST_CHUNK))
            self._message_done()
            return Data(data, True)
        self._state = CHUNK_END
        data = self._take(remaining)
        if remaining < _SMALL_CHUNK and self._position < len(self._buffer):
            return self._gather(data)
        return Data(data, False)

    def _gather(self, first: bytes) -> Data:
        """Join a small chunk with those behind it that are there already.

        A peer that sends a byte per chunk would otherwise make an event, and a write, of each.
        """
        buffer = self._buffer
        position = self._position
        pieces: list[bytes | bytearray] = [first]
        size = len(first)
        while size < _GATHERED:
            extension = b""
            match = _PLAIN_CHUNK(buffer, position)
            if match is None:
                match = _ODD_CHUNK(buffer, position)
                if match is None or not self._is_bearable(match):
                    break
                extension = match[2]
            start = match.end()
            end = start + int(match[1], 16)
            if start == end or end > len(buffer):
                # The last chunk, or one that is not all here: these have their usual way.
                break
            pieces.append(buffer[start:end])
            size += end - start
            position = end
            self._extensions += len(extension)
        self._position = self._scanned = position
        last = buffer.startswith(_LAST_CHUNK, position)
        if last:
            self._take(len(_LAST_CHUNK))
            self._message_done()
        return Data(b"".join(pieces), last)

    def _is_bearable(self, match: re.Match[bytes]) -> bool:
        """Whether a chunk that begins in an unusual way may do so; what is odd is noted.

        A fault is told when its turn comes.
        """
        extension = match[2]
        if (
            len(match[0]) > self._limits.chunk_line
            or self._extensions + len(extension) > self._limits.chunk_extensions
        ):
            return False
        bare_end = match[0].startswith(b"\n")
        odd = match[3] != b"\r" or extension.isspace()
        if bare_end or odd:
            if not self._lenient:
                return False
            if bare_end:
                self._mark("bare-lf")
            if odd:
                self._mark("chunk-line-odd")
        return True

    def _chunk_fault(self, message: str) -> RemoteProtocolError:
        return self._fault(message, "chunk-malformed")

    def _mark(self, anomaly: str) -> None:
        message = self._message
        if message is not None and anomaly not in message.anomalies:
            message.anomalies += (anomaly,)

    @property
    def _lenient(self) -> bool:
        return self._is_response and self._mode != "reject"

    def _read_chunk_end(self) -> bool:
        buffer = self._buffer
        position = self._position
        if buffer.startswith(b"\r\n", position):
            self._position = position + 2
        elif self._lenient and buffer.startswith(b"\n", position):
            self._mark("bare-lf")
            self._position = position + 1
        elif len(buffer) - position < 2 and buffer.startswith(
            b"\r"[: len(buffer) - position], position
        ):
            return False
        else:
            raise self._chunk_fault("a chunk's data does not end where its size says")
        self._state = CHUNK_LINE
        self._scanned = self._position
        return True

    def _read_chunk_line(self) -> bool:
        buffer = self._buffer
        position = self._position
        limit = self._limits.chunk_line
        end = buffer.find(b"\n", max(self._scanned, position))
        if (len(buffer) if end < 0 else end) - position > limit:
            raise self._chunk_fault(f"a chunk-size line is longer than {limit} bytes")
        if end < 0:
            self._scanned = len(buffer)
            return False
        match = _CHUNK_LINE.match(buffer, position)
        if match is None or match.end() != end + 1:
            match = _LENIENT_CHUNK_LINE.match(buffer, position) if self._lenient else None
            if match is None or match.end() != end + 1:
                line = bytes(buffer[position : min(end, position + 80)])
                raise self._chunk_fault(f"{line!r} is no chunk size")
            self._mark("chunk-line-odd")
        size, extension = match.groups()
        self._position = self._scanned = end + 1
        self._remaining = int(size, 16)
        if extension:
            # What is little beside its data may go on for as long as the body does.
            self._extensions += max(len(extension) - (self._remaining >> 4), 0)
            if self._extensions > self._limits.chunk_extensions:
                raise self._fault(
                    f"chunk extensions have over {self._limits.chunk_extensions} bytes, beyond a "
                    "16th of the data",
                    "chunk-extensions-too-large",
                )
        self._state = CHUNK_DATA if self._remaining else TRAILERS
        return True

    def _read_trailers(self) -> HTTPEvent | NoEvent:
        buffer = self._buffer
        start = self._position
        if buffer.startswith(b"\r\n", start):
            self._take(2)
            self._message_done()
            return EndOfMessage(None)
        if self._lenient and buffer.startswith(b"\n", start):
            self._mark("bare-lf")
            self._take(1)
            self._message_done()
            return EndOfMessage(None)
        scanned = max(self._scanned, start)
        end = buffer.find(b"\r\n\r\n", scanned)
        if self._lenient:
            match = _LENIENT_END.search(buffer, max(scanned - 2, start))
            after = -1 if match is None else match.end()
            end = -1 if match is None else match.start() + 1
        else:
            after = end + 4
            end = end + 2 if end >= 0 else -1
        limit = self._limits.trailer_size
        if (len(buffer) if end < 0 else end) - start > limit:
            raise self._fault(
                f"the trailers are larger than {limit} bytes", "trailers-too-large", 431
            )
        if end < 0:
            self._scanned = max(len(buffer) - 3, start)
            return self._starved()
        block = bytes(memoryview(buffer)[start:end])
        self._position = start
        self._take(after - start)
        trailers = self._parse_trailers(block)
        self._message_done()
        return EndOfMessage(trailers)

    def _parse_trailers(self, block: bytes) -> Headers | None:
        fields, raw, anomalies = parse_fields(block, self._mode, self._is_response)
        self._check_count(fields)
        for anomaly in anomalies:
            self._mark(anomaly)
        # RFC 9110 section 6.5.1: what decides about framing, routing, authentication or content
        # must not come after the content.
        kept = tuple(field for field in fields if not is_forbidden_trailer(field[0]))
        if len(kept) != len(fields):
            if self._mode == "reject":
                raise self._fault("a field is not allowed in trailers", "trailer-forbidden")
            self._mark("trailer-dropped")
            raw = None
        return Headers.from_wire(kept, raw) if kept else None

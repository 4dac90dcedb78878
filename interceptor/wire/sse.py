"""Event streams (``text/event-stream``): bytes to server-sent events, and back.

The rules are those of WHATWG HTML, section 9.2.6. Whatever is no event (comments, empty lines, a
byte order mark) is handed out as it comes; only an event whose end has not come is held back.
"""

from __future__ import annotations

import re
from typing import Final

from interceptor.model.sse import ServerSentEvent

_BOM: Final = b"\xef\xbb\xbf"

# A line ends in CRLF, LF or CR. The CR of a CRLF must not be taken for an end of its own, so it
# never gives its LF back.
_LINE_END = re.compile(rb"\r\n?+|\n")
_EVENT_END = re.compile(rb"(?:\r\n?+|\n)(?:\r\n?+|\n)")
_EMPTY_LINES: Final = (b"\n", b"\r\n", b"\r")

_MAX_RETRY_DIGITS: Final = 18

# What the parser is in the midst of.
_START: Final = 0
_BETWEEN: Final = 1
_COMMENT: Final = 2
_EVENT: Final = 3
_TOO_LONG: Final = 4


MOST_LINES: Final = 50_000
"""How many lines one event may have; where two kinds of line ends are mixed, up to twice that."""


class EventStreamParser:
    """Takes an event stream apart as it comes.

    `feed` and `finish` return what there is by now, in order: events, and bytes that belong to
    none. An event of more than ``limit`` bytes is none either, however it comes: it is handed out
    as bytes as soon as it is too long, and counted in ``too_long``. So is one of more lines than
    `MOST_LINES`, which would keep everybody else waiting.

    Every byte is looked at a bounded number of times however the input is split.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.too_long = 0
        self._state = _START
        self._held = bytearray()
        # The last bytes of what was handed out of an event that is too long.
        self._tail = b""
        self._drop_mark = False

    @property
    def between(self) -> bool:
        """Whether another event may be put behind what was handed out so far.

        Not in the middle of a comment, and not where a byte order mark may follow.
        """
        return self._state in (_BETWEEN, _EVENT) or (self._state == _START and self._drop_mark)

    @property
    def held(self) -> int:
        """How many bytes were not handed out yet."""
        return len(self._held)

    def drop_mark(self) -> None:
        """Hand out no byte order mark: something is sent before, and it would be one no more."""
        self._drop_mark = True

    def feed(self, data: bytes) -> list[bytes | ServerSentEvent]:
        """Take bytes, and return the events that they complete and the bytes that are no event."""
        items: list[bytes | ServerSentEvent] = []
        position = 0
        if self._state == _START:
            position = self._read_start(data, items)
            if position < 0:
                return items
            if self._held:
                data, position = bytes(self._held), 0
                self._held.clear()
        end = len(data)
        while position < end:
            state = self._state
            if state == _BETWEEN:
                position = self._read_between(data, position, items)
            elif state == _COMMENT:
                position = self._read_comment(data, position, items)
            elif state == _EVENT:
                position = self._read_event(data, position, items)
            else:
                position = self._skip_event(data, position, items)
        return items

    def finish(self) -> list[bytes | ServerSentEvent]:
        """Say that the stream is over, and return what is left.

        An event that lacks the empty line behind it is one for some clients only; hooks see it.
        """
        held = bytes(self._held)
        self._held.clear()
        if not held:
            return []
        if self._state == _START:
            return [held]
        return [self._understood(held)]

    def _read_start(self, data: bytes, items: list[bytes | ServerSentEvent]) -> int:
        """Pass the byte order mark on; -1 while it cannot be told whether there is one."""
        if not self._held and not data.startswith(_BOM[:1]):
            self._state = _BETWEEN
            return 0
        held = self._held
        held += data
        if len(held) < len(_BOM) and _BOM.startswith(held):
            return -1
        if held.startswith(_BOM):
            if not self._drop_mark:
                items.append(_BOM)
            del held[: len(_BOM)]
        self._state = _BETWEEN
        return len(data) if not held else 0

    def _read_between(
        self, data: bytes, position: int, items: list[bytes | ServerSentEvent]
    ) -> int:
        first = data[position]
        if first == 0x0A or first == 0x0D:
            # An empty line, or the LF of a CRLF whose CR was an end already: the same to clients.
            items.append(data[position : position + 1])
            return position + 1
        self._state = _COMMENT if first == 0x3A else _EVENT
        return position

    def _read_comment(
        self, data: bytes, position: int, items: list[bytes | ServerSentEvent]
    ) -> int:
        match = _LINE_END.search(data, position)
        end = len(data) if match is None else match.end()
        if match is not None:
            self._state = _BETWEEN
        items.append(data[position:end])
        return end

    def _read_event(self, data: bytes, position: int, items: list[bytes | ServerSentEvent]) -> int:
        held = self._held
        before = len(held)
        if before:
            held += memoryview(data)[position:] if position else data
            match = _EVENT_END.search(held, max(before - 2, 0))
        else:
            match = _EVENT_END.search(data, position)
        if match is None:
            if not before:
                held += memoryview(data)[position:]
            if len(held) - _line_end_at(held) > self.limit:
                self.too_long += 1
                self._state = _TOO_LONG
                items.append(bytes(held))
                self._tail = bytes(held[-2:])
                held.clear()
            return len(data)
        size = match.start()
        if before:
            block = bytes(memoryview(held)[: match.end()])
            end = position + match.end() - before
            held.clear()
        else:
            block = data[position : match.end()]
            end = match.end()
            size -= position
        self._state = _BETWEEN
        if size > self.limit:
            self.too_long += 1
            items.append(block)
        else:
            items.append(self._understood(block))
        return end

    def _understood(self, block: bytes) -> bytes | ServerSentEvent:
        """Return the event, or the block where it is none or has too many lines to be read."""
        if len(block) > MOST_LINES and max(block.count(b"\n"), block.count(b"\r")) > MOST_LINES:
            self.too_long += 1
            return block
        return parse_event(block) or block

    def _skip_event(self, data: bytes, position: int, items: list[bytes | ServerSentEvent]) -> int:
        tail = self._tail
        rest = data[position:]
        match = _EVENT_END.search(tail + rest)
        if match is None:
            self._tail = (tail + rest)[-2:]
            items.append(rest)
            return len(data)
        self._tail = b""
        self._state = _BETWEEN
        end = position + match.end() - len(tail)
        items.append(data[position:end])
        return end


def _line_end_at(held: bytearray) -> int:
    """Return how many bytes at the end are a line's, which may become the end of the event."""
    if held.endswith(b"\r\n"):
        return 2
    return 1 if held.endswith((b"\r", b"\n")) else 0


def parse_event(block: bytes) -> ServerSentEvent | None:
    """Return the event that a block of lines stands for; None where no line means anything.

    ``block`` begins with a line that is not empty; what follows the first empty line is ignored.
    """
    data: list[bytes] = []
    event: bytes | None = None
    id: bytes | None = None
    retry: int | None = None
    for line in block.splitlines():
        if not line:
            break
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
        elif name == b"id":
            if b"\0" not in value:
                id = value
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            retry = int(value)
    if not data and event is None and id is None and retry is None:
        return None
    return ServerSentEvent.from_wire(
        block,
        _text(b"\n".join(data)) if data else None,
        None if event is None else _text(event),
        None if id is None else _text(id),
        retry,
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def encode_event(event: ServerSentEvent) -> bytes:
    """Return an event as bytes: those that came, but for the lines of what was changed."""
    raw = event.raw
    if raw is not None and not event.modified:
        return raw
    changes = event.changes()
    lines = [] if raw is None else raw.splitlines(keepends=True)
    newline = _newline(lines)
    written: set[bytes] = set()
    out: list[bytes] = []
    ended = raw is None
    for line in lines:
        if line in _EMPTY_LINES:
            ended = True
            break
        name = line.partition(b":")[0].rstrip(b"\r\n")
        values = changes.get(name)
        if values is None:
            out.append(line if line[-1:] in (b"\n", b"\r") else line + newline)
        elif name not in written:
            written.add(name)
            out.extend(_field(name, value, newline) for value in values)
    for name, values in changes.items():
        if name not in written:
            out.extend(_field(name, value, newline) for value in values)
    if ended:
        out.append(newline)
    return b"".join(out)


def _newline(lines: list[bytes]) -> bytes:
    first = lines[0] if lines else b""
    return first[len(first.rstrip(b"\r\n")) :] or b"\n"


def _field(name: bytes, value: str, newline: bytes) -> bytes:
    return b"%b: %b%b" % (name, value.encode("utf-8", "surrogateescape"), newline)

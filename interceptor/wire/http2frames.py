"""HTTP/2 frames: their numbers, and how they are built (RFC 9113 sections 4, 6, 7)."""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first; RFC 9113 section 3.4."""

# Types
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
ALTSVC: Final = 10

# Flags
END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITY_FLAG: Final = 0x20

# Settings
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8
GRPC_TRUE_BINARY_METADATA: Final = 0xFE03

# Error codes
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

_ERROR_NAMES: Final = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED"
    " FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM"
    " INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()


def error_name(code: int) -> str:
    """Return an error code's name, or its number where it has none."""
    return _ERROR_NAMES[code] if code < len(_ERROR_NAMES) else f"error {code:#x}"


MAX_STREAM_ID: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
DEFAULT_FRAME_SIZE: Final = 16384
LARGEST_FRAME_SIZE: Final = 2**24 - 1

_HEAD: Final = Struct(">HBBBL")
_HEAD_AND_NUMBER: Final = Struct(">HBBBLL")

HEAD_SIZE: Final = 9
read_head: Final = _HEAD.unpack_from
"""Return a frame's length (upper 16 bits, lower 8), type, flags, and stream with reserved bit."""

_pack_head: Final = _HEAD.pack
_pack_number: Final = _HEAD_AND_NUMBER.pack
_SETTING: Final = Struct(">HL")
iterate_settings: Final = _SETTING.iter_unpack


def frame_head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes before a frame's payload."""
    return _pack_head(length >> 8, length & 0xFF, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    length = len(payload)
    return _pack_head(length >> 8, length & 0xFF, kind, flags, stream_id) + payload


def header_frames(
    stream_id: int, block: bytes, end_stream: bool, most: int, priority: bytes = b""
) -> bytes:
    """Return a header block in HEADERS and, where it is larger than ``most``, CONTINUATION frames.

    ``priority`` are the five bytes of the priority fields, if there are any.
    """
    flags = END_STREAM if end_stream else 0
    if priority:
        flags |= PRIORITY_FLAG
        block = priority + block
    length = len(block)
    if length <= most:
        return (
            _pack_head(length >> 8, length & 0xFF, HEADERS, flags | END_HEADERS, stream_id) + block
        )
    pieces = [frame(HEADERS, flags, stream_id, block[:most])]
    for begin in range(most, length, most):
        last = begin + most >= length
        flags = END_HEADERS if last else 0
        pieces.append(frame(CONTINUATION, flags, stream_id, block[begin : begin + most]))
    return b"".join(pieces)


def settings_frame(settings: tuple[tuple[int, int], ...]) -> bytes:
    """Return SETTINGS with (identifier, value) pairs in this order."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*setting) for setting in settings]))


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0, b"")


def rst_stream_frame(stream_id: int, code: int) -> bytes:
    """Return RST_STREAM."""
    return _pack_number(0, 4, RST_STREAM, 0, stream_id, code)


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE; stream 0 is the connection."""
    return _pack_number(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def goaway_frame(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """Return GOAWAY."""
    payload = last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + debug
    return frame(GOAWAY, 0, 0, payload)


def priority_frame(stream_id: int, priority: bytes) -> bytes:
    """Return PRIORITY with its five bytes."""
    return frame(PRIORITY, 0, stream_id, priority)

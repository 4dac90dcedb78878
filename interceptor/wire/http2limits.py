"""How much an HTTP/2 peer may ask of us, and what we show to a server of a client's ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from interceptor.wire.hpack import DEFAULT_TABLE_SIZE
from interceptor.wire.http2frames import (
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    GRPC_TRUE_BINARY_METADATA,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
)

Settings = tuple[tuple[int, int], ...]
"""Identifiers and values of settings, in the order in which they are sent."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a peer may do what costs it nothing: ``burst`` at once, ``per_second`` on and on.

    ``per_message`` come on top for each frame of a message, sent or received, and for each 16 KiB
    sent, so that what goes along with real work is not taken for a flood. Up to ``saved`` of those
    are kept beyond ``burst``, where a peer does later what much work at once gives it to do.
    """

    burst: int
    per_second: int
    per_message: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class HTTP2Limits:
    """What an HTTP/2 peer may do; sizes in bytes.

    ``concurrent_streams`` bounds the streams that a client may have open. ``header_list_size`` and
    ``field_count`` bound the fields of a head or of trailers, decoded; ``continuations`` the frames
    that one header block may have besides its first. ``table_size`` is that of the decoder's
    table. ``initial_window`` is what each stream may send before it is acknowledged,
    ``connection_window`` what all may together. ``frame_size`` bounds the payload of a frame.
    ``informational`` bounds the 1xx responses before a final one. ``mirrored_window``,
    ``mirrored_connection_window`` and ``mirrored_table_size`` bound what a client may have us show
    to a server (see `HTTP2Mirror`).

    ``resets`` counts the streams that the peer resets, and those that it makes us reset;
    ``settings``, ``pings`` and ``window_updates`` those frames; ``empty_frames`` DATA without data;
    ``idle_frames`` PRIORITY, frames of unknown types, and those for streams that are over.
    """

    concurrent_streams: int = 100
    header_list_size: int = 65536
    field_count: int = 1000
    continuations: int = 16
    table_size: int = DEFAULT_TABLE_SIZE
    initial_window: int = 262144
    connection_window: int = 26214400
    frame_size: int = DEFAULT_FRAME_SIZE
    informational: int = 100
    mirrored_window: int = 16777216
    mirrored_connection_window: int = 67108864
    mirrored_table_size: int = 65536
    resets: Rate = Rate(500, 50)
    settings: Rate = Rate(50, 5)
    pings: Rate = Rate(100, 10, 2)
    empty_frames: Rate = Rate(100, 10)
    window_updates: Rate = Rate(1000, 100, 16, 65536)
    idle_frames: Rate = Rate(500, 50, 4)

    def settings_for_clients(self, connect_protocol: bool) -> Settings:
        """Return the settings that a client is shown."""
        settings = self._settings((MAX_CONCURRENT_STREAMS, self.concurrent_streams))
        if connect_protocol:
            settings.append((ENABLE_CONNECT_PROTOCOL, 1))
        return tuple(settings)

    def settings_for_servers(self) -> Settings:
        """Return the settings that a server is shown, where no client's are mirrored."""
        return tuple(self._settings((ENABLE_PUSH, 0)))

    def _settings(self, first: tuple[int, int]) -> list[tuple[int, int]]:
        settings = [
            first,
            (INITIAL_WINDOW_SIZE, self.initial_window),
            (MAX_HEADER_LIST_SIZE, self.header_list_size),
        ]
        if self.table_size != DEFAULT_TABLE_SIZE:
            settings.append((HEADER_TABLE_SIZE, self.table_size))
        if self.frame_size != DEFAULT_FRAME_SIZE:
            settings.append((MAX_FRAME_SIZE, self.frame_size))
        return settings


class Budget:
    """A `Rate` as it is used up."""

    __slots__ = ("_last", "_left", "_messages", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._last: float | None = None
        self._messages = 0

    def spend(self, now: float, messages: int) -> bool:
        """Count one more at the time ``now``; return whether it is one too many.

        ``messages`` is how many frames of messages there were on the connection so far.
        """
        rate = self._rate
        left = self._left - 1.0
        full = rate.burst - 1.0
        if left < full and self._last is not None and now > self._last:
            left = min(left + (now - self._last) * rate.per_second, full)
        left += (messages - self._messages) * rate.per_message
        self._left = min(left, full + rate.saved)
        self._last = now
        self._messages = messages
        return left < 0.0


DEFAULT_ORDER: Final = (b":method", b":scheme", b":authority", b":path")


@dataclass(frozen=True, slots=True)
class HTTP2Mirror:
    """What a client's connection looks like to its server, so that ours can look the same.

    ``settings`` are those of its preface, in order; ``window_update`` is by how much it opened the
    connection's window before its first request (0: it did not); ``priorities`` are the PRIORITY
    frames before it, as stream and the five bytes of their payload, of which ``window_after`` came
    before the window was opened; ``pseudo_order`` is the order of that request's pseudo-headers,
    ``priority`` the five bytes of its priority fields, or empty.
    """

    settings: Settings
    window_update: int = 0
    priorities: tuple[tuple[int, bytes], ...] = ()
    pseudo_order: tuple[bytes, ...] = DEFAULT_ORDER
    priority: bytes = b""
    window_after: int = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        window_update: int,
        priorities: list[tuple[int, bytes]],
        pseudo_order: tuple[bytes, ...],
        priority: bytes,
        window_after: int,
    ) -> HTTP2Mirror:
        """Return what may be shown of a client.

        gRPC's setting for metadata that is sent as it is, with bytes that no field of HTTP may
        have, is shown with the value 0: peers then encode it.
        """
        carried = tuple(
            [
                (identifier, 0 if identifier == GRPC_TRUE_BINARY_METADATA else value)
                for identifier, value in settings
            ]
        )
        return cls(carried, window_update, tuple(priorities), pseudo_order, priority, window_after)

    def bounded(self, limits: HTTP2Limits) -> HTTP2Mirror:
        """Return what may be shown within ``limits``: the same object if it may be as it is."""
        most = {
            INITIAL_WINDOW_SIZE: limits.mirrored_window,
            HEADER_TABLE_SIZE: limits.mirrored_table_size,
        }
        settings = tuple(
            [
                (identifier, min(value, most.get(identifier, value)))
                for identifier, value in self.settings
            ]
        )
        update = min(self.window_update, max(0, limits.mirrored_connection_window - DEFAULT_WINDOW))
        if settings == self.settings and update == self.window_update:
            return self
        return replace(self, settings=settings, window_update=update)

"""The HTTP/2 frames that carry no message: settings, windows, resets, pings, goodbyes."""

from __future__ import annotations

from typing import Any, Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire import http2frames as frames
from interceptor.wire.http2events import (
    WINDOW_OPENED,
    AltSvc,
    GoAway,
    PingAcknowledged,
    SettingsChanged,
)
from interceptor.wire.http2state import HTTP2State
from interceptor.wire.httpevents import StreamReset

_MOST_SETTINGS: Final = 64
"""Settings in one frame, and different ones of one connection."""


class HTTP2Control(HTTP2State):
    """Obeys the frames that concern streams and the connection rather than messages.

    Each method is given a frame's flags, stream and payload, and returns an event or None.
    """

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if not stream_id:
            raise self._on_connection("PRIORITY")
        self._spend_idle()
        if len(payload) != 5:
            # RFC 9113 section 6.3: a matter of the stream, which need not be there.
            if stream_id in self._streams:
                return self._stream_fault(
                    stream_id, frames.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes", "h2-frame-size"
                )
            raise self._wrong_size("PRIORITY", len(payload))
        self._note_priority(stream_id, payload)
        return None

    def _note_priority(self, stream_id: int, payload: bytes) -> None:
        """Note a PRIORITY frame. Priorities of this kind are deprecated, and without effect."""

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if not stream_id:
            raise self._on_connection("RST_STREAM")
        if len(payload) != 4:
            raise self._wrong_size("RST_STREAM", len(payload))
        stream = self._drop(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR,
                    f"RST_STREAM came on stream {stream_id}, which is idle",
                    "h2-frame-unexpected",
                )
            self._spend_idle()
            return None
        self._remember(stream_id, False)
        self._spend_reset()
        code = int.from_bytes(payload, "big")
        return StreamReset(
            code,
            f"the peer reset the stream: {frames.error_name(code)}",
            None,
            # RFC 9113 section 8.7
            code == frames.REFUSED_STREAM,
        )

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if stream_id:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR, "SETTINGS came on a stream", "h2-frame-invalid"
            )
        if flags & frames.ACK:
            if payload:
                raise self._wrong_size("SETTINGS with ACK", len(payload))
            self._settings_acknowledged()
            return None
        if len(payload) % 6:
            raise self._wrong_size("SETTINGS", len(payload))
        if len(payload) > 6 * _MOST_SETTINGS:
            # Each may concern all streams.
            raise self._flood_fault("there are too many settings", "h2-settings-flood")
        first = self._peer_settings is None
        if not first and self._settings.spend(self._now, 0):
            raise self._flood_fault("there are too many SETTINGS frames", "h2-settings-flood")
        settings = tuple(frames.iterate_settings(payload))
        opened = False
        for identifier, value in settings:
            opened = self._apply_setting(identifier, value) or opened
            self._peer[identifier] = value
            if len(self._peer) > _MOST_SETTINGS:
                raise self._flood_fault("there are too many settings", "h2-settings-flood")
        if first:
            self._peer_settings = settings
        self._out.append(frames.SETTINGS_ACK)
        if opened:
            self._events.append((0, WINDOW_OPENED))
        return SettingsChanged(first)

    def _apply_setting(self, identifier: int, value: int) -> bool:
        """Obey one of the peer's settings; return whether a window was opened by it."""
        if identifier == frames.HEADER_TABLE_SIZE:
            self._encoder.set_limit(value)
        elif identifier == frames.INITIAL_WINDOW_SIZE:
            return self._change_send_windows(value)
        elif identifier == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                raise self._bad_setting("SETTINGS_MAX_FRAME_SIZE", value)
            self._send_frame = value
        elif identifier == frames.ENABLE_PUSH:
            # RFC 9113 section 6.5.2: a server must not set it to 1.
            if value > 1 or (value and self._is_client):
                raise self._bad_setting("SETTINGS_ENABLE_PUSH", value)
        elif identifier == frames.ENABLE_CONNECT_PROTOCOL and (
            # RFC 8441 section 3
            value > 1 or (not value and self._peer.get(identifier))
        ):
            raise self._bad_setting("SETTINGS_ENABLE_CONNECT_PROTOCOL", value)
        return False

    def _bad_setting(self, name: str, value: int) -> RemoteProtocolError:
        return self._connection_fault(
            frames.PROTOCOL_ERROR, f"{name} is {value}", "h2-settings-invalid"
        )

    def _change_send_windows(self, value: int) -> bool:
        """RFC 9113 section 6.9.2: windows of open streams change by the difference."""
        if value > frames.MAX_WINDOW:
            raise self._connection_fault(
                frames.FLOW_CONTROL_ERROR,
                f"SETTINGS_INITIAL_WINDOW_SIZE is {value}",
                "h2-settings-invalid",
            )
        change = value - self._send_initial
        self._send_initial = value
        opened = False
        for stream in self._streams.values():
            was_shut = stream.send_window <= 0
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise self._window_overflow("a stream")
            opened = opened or (was_shut and stream.send_window > 0)
        return opened

    def _window_overflow(self, what: str) -> RemoteProtocolError:
        return self._connection_fault(
            frames.FLOW_CONTROL_ERROR, f"the window of {what} is too large", "h2-flow-control"
        )

    def _settings_acknowledged(self) -> None:
        """From now on the peer keeps to the settings that we sent first of those not in force."""
        if not self._shown:
            if self._settings.spend(self._now, 0):
                raise self._flood_fault("there are too many SETTINGS frames", "h2-settings-flood")
            return
        for identifier, value in self._shown.popleft():
            if identifier == frames.INITIAL_WINDOW_SIZE:
                change = value - self._receive_initial
                self._receive_initial = value
                for stream in self._streams.values():
                    stream.receive_window += change
            elif identifier == frames.HEADER_TABLE_SIZE:
                self._decoder.set_limit(value)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if stream_id:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR, "PING came on a stream", "h2-frame-invalid"
            )
        if len(payload) != 8:
            raise self._wrong_size("PING", len(payload))
        if self._pings.spend(self._now, self._messages):
            raise self._flood_fault("there are too many PING frames", "h2-ping-flood")
        if flags & frames.ACK:
            return PingAcknowledged(payload)
        self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        return None

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if stream_id:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR, "GOAWAY came on a stream", "h2-frame-invalid"
            )
        if len(payload) < 8:
            raise self._wrong_size("GOAWAY", len(payload))
        self._spend_idle()
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        code = int.from_bytes(payload[4:8], "big")
        if self._goaway_received is not None:
            # RFC 9113 section 6.8: it must not rise.
            last = min(last, self._goaway_received)
        self._goaway_received = last
        self._refused(last, code)
        return GoAway(last, code, payload[8:])

    def _refused(self, last: int, code: int) -> None:
        """Give up streams of ours that the peer will not act on."""

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if len(payload) != 4:
            raise self._wrong_size("WINDOW_UPDATE", len(payload))
        if self._window_updates.spend(self._now, self._messages):
            raise self._flood_fault("there are too many WINDOW_UPDATE frames", "h2-window-flood")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream_id:
            window = self._send_window
            if not increment:
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR, "a window is opened by 0", "h2-frame-invalid"
                )
            if window + increment > frames.MAX_WINDOW:
                raise self._window_overflow("the connection")
            self._send_window = window + increment
            self._note_window_update(increment)
            return WINDOW_OPENED if window <= 0 else None
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR,
                    f"WINDOW_UPDATE came on stream {stream_id}, which is idle",
                    "h2-frame-unexpected",
                )
            return None
        if not increment:
            # RFC 9113 section 6.9
            return self._stream_fault(
                stream_id, frames.PROTOCOL_ERROR, "a window is opened by 0", "h2-frame-invalid"
            )
        window = stream.send_window
        if window + increment > frames.MAX_WINDOW:
            return self._stream_fault(
                stream_id,
                frames.FLOW_CONTROL_ERROR,
                "the stream's window is too large",
                "h2-flow-control",
            )
        stream.send_window = window + increment
        return WINDOW_OPENED if window <= 0 < stream.send_window else None

    def _note_window_update(self, increment: int) -> None:
        """Note that the peer opened the connection's window."""

    def _on_altsvc(self, flags: int, stream_id: int, payload: bytes) -> Any:
        # RFC 7838 section 4: only servers send it, and what makes no sense is ignored.
        self._spend_idle()
        size = int.from_bytes(payload[:2], "big")
        origin = payload[2 : 2 + size]
        if not self._is_client or len(origin) != size or bool(origin) == bool(stream_id):
            return None
        return AltSvc(origin, payload[2 + size :])

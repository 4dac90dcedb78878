"""What both HTTP/1 codecs share: bodies are framed and counted as they are sent."""

from __future__ import annotations

from typing import Final

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request
from interceptor.wire.framing import Framing, Mode
from interceptor.wire.httpbody import HTTP1Limits, MessageReader
from interceptor.wire.httpwrite import (
    CHUNKED,
    HAS_HOST,
    encode_fields,
    encode_last_chunk,
    survey,
)

# How the body that is being sent ends.
NOTHING: Final = 0
COUNTED: Final = 1
CHUNKS: Final = 2
CLOSE: Final = 3
SUPPRESSED: Final = 4


WORTH_KEEPING: Final = 2048
"""Field blocks up to this size, in bytes, are kept for comparison with the next message's."""


class HTTP1Codec(MessageReader):
    """The writing half that both codecs share."""

    __slots__ = (
        "_left",
        "_sending",
        "_sent",
        "_sent_block",
        "_sent_flags",
        "_sent_key",
        "_sent_raw",
    )

    def __init__(self, limits: HTTP1Limits, mode: Mode) -> None:
        super().__init__(limits, mode)
        self._sending = NOTHING
        self._left = 0
        self._sent = False
        # The received block that was sent on last, and what was found out about it: the codec that
        # reads repeated blocks hands out the same object again.
        self._sent_raw: bytes | None = None
        self._sent_flags = 0
        self._sent_key: tuple[int, bytes | None, bool, bool] | None = None
        self._sent_block = b""

    @property
    def _strict(self) -> bool:
        return self._mode != "pass" and not self._is_response_sender

    _is_response_sender = False

    @property
    def sent(self) -> bool:
        """Whether all of the message that was begun has been sent."""
        return self._sent

    def _survey(self, headers: Headers) -> int:
        """Return what `survey` finds in headers that are about to be sent."""
        raw = headers.raw
        if raw is not None and raw is self._sent_raw:
            return self._sent_flags
        flags = survey(headers.fields)
        if raw is not None and len(raw) <= WORTH_KEEPING:
            self._sent_raw = raw
            self._sent_flags = flags
            self._sent_key = None
        return flags

    def _encode(
        self,
        headers: Headers,
        body: int,
        connection: bytes | None,
        upgrade: bool,
        challenge: bool,
        request: Request | None,
    ) -> bytes:
        """Return what `encode_fields` makes of headers that `_survey` was asked about."""
        raw = headers.raw
        known = raw is not None and raw is self._sent_raw
        key = (body, connection, upgrade, challenge)
        if known and key == self._sent_key:
            return self._sent_block
        block = encode_fields(
            headers,
            body,
            connection=connection,
            upgrade=upgrade,
            challenge=challenge,
            strict=self._strict,
            request=request,
        )
        # Where the Host field is missing, the block does not depend on the fields alone.
        if known and (request is None or self._sent_flags & HAS_HOST):
            self._sent_key = key
            self._sent_block = block
        return block

    def send_data(self, data: bytes) -> bytes:
        """Frame body bytes. Raises `LocalProtocolError` for more than were announced."""
        sending = self._sending
        if sending == CHUNKS:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if sending == COUNTED:
            self._left -= len(data)
            if self._left < 0:
                raise LocalProtocolError("the body is longer than announced", "body-too-long")
            return data
        if sending == CLOSE:
            return data
        if sending == NOTHING and data:
            raise LocalProtocolError("the message has no body", "body-too-long")
        return b""

    def send_end(self, trailers: Headers | None = None) -> bytes:
        """End the message. Trailers are lost where the body is not chunked.

        Raises `LocalProtocolError` when fewer bytes were sent than announced; the connection can
        only be closed then.
        """
        sending = self._sending
        if sending == COUNTED and self._left:
            raise LocalProtocolError(
                f"{self._left} bytes of the body are missing", "body-too-short"
            )
        end = encode_last_chunk(trailers, self._strict) if sending == CHUNKS else b""
        self._sent = True
        return end

    def _begin(self, body: int) -> None:
        """Note how the body whose head is being sent will end."""
        self._sent = False
        if body == CHUNKED:
            self._sending = CHUNKS
        elif body > 0:
            self._sending = COUNTED
            self._left = body
        else:
            self._sending = NOTHING

    def _with_body(self, head: bytes, body: bytes, trailers: Headers | None) -> bytes:
        """Join a head and the whole of its body."""
        sending = self._sending
        if sending in (COUNTED, CLOSE):
            self._left = 0
            self._sent = True
            return head + body
        if sending == CHUNKS:
            end = self.send_end(trailers)
            if not body:
                return head + end
            return b"%b%x\r\n%b\r\n%b" % (head, len(body), body, end)
        self._sent = True
        return head


def with_anomalies(framing: Framing, anomalies: tuple[str, ...]) -> Framing:
    """Return the framing with all anomalies of its head."""
    if framing.anomalies == anomalies:
        return framing
    return framing.with_anomalies(anomalies)

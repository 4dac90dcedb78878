"""The HTTP/2 codecs (RFC 9113): one faces clients, one faces servers. Sans-IO.

Bytes go in by ``receive_data``, pairs of a stream and an event come out of ``next_event``; what is
to be written is asked for by ``data_to_send``. Many messages are under way at once, each on its
stream; events that concern the connection come with stream 0.
"""

from __future__ import annotations

from interceptor.wire.http2client import HTTP2ClientCodec
from interceptor.wire.http2limits import HTTP2Limits, HTTP2Mirror, Rate
from interceptor.wire.http2server import HTTP2ServerCodec
from interceptor.wire.http2write import AS_ANNOUNCED

__all__ = [
    "AS_ANNOUNCED",
    "HTTP2ClientCodec",
    "HTTP2Limits",
    "HTTP2Mirror",
    "HTTP2ServerCodec",
    "Rate",
]

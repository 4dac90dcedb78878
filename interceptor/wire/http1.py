"""The HTTP/1 codecs (RFC 9112): one faces clients, one faces servers. Sans-IO.

Bytes go in by ``receive_data`` and ``receive_eof``, events come out of ``next_event``; the methods
that send return the bytes to be written. A codec carries one message in each direction at a time,
and ``next_cycle`` begins the next.
"""

from __future__ import annotations

from interceptor.wire.http1client import HTTP1ClientCodec
from interceptor.wire.http1server import HTTP1ServerCodec
from interceptor.wire.httpbody import HTTP1Limits

__all__ = ["HTTP1ClientCodec", "HTTP1Limits", "HTTP1ServerCodec"]

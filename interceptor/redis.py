"""What hooks for Redis make use of: ``from interceptor import redis``."""

from __future__ import annotations

from interceptor.addons.redis import RedisLayer
from interceptor.wire.redis import Command, RedisCodec, Reply
from interceptor.wire.resp import ErrorReply, PushReply, SetReply, Status, Verbatim

__all__ = [
    "Command",
    "ErrorReply",
    "PushReply",
    "RedisCodec",
    "RedisLayer",
    "Reply",
    "SetReply",
    "Status",
    "Verbatim",
]

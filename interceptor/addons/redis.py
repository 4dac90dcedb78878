"""Redis: commands and replies that hooks see, change, drop and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface, taggedValue

from interceptor.layers.messages import MessageLayer

if TYPE_CHECKING:
    from interceptor.hooks.loader import Loader
    from interceptor.model.messageflow import MessageFlow
    from interceptor.wire.messagecodec import MessageCodec


class IRedisHooks(Interface):
    """Connections to Redis: modes ``reverse:redis://`` and ``reverse:rediss://``, ``redis_hosts``.

    ``flow.message`` is the command or the reply in question, ``flow.messages`` has those before it.
    RESP 2 and RESP 3 are spoken, whichever the client asks for.
    """

    taggedValue("title", "Redis events")
    taggedValue(
        "general",
        {
            "redis_start": "protocol_start",
            "redis_command": "protocol_message",
            "redis_reply": "protocol_message",
            "redis_error": "protocol_error",
            "redis_end": "protocol_end",
        },
    )

    def redis_start(flow: MessageFlow) -> None:
        """Called when a client begins, before the server is connected to."""

    def redis_command(flow: MessageFlow) -> None:
        """Called for every command, before the server gets it.

        ``flow.message.name`` is its name in capitals, ``flow.message.arguments`` the list of all
        its words in bytes, the name included; it may be changed.
        ``flow.message.answer(value)`` answers the client from here, and the server does not get the
        command: the answer takes its turn behind those that the client still waits for.
        """

    def redis_reply(flow: MessageFlow) -> None:
        """Called for every reply, before the client gets it; for answers of hooks as well.

        ``flow.message.value`` may be changed: bytes, a ``Status`` such as ``OK``, an
        ``ErrorReply``, an int, float, bool, None, a list or a dict. ``flow.message.command`` is the
        command that it answers, None for what nobody asked for (messages of channels, ``MONITOR``).
        """

    def redis_error(flow: MessageFlow) -> None:
        """Called when a connection failed or was killed; ``flow.error`` says why."""

    def redis_end(flow: MessageFlow) -> None:
        """Called last and once for each `redis_start`, after `redis_error` too."""


class RedisLayer(MessageLayer):
    """Speaks Redis."""

    name = "redis"
    title = "Redis"
    hooks = IRedisHooks
    port = tls_port = 6379

    @staticmethod
    def codec() -> MessageCodec:
        """Return what reads and writes it, which is not loaded before somebody speaks it."""
        from interceptor.wire.redis import RedisCodec

        return RedisCodec()


def load(loader: Loader) -> None:
    """Let operators choose Redis: the module is an addon."""
    loader.add_layer(RedisLayer)

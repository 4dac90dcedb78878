"""SMTP: commands, replies and mails that hooks see, change and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface, taggedValue

from interceptor.layers.messages import MessageLayer

if TYPE_CHECKING:
    from interceptor.hooks.loader import Loader
    from interceptor.model.messageflow import MessageFlow
    from interceptor.wire.messagecodec import MessageCodec


class ISMTPHooks(Interface):
    """Connections to mail servers: ``reverse:smtp://``, ``reverse:smtps://``, ``smtp_hosts``.

    ``flow.message`` is the command, the mail or the reply in question. After ``STARTTLS`` it is
    another flow, in TLS, which begins with the client's ``EHLO``.
    """

    taggedValue("title", "SMTP events")
    taggedValue(
        "general",
        {
            "smtp_start": "protocol_start",
            "smtp_command": "protocol_message",
            "smtp_mail": "protocol_message",
            "smtp_reply": "protocol_message",
            "smtp_error": "protocol_error",
            "smtp_end": "protocol_end",
        },
    )

    def smtp_start(flow: MessageFlow) -> None:
        """Called when a client begins, before the server is connected to."""

    def smtp_command(flow: MessageFlow) -> None:
        """Called for every command, before the server gets it.

        ``flow.message.verb`` is ``MAIL``, ``RCPT`` and so on, ``flow.message.argument`` the rest of
        the line; both may be changed. ``flow.message.answer(550, "no")`` answers the client from
        here. Lines that belong to ``AUTH`` have no verb.
        """

    def smtp_mail(flow: MessageFlow) -> None:
        """Called for every mail that follows ``DATA``, before the server gets it.

        ``flow.message.content`` has header and body, and may be changed; ``flow.message.email`` is
        it, parsed, and may be assigned. ``sender`` and ``recipients`` are those that the server has
        accepted. A mail that shall not be delivered ends its connection: ``flow.kill()``.
        """

    def smtp_reply(flow: MessageFlow) -> None:
        """Called for every reply, before the client gets it.

        ``flow.message.code`` and ``flow.message.lines`` may be changed; ``flow.message.command`` is
        what it answers, None for the greeting.
        """

    def smtp_error(flow: MessageFlow) -> None:
        """Called when a connection failed or was killed; ``flow.error`` says why."""

    def smtp_end(flow: MessageFlow) -> None:
        """Called last and once for each `smtp_start`, after `smtp_error` too."""


class SMTPLayer(MessageLayer):
    """Speaks SMTP."""

    name = "smtp"
    title = "SMTP"
    hooks = ISMTPHooks
    port = 25
    tls_port = 465
    server_first = True

    @staticmethod
    def codec() -> MessageCodec:
        """Return what reads and writes it, which is not loaded before somebody speaks it."""
        from interceptor.wire.smtp import SMTPCodec

        return SMTPCodec()


def load(loader: Loader) -> None:
    """Let operators choose SMTP: the module is an addon."""
    loader.add_layer(SMTPLayer)

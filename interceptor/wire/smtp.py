"""SMTP as messages (RFC 5321): commands, replies, and the mails themselves."""

from __future__ import annotations

import email
import email.policy
import re
from typing import TYPE_CHECKING, ClassVar, Final

from interceptor.errors import InterceptorError, LocalProtocolError, RemoteProtocolError
from interceptor.model.messageflow import Message
from interceptor.wire.messagecodec import Buffer, MessageCodec, Unanswered

if TYPE_CHECKING:
    from email.message import EmailMessage

_END: Final = b"\r\n.\r\n"
_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL)
_VERB = re.compile(rb"([A-Za-z]{1,20})(?:[ \t]+(.*))?\Z", re.DOTALL)
# Ends of a mail that only some servers see: what follows would be commands to them, and part of the
# mail to everybody before them.
_SMUGGLED = re.compile(rb"(?:^|(?<!\r)\n|\r(?!\n))\.(?:\r\n|\n|\r)|\r\n\.(?:\n|\r(?!\n))")

# After these the client waits for the reply before it says anything: it decides what that is.
_TURNING: Final = frozenset(("DATA", "AUTH", "STARTTLS"))
_HIDDEN: Final = "…"


class Command(Message):
    """A command: ``verb``, in capitals, and ``argument``, the rest of its line.

    A client that identifies itself (``AUTH``) also sends lines that are no commands: those have no
    verb. ``data`` has what comes with ``BDAT``. All three may be changed.
    """

    event: ClassVar[str | None] = "smtp_command"

    def __init__(self, verb: str, argument: str = "", data: bytes | None = None) -> None:
        super().__init__(True)
        self.verb = verb
        self.argument = argument
        self.data = data
        self._answer: Reply | None = None

    def answer(self, code: int, *lines: str) -> None:
        """Answer the command from here: the server does not get it.

        The client gets the reply after those to the commands that it has sent before.
        """
        self._answer = Reply(code, lines or ("refused",))
        self.drop()

    def __str__(self) -> str:
        if not self.verb:
            return _HIDDEN
        if self.verb == "AUTH":
            mechanism, blank, _ = self.argument.partition(" ")
            return f"AUTH {mechanism}{blank and ' ' + _HIDDEN}"
        return f"{self.verb} {self.argument}".rstrip()


class Mail(Message):
    """What follows ``DATA``: ``content``, header and body, with the lines as they are meant.

    ``sender`` and ``recipients`` are what the server has accepted before: the addresses, without
    angle brackets. ``content`` may be changed; ``email`` is it, parsed.
    """

    event: ClassVar[str | None] = "smtp_mail"

    def __init__(self, content: bytes, sender: str = "", recipients: tuple[str, ...] = ()) -> None:
        super().__init__(True)
        self.content = content
        self.sender = sender
        self.recipients = recipients

    @property
    def email(self) -> EmailMessage:
        """The mail, parsed anew each time. Assign what you have changed to have it sent."""
        return email.message_from_bytes(self.content, policy=email.policy.SMTP)

    @email.setter
    def email(self, value: EmailMessage) -> None:
        self.content = value.as_bytes(policy=email.policy.SMTP)

    def __str__(self) -> str:
        return f"({len(self.content)} bytes of mail)"


class Reply(Message):
    """What the server answers: ``code``, and ``lines``, at least one; both may be changed.

    ``command`` is the `Command` or the `Mail` that it answers; None for the greeting.
    """

    event: ClassVar[str | None] = "smtp_reply"

    def __init__(
        self, code: int, lines: tuple[str, ...] | list[str], command: Message | None = None
    ) -> None:
        super().__init__(False)
        self.code = code
        self.lines = list(lines)
        self.command = command

    def __str__(self) -> str:
        return f"{self.code} " + " / ".join(self.lines)


class SMTPCodec(MessageCodec):
    """Reads what a client and a server of SMTP say, and knows which reply is for which command."""

    message_type = Command

    def __init__(self) -> None:
        super().__init__()
        # What the server has got and the client waits for the reply to.
        self._pending: Unanswered[Command | Mail] = Unanswered()
        # The command after which the client has to wait.
        self._turning: Command | None = None
        # What the client sends next, if it is no command: "mail", or "secret".
        self._expected = ""
        self._lines: list[str] = []
        self._chunk: Command | None = None
        self._sender = ""
        self._recipients: list[str] = []

    def close(self) -> None:
        super().close()
        self._pending.clear()

    def holds(self, from_client: bool) -> bool:
        return from_client and (self._turning is not None or self._pending.full)

    def next_message(self, from_client: bool) -> Message | None:
        if from_client:
            return None if self.holds(True) else super().next_message(True)
        if self._pending:
            command = self._pending[0]
            if isinstance(command, Command) and command._answer is not None:
                answer, command._answer = command._answer, None
                answer.command = self._pending.popleft()
                return answer
        return super().next_message(False)

    def read(self, buffer: Buffer, from_client: bool) -> Message | None:
        if not from_client:
            return self._read_reply(buffer)
        if self._expected == "mail":
            return self._read_mail(buffer)
        if self._chunk is None:
            line = buffer.take_line()
            if line is None:
                return None
            command = self._command(line)
            if command.data is None:
                return command
            self._chunk = command
        chunk = self._chunk
        size = int(chunk.argument.split()[0])
        if size > self.limit:
            raise RemoteProtocolError(f"a chunk has {size} bytes", "message-too-large")
        data = buffer.take(size)
        if data is None:
            return None
        self._chunk, chunk.data = None, data
        return chunk

    def _command(self, line: bytes) -> Command:
        text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        if b"\r" in text or b"\0" in text:
            # To some servers a line ends here.
            raise _malformed("a command has a control character in it")
        if self._expected == "secret":
            self._expected = ""
            return Command("", _text(text))
        match = _VERB.match(text)
        if match is None:
            raise _malformed("the client sent something that is no command")
        verb, argument = match[1].decode().upper(), _text(match[2] or b"")
        command = Command(verb, argument)
        if verb == "BDAT":
            if not re.match(r"[0-9]{1,15}(?:\s|\Z)", argument, re.ASCII):
                raise _malformed("a chunk has no length")
            command.data = b""
        return command

    def _read_mail(self, buffer: Buffer) -> Mail | None:
        if buffer.peek(3) == b".\r\n":
            data = buffer.take(3)
        else:
            # It is no line that could be too long, but a message.
            data = buffer.take_until(_END, 2 * self.limit)
        if data is None:
            return None
        inner = data[:-3]
        if _SMUGGLED.search(inner):
            raise RemoteProtocolError(
                "the mail has a line with a single dot whose ends are not CRLF", "smtp-smuggling"
            )
        self._expected = ""
        content = re.sub(rb"(^|\r\n)\.", rb"\1", inner)
        return Mail(content, self._sender, tuple(self._recipients))

    def _read_reply(self, buffer: Buffer) -> Reply | None:
        while True:
            line = buffer.take_line()
            if line is None:
                return None
            match = _REPLY.match(line.rstrip(b"\r\n"))
            if match is None:
                raise _malformed("the server sent something that is no reply")
            self._lines.append(_text(match[3] or b""))
            if match[2] != b"-":
                break
            if len(self._lines) > 1000:
                raise _malformed("a reply has no end")
        code, lines, self._lines = int(match[1]), self._lines, []
        command = self._pending.popleft() if self._pending else None
        if isinstance(command, Command):
            self._note(command, code)
        reply = Reply(code, lines, command)
        reply.dropped = command is not None and command.injected
        return reply

    def _note(self, command: Command, code: int) -> None:
        """Remember whom the mail that is being sent is from and for."""
        if command.verb in ("EHLO", "HELO", "RSET") or (command.verb == "MAIL" and code < 300):
            self._sender, self._recipients = "", []
        if code >= 300:
            return
        if command.verb == "MAIL":
            self._sender = _address(command.argument)
        elif command.verb == "RCPT":
            self._recipients.append(_address(command.argument))

    def encode(self, message: Message) -> bytes:
        if isinstance(message, Reply):
            *more, last = message.lines or [""]
            parts = [b"%d-%b\r\n" % (message.code, _bytes(line)) for line in more]
            return b"".join([*parts, b"%d %b\r\n" % (message.code, _bytes(last))])
        if isinstance(message, Mail):
            content = message.content
            if content and not content.endswith(b"\r\n"):
                content += b"\r\n"
            return re.sub(rb"(^|\r\n)\.", rb"\1..", content) + b".\r\n"
        assert isinstance(message, Command)
        argument = message.argument
        if message.data is not None:
            argument = " ".join([str(len(message.data)), *argument.split()[1:]])
        line = f"{message.verb} {argument}".strip() if message.verb else argument
        return _bytes(line) + b"\r\n" + (message.data or b"")

    def sent(self, message: Message) -> None:
        if isinstance(message, Reply):
            self._reply_sent(message)
        elif isinstance(message, Command | Mail):
            self._pending.append(message)
            if isinstance(message, Command) and (message.verb in _TURNING or not message.verb):
                self._turning = message

    def dropped(self, message: Message) -> None:
        if isinstance(message, Command) and message._answer is not None:
            self._pending.append(message)
            if message.verb in _TURNING:
                self._turning = message
        elif isinstance(message, Reply):
            self._reply_sent(message)

    def _reply_sent(self, reply: Reply) -> None:
        command = self._turning
        if command is None or reply.command is not command:
            return
        self._turning = None
        if reply.code == 334:
            self._expected = "secret"
        elif command.verb == "DATA" and reply.code == 354:
            self._expected = "mail"
        elif command.verb == "STARTTLS" and reply.code == 220:
            if len(self.buffer(True)) or len(self.buffer(False)):
                # What came in plain text must not count as if it had come in TLS (CVE-2011-0411).
                raise RemoteProtocolError(
                    "something was said behind STARTTLS before TLS began", "starttls-injection"
                )
            self.next_layer = "tls"

    def refusal(self, error: InterceptorError) -> bytes:
        text = " ".join(str(error).split())[:400]
        return b"421 4.3.0 proxy: %b: %b\r\n" % (error.code.encode(), _bytes(text))


def _malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"this is no SMTP: {what}", "smtp-malformed")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    if "\r" in text or "\n" in text:
        raise LocalProtocolError("a hook put the end of a line into one of SMTP", "smtp-invalid")
    return text.encode("utf-8", "surrogateescape")


def _address(argument: str) -> str:
    """The address of ``FROM:<address> SIZE=100``."""
    match = re.search(r":\s*<([^>]*)>", argument)
    return match[1] if match is not None else argument.partition(":")[2].strip()

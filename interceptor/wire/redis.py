"""The Redis protocol as messages: commands, and the replies to them."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from interceptor.errors import InterceptorError, LocalProtocolError
from interceptor.model.messageflow import Message
from interceptor.wire.messagecodec import Buffer, MessageCodec, Unanswered
from interceptor.wire.resp import (
    INCOMPLETE,
    ErrorReply,
    PushReply,
    RESPReader,
    encode,
    malformed,
)

_UNANSWERED: Final = object()

_SUBSCRIPTIONS: Final = frozenset(
    (b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe")
)
_PUBLISHED: Final = frozenset((b"message", b"pmessage", b"smessage"))
_REPLICATION: Final = frozenset(("SYNC", "PSYNC"))
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
_SECRET: Final = {"AUTH": 1, "HELLO": 2}
"""Commands that have a password among their arguments, and from where on."""


class Command(Message):
    """What a client asks for: ``arguments``, of which the first is the command's name.

    The list may be changed; texts in it are written in UTF-8.
    """

    event: ClassVar[str | None] = "redis_command"

    def __init__(self, *arguments: str | bytes, from_client: bool = True) -> None:
        super().__init__(from_client)
        self.arguments: list[Any] = list(arguments)
        self._answer: Any = _UNANSWERED

    @property
    def name(self) -> str:
        """The command's name in capitals; empty for a client that only sent an empty line."""
        name = self.arguments[0] if self.arguments else ""
        return (name if isinstance(name, str) else name.decode("utf-8", "replace")).upper()

    def answer(self, value: Any) -> None:
        """Answer the command from here: the server does not get it.

        The client gets the answer after those to the commands that it has sent before. ``value`` is
        as `Reply.value`.
        """
        self._answer = value
        self.drop()

    def __str__(self) -> str:
        words = [_shown(word) for word in self.arguments]
        first = _SECRET.get(self.name, len(words))
        return " ".join(words[:first] + ["…"] * min(1, len(words) - first))


class Reply(Message):
    """What the server answers, or says by itself: ``value``.

    Values are bytes, `Status` (as ``OK``), `ErrorReply`, int, float, bool, None, lists, dicts, and
    `SetReply`. ``command`` is the command that it answers, None for what was not asked for, such as
    messages of a channel; ``command.arguments`` are those that the server has got.
    """

    event: ClassVar[str | None] = "redis_reply"

    def __init__(self, value: Any, command: Command | None = None) -> None:
        super().__init__(False)
        self.value = value
        self.command = command

    @property
    def is_error(self) -> bool:
        """Whether it is an error."""
        return isinstance(self.value, ErrorReply)

    def __str__(self) -> str:
        return _shown(self.value)


class RedisCodec(MessageCodec):
    """Reads commands and replies of one connection, and knows which reply is for which command."""

    message_type = Command

    def __init__(self) -> None:
        super().__init__()
        self.protocol = 2
        """The version of RESP that the two speak."""
        self._readers: dict[bool, RESPReader] = {}
        self._pending: Unanswered[Command] = Unanswered()
        self._subscribed = False
        # Whether the client wants no replies at all, and to how many commands it wants none.
        self._muted = False
        self._skipped = 0

    def close(self) -> None:
        super().close()
        self._pending.clear()
        self._readers.clear()

    def holds(self, from_client: bool) -> bool:
        return from_client and self._pending.full

    def next_message(self, from_client: bool) -> Message | None:
        if self.holds(from_client):
            return None
        if not from_client and self._pending:
            command = self._pending[0]
            if command._answer is not _UNANSWERED:
                self._pending.popleft()
                return Reply(command._answer, command)
        return super().next_message(from_client)

    def read(self, buffer: Buffer, from_client: bool) -> Message | None:
        reader = self._readers.get(from_client)
        if reader is None:
            reader = self._readers[from_client] = RESPReader(self.limit)
        if from_client and not reader.is_open and buffer.peek(1) not in (b"*", None):
            return self._inline(buffer)
        value = reader.read(buffer)
        if value is INCOMPLETE:
            return None
        if not from_client:
            return self._reply(value)
        if value is not None and any(type(item) is not bytes for item in value):
            raise malformed("a command is made of bulk strings")
        return Command(*(value or ()))

    def _inline(self, buffer: Buffer) -> Command | None:
        line = buffer.take_line()
        return None if line is None else Command(*_split(line))

    def _reply(self, value: Any) -> Reply:
        word = value[0] if isinstance(value, list) and value else None
        word = word.lower() if isinstance(word, bytes) else None
        pending = self._pending
        if word in _SUBSCRIPTIONS and (
            isinstance(value, PushReply) or self._subscribed or self._awaits(word)
        ):
            self._subscribed = value[-1] != 0
            return Reply(value, pending.popleft() if self._awaits(word) else None)
        unasked = isinstance(value, PushReply) or (self._subscribed and word in _PUBLISHED)
        if unasked or not pending:
            return Reply(value)
        command = pending.popleft()
        if command.name == "HELLO" and not isinstance(value, ErrorReply):
            version = command.arguments[1:2]
            if version:
                self.protocol = 3 if version[0] in (b"3", "3") else 2
        elif command.name == "RESET":
            self.protocol = 2
        reply = Reply(value, command)
        # Who asked for it was not the client.
        reply.dropped = command.injected
        return reply

    def _awaits(self, word: bytes | None) -> bool:
        """Whether the next reply is due for the command of that name."""
        return (
            word is not None
            and bool(self._pending)
            and self._pending[0].name == word.decode().upper()
        )

    def encode(self, message: Any) -> bytes:
        if isinstance(message, Reply):
            return encode(message.value, self.protocol)
        for argument in message.arguments:
            if not isinstance(argument, bytes | str):
                raise LocalProtocolError(
                    f"a hook made a {type(argument).__name__} of an argument of a Redis command",
                    "redis-invalid",
                )
        return encode([*map(_plain, message.arguments)], 2)

    def sent(self, message: Any) -> None:
        if not isinstance(message, Command) or not message.arguments:
            return
        if message.name in _REPLICATION:
            self.next_layer = "relay"
        elif self._is_answered(message):
            self._pending.append(message)

    def _is_answered(self, command: Command) -> bool:
        words = [_plain(word).upper() for word in command.arguments[:3]]
        if words[:2] == [b"CLIENT", b"REPLY"] and len(words) == 3:
            self._muted = words[2] == b"OFF"
            if words[2] == b"SKIP":
                # The reply to this one and to the next.
                self._skipped = 2
        if self._skipped:
            self._skipped -= 1
            return False
        return not self._muted

    def dropped(self, message: Any) -> None:
        if isinstance(message, Command) and message._answer is not _UNANSWERED:
            self._pending.append(message)

    def refusal(self, error: InterceptorError) -> bytes:
        text = " ".join(str(error).split())
        return encode(ErrorReply(f"ERR proxy: {error.code}: {text}".encode()), 2)


def _plain(word: Any) -> bytes:
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else bytes(word)


def _split(line: bytes) -> list[bytes]:
    """Split an inline command at blanks, with the quotes and escapes that Redis knows."""
    words: list[bytes] = []
    text = line.rstrip(b"\r\n").decode("latin-1")
    position, end = 0, len(text)
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        word = ""
        while position < end and not text[position].isspace():
            quote = text[position]
            if quote not in "\"'":
                word += quote
                position += 1
                continue
            position += 1
            while position < end and text[position] != quote:
                if text[position] == "\\" and quote == '"' and position + 1 < end:
                    taken, position = _escape(text, position + 1)
                    word += taken
                elif text[position : position + 2] == "\\'" and quote == "'":
                    word += "'"
                    position += 2
                else:
                    word += text[position]
                    position += 1
            if position >= end:
                raise malformed("a quote has no end")
            position += 1
        words.append(word.encode("latin-1"))
    return words


def _escape(text: str, position: int) -> tuple[str, int]:
    character = text[position]
    if character == "x":
        digits = text[position + 1 : position + 3]
        if len(digits) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            return chr(int(digits, 16)), position + 3
    return _ESCAPES.get(character, character), position + 1


def _shown(value: Any) -> str:
    """Return a value for people, on one line, as ``redis-cli`` has it."""
    if isinstance(value, Reply | Command):
        return str(value)
    if isinstance(value, ErrorReply):
        return f"(error) {value.decode('utf-8', 'backslashreplace')}"
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
        plain = text.isprintable() and text and not any(c in "\"' " for c in text)
        return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        inner = ", ".join(f"{_shown(key)}: {_shown(item)}" for key, item in value.items())
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if value is None:
        return "(nil)"
    return str(value)

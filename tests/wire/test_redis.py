from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import InterceptorError, LocalProtocolError, RemoteProtocolError
from interceptor.wire.redis import Command, RedisCodec, Reply
from interceptor.wire.resp import ErrorReply, Status

PIECES = [
    *(b"*", b"$", b":", b"+", b"-", b"%", b"~", b">", b"|", b"#t", b"_", b",", b"(", b"=", b"!"),
    *(b"\r\n", b"1\r\n", b"2\r\n", b"-1\r\n", b"$3\r\nabc\r\n", b"*2\r\n", b"GET a\r\n"),
    *(b"HELLO 3\r\n", b"$9\r\nsubscribe\r\n", b"PSYNC\r\n", b"%1\r\n:1\r\n:2\r\n"),
]


class FuzzTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=12), st.booleans())
    def test_pieces_make_no_difference(self, pieces: list[bytes], from_client: bool) -> None:
        data = b"".join(pieces)
        seen: list[tuple[list[bytes], str]] = []
        for step in (len(data) or 1, 1):
            codec, found, code = RedisCodec(), [], ""
            codec.limit = 1000
            try:
                for start in range(0, len(data), step):
                    codec.receive(data[start : start + step], from_client)
                    while (message := codec.next_message(from_client)) is not None:
                        found.append(message.raw)
                        codec.encode(message)
                        codec.sent(message)
            except RemoteProtocolError as error:
                code = error.code
            seen.append((found, code))
        self.assertEqual(seen[0], seen[1])


class CodecTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.codec = RedisCodec()

    def commands(self, data: bytes) -> list[Any]:
        """Read commands, and pass them on."""
        self.codec.receive(data, True)
        found = []
        while (message := self.codec.next_message(True)) is not None:
            self.codec.sent(message)
            found.append(message)
        return found

    def replies(self, data: bytes = b"") -> list[Any]:
        self.codec.receive(data, False)
        found = []
        while (message := self.codec.next_message(False)) is not None:
            self.codec.sent(message)
            found.append(message)
        return found


class CommandTests(CodecTestCase):
    def test_commands(self) -> None:
        (command,) = self.commands(b"*2\r\n$3\r\nget\r\n$1\r\na\r\n")
        self.assertEqual((command.name, command.arguments), ("GET", [b"get", b"a"]))
        self.assertEqual(command.raw, b"*2\r\n$3\r\nget\r\n$1\r\na\r\n")
        self.assertEqual(self.codec.encode(command), command.raw)

    def test_inline(self) -> None:
        for line, words in {
            b"PING\r\n": [b"PING"],
            b"set  a\tb \n": [b"set", b"a", b"b"],
            b"set \"a b\" 'c d'\r\n": [b"set", b"a b", b"c d"],
            rb'"\x41\n\"" ' + b"'it\\'s'\r\n": [b'A\n"', b"it's"],
            b"\r\n": [],
        }.items():
            (command,) = self.commands(line)
            self.assertEqual((command.arguments, command.raw), (words, line))

    def test_what_is_no_command(self) -> None:
        for data in (b"*1\r\n:1\r\n", b"*1\r\n*0\r\n", b"*1\r\n+x\r\n", b'"a\r\n'):
            codec = RedisCodec()
            codec.receive(data, True)
            error = self.assertRaises(RemoteProtocolError, codec.next_message, True)
            self.assertEqual(error.code, "redis-malformed")

    def test_texts_are_written_too(self) -> None:
        self.assertEqual(
            self.codec.encode(Command("GET", "ü")), b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"
        )

    def test_what_is_no_argument(self) -> None:
        number: Any = 1
        self.assertRaises(LocalProtocolError, self.codec.encode, Command("GET", number))

    def test_for_people(self) -> None:
        for command, text in (
            (Command("SET", b"a", b"b c"), 'SET a "b c"'),
            (Command("AUTH", b"anna", b"secret"), "AUTH …"),
            (Command("HELLO", "3", "AUTH", "anna", "secret"), "HELLO 3 …"),
            (Command("GET", b"\x00\xff"), 'GET "\x00\\\\xff"'),
        ):
            self.assertEqual(str(command), text)


class ReplyTests(CodecTestCase):
    def test_who_is_answered(self) -> None:
        first, second = self.commands(b"GET a\r\nGET b\r\n")
        one, two, three = self.replies(b"$1\r\n1\r\n$1\r\n2\r\n+OK\r\n")
        self.assertIs(one.command, first)
        self.assertIs(two.command, second)
        self.assertIsNone(three.command)
        self.assertEqual((one.value, three.value), (b"1", Status(b"OK")))

    def test_empty_commands_have_no_reply(self) -> None:
        _, ping = self.commands(b"\r\nPING\r\n")
        self.assertIs(self.replies(b"+PONG\r\n")[0].command, ping)

    def test_answers_wait_for_their_turn(self) -> None:
        (first,) = self.commands(b"GET a\r\n")
        self.codec.receive(b"GET b\r\n", True)
        second: Any = self.codec.next_message(True)
        second.answer(b"mine")
        self.assertTrue(second.dropped)
        self.codec.dropped(second)
        self.assertEqual(self.replies(), [])
        one, two = self.replies(b"$1\r\n1\r\n")
        self.assertEqual((one.command, two.command), (first, second))
        self.assertEqual((two.value, two.raw), (b"mine", b""))

    def test_replies_to_our_own_commands_are_dropped(self) -> None:
        command = Command("GET", "a")
        command.injected = True
        self.codec.sent(command)
        (reply,) = self.replies(b"$1\r\n1\r\n")
        self.assertTrue(reply.dropped)

    def test_version_3(self) -> None:
        self.commands(b"HELLO 3\r\n")
        self.assertEqual(self.codec.encode(Reply(None)), b"$-1\r\n")
        self.replies(b"%1\r\n+proto\r\n:3\r\n")
        self.assertEqual(self.codec.encode(Reply(None)), b"_\r\n")
        self.commands(b"RESET\r\n")
        self.replies(b"+RESET\r\n")
        self.assertEqual(self.codec.protocol, 2)

    def test_version_3_is_refused(self) -> None:
        self.commands(b"HELLO 3\r\n")
        self.replies(b"-NOPROTO no\r\n")
        self.assertEqual(self.codec.protocol, 2)

    def test_channels(self) -> None:
        subscribe, ping = self.commands(b"SUBSCRIBE a b\r\nPING\r\n")
        data = b"*3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:%d\r\n"
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
        found = self.replies(data % (b"a", 1) + message + data % (b"b", 2) + message + b"+PONG\r\n")
        self.assertEqual([reply.command for reply in found], [subscribe, None, None, None, ping])

    def test_pushes(self) -> None:
        (get,) = self.commands(b"GET a\r\n")
        found = self.replies(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\n1\r\n")
        self.assertEqual([reply.command for reply in found], [None, get])

    def test_a_list_that_looks_like_a_message(self) -> None:
        (lrange,) = self.commands(b"LRANGE a 0 -1\r\n")
        (reply,) = self.replies(b"*1\r\n$7\r\nmessage\r\n")
        self.assertIs(reply.command, lrange)

    def test_clients_that_want_no_replies(self) -> None:
        _, _, _, on = self.commands(
            b"CLIENT REPLY OFF\r\nSET a 1\r\nSET a 2\r\nCLIENT REPLY ON\r\n"
        )
        self.assertIs(self.replies(b"+OK\r\n")[0].command, on)
        _, _, get = self.commands(b"CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n")
        self.assertIs(self.replies(b"$1\r\n1\r\n")[0].command, get)

    def test_replication_is_something_else(self) -> None:
        self.commands(b"PSYNC ? -1\r\n")
        self.assertEqual(self.codec.next_layer, "relay")

    def test_last_words(self) -> None:
        words = self.codec.refusal(InterceptorError("no\r\nway", "some-code"))
        self.assertEqual(words, b"-ERR proxy: some-code: no way\r\n")

    def test_for_people(self) -> None:
        for value, text in (
            (b"x", "x"),
            (None, "(nil)"),
            (ErrorReply(b"ERR no"), "(error) ERR no"),
            ([1, {b"a": True}], "[1, {a: True}]"),
        ):
            self.assertEqual(str(Reply(value)), text)
            self.assertEqual(Reply(value).is_error, isinstance(value, ErrorReply))

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.wire.messagecodec import Buffer
from interceptor.wire.resp import (
    INCOMPLETE,
    ErrorReply,
    PushReply,
    RESPReader,
    SetReply,
    Status,
    Verbatim,
    encode,
)


def read(data: bytes, *, step: int | None = None, limit: int = 1000) -> list[Any]:
    """Read all values in ``data``, which comes in pieces of ``step`` bytes."""
    buffer, reader, found = Buffer(), RESPReader(limit), []
    step = step or len(data)
    for start in range(0, len(data), step):
        buffer.append(data[start : start + step])
        while (value := reader.read(buffer)) is not INCOMPLETE:
            found.append(value)
    return found


VALUES = {
    b"+OK\r\n": Status(b"OK"),
    b"-ERR no\r\n": ErrorReply(b"ERR no"),
    b":-12\r\n": -12,
    b"$0\r\n\r\n": b"",
    b"$2\r\n\r\n\r\n": b"\r\n",
    b"$-1\r\n": None,
    b"*-1\r\n": None,
    b"_\r\n": None,
    b"*0\r\n": [],
    b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n": [[1], b"a"],
    b"*2\r\n*0\r\n*0\r\n": [[], []],
    b"#t\r\n": True,
    b",1.5\r\n": 1.5,
    b",inf\r\n": math.inf,
    b"(123456789012345678901234567890\r\n": 123456789012345678901234567890,
    b"!7\r\nERR a\nb\r\n": ErrorReply(b"ERR a\nb"),
    b"=6\r\nmkd:hi\r\n": Verbatim(b"hi"),
    b"%2\r\n+a\r\n:1\r\n*1\r\n:2\r\n_\r\n": {b"a": 1, (2,): None},
    b"~2\r\n:1\r\n:2\r\n": SetReply([1, 2]),
    b">1\r\n+x\r\n": PushReply([b"x"]),
    b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n": b"x",
    b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n": [1, 2],
    b"|0\r\n:1\r\n": 1,
}


class ReaderTests(SynchronousTestCase):
    def test_values(self) -> None:
        for data, expected in VALUES.items():
            (value,) = read(data)
            self.assertEqual(value, expected, data)
            self.assertIs(type(value), type(expected), data)

    def test_byte_by_byte(self) -> None:
        for data, expected in VALUES.items():
            self.assertEqual(read(data * 2, step=1), [expected, expected], data)

    def test_the_format_of_verbatim_strings(self) -> None:
        self.assertEqual(read(b"=6\r\nmkd:hi\r\n")[0].format, b"mkd")

    def test_the_kind_of_errors(self) -> None:
        self.assertEqual(read(b"-WRONGTYPE no\r\n")[0].kind, "WRONGTYPE")

    def test_attributes(self) -> None:
        buffer, reader = Buffer(), RESPReader(1000)
        buffer.append(b"|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n")
        self.assertEqual((reader.read(buffer), reader.attributes), (1, {b"ttl": 3}))
        self.assertEqual((reader.read(buffer), reader.attributes), (2, None))

    def test_nonsense(self) -> None:
        for data in (
            b"hello\r\n",
            b"\r\n",
            b":\r\n",
            b":1a\r\n",
            b":1\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*-3\r\n",
            b"%-1\r\n",
            b"$1\r\nabc",
            b"#x\r\n",
            b",x\r\n",
            b"(x\r\n",
            b"_x\r\n",
            b"=1\r\na\r\n",
            b"$?\r\n",
            b"*1\r\n" * 100,
        ):
            error = self.assertRaises(RemoteProtocolError, read, data)
            self.assertEqual(error.code, "redis-malformed", data)

    def test_strings_are_bounded_before_they_come(self) -> None:
        error = self.assertRaises(RemoteProtocolError, read, b"*1\r\n$1001\r\n")
        self.assertEqual(error.code, "message-too-large")

    def test_a_large_count_costs_nothing(self) -> None:
        self.assertEqual(read(b"*1000000000\r\n:1\r\n"), [])


class EncodeTests(SynchronousTestCase):
    def test_version_3(self) -> None:
        for data in (
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-12\r\n",
            b"$2\r\n\r\n\r\n",
            b"_\r\n",
            b"*2\r\n*0\r\n$1\r\na\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b",10\r\n",
            b",-inf\r\n",
            b"(123456789012345678901234567890\r\n",
            b"=6\r\nmkd:hi\r\n",
            b"%2\r\n+a\r\n:1\r\n*1\r\n:2\r\n_\r\n",
            b"~2\r\n:1\r\n:2\r\n",
            b">1\r\n+x\r\n",
        ):
            self.assertEqual(encode(read(data)[0]), data)
        self.assertEqual(encode({1}), b"~1\r\n:1\r\n")

    def test_version_2(self) -> None:
        for value, expected in (
            (None, b"$-1\r\n"),
            (True, b":1\r\n"),
            (1.5, b"$3\r\n1.5\r\n"),
            ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n"),
            (SetReply([1]), b"*1\r\n:1\r\n"),
            (PushReply([1]), b"*1\r\n:1\r\n"),
            (Verbatim(b"hi"), b"$2\r\nhi\r\n"),
            ("ü", b"$2\r\n\xc3\xbc\r\n"),
        ):
            self.assertEqual(encode(value, 2), expected)

    def test_what_cannot_be_said(self) -> None:
        for value in (object(), Status(b"a\r\nb"), ErrorReply(b"a\nb"), [object()]):
            error = self.assertRaises(LocalProtocolError, encode, value)
            self.assertEqual(error.code, "redis-invalid")

    @given(
        st.recursive(
            st.binary() | st.integers() | st.none() | st.booleans() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.binary() | st.integers(), inner),
            max_leaves=20,
        )
    )
    def test_what_is_written_is_read_back(self, value: Any) -> None:
        self.assertEqual(read(encode(value), limit=10000), [value])

"""Whatever arrives is understood, or refused with a code; nothing else happens."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.dns import Request, Response
from interceptor.errors import RemoteProtocolError
from tests.names.test_message import response
from tests.names.test_wire import QUESTION, message, record

SEEDS = (
    message(),
    response(),
    message(
        QUESTION
        + record(b"\xc0\x0c", 6, b"\1a\xc0\x10\1b\xc0\x10" + bytes(20))
        + record(b"\1m\xc0\x0c", 15, b"\0\5\xc0\x0c")
        + record(b"\xc0\x10", 16, b"\3abc\0"),
        *(1, 1, 1, 1),
        flags=0x8180,
    ),
)

SLOW = settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


class FuzzTests(SynchronousTestCase):
    def check(self, data: bytes) -> None:
        for kind in (Request, Response):
            try:
                read = kind.from_wire(data)
            except RemoteProtocolError as error:
                self.assertEqual(error.code, "dns-malformed")
                continue
            sections = (read.answers, read.authority, read.additional)
            for one in (each for section in sections for each in section):
                self.assertTrue(str(one))
                self.assertIsNotNone(one.payload)
            self.assertTrue(repr(read) and read.name and read.type and read.opcode and read.rcode)
            self.assertEqual(read.to_wire(), data)
            # Written anew it says the same.
            read.authentic_data = not read.authentic_data
            again = kind.from_wire(read.to_wire())
            self.assertEqual(again.question, read.question)
            for mine, theirs in zip(sections, (again.answers, again.authority), strict=False):
                self.assertEqual(mine, theirs)

    @SLOW
    @given(st.binary(max_size=600))
    def test_anything(self, data: bytes) -> None:
        self.check(data)

    @SLOW
    @given(
        st.sampled_from(SEEDS),
        st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
    )
    def test_messages_with_a_few_bytes_changed(
        self, seed: bytes, changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(seed)
        for place, value in changes:
            data[place % len(data)] = value
        self.check(bytes(data))

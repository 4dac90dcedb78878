"""Clients that tie their authentication to a certificate."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.channelbinding import BindingWatch, postgresql_error
from interceptor.wire.starttls import GENERIC

STARTUP = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0"


def response(mechanism: bytes, rest: bytes = b"\0\0\0\x04n,,x") -> bytes:
    """SASLInitialResponse of PostgreSQL, or with no rest a password."""
    body = mechanism + b"\0" + rest
    return b"p" + (4 + len(body)).to_bytes(4, "big") + body


class BindingTests(SynchronousTestCase):
    def watched(self, protocol: str, data: bytes, *, over: bool = True) -> str | None:
        """What is found, in whatever pieces it comes."""
        results = []
        for size in (len(data), 1, 5):
            watch = BindingWatch(protocol)
            found = [
                watch.client_sent(data[start : start + size]) for start in range(0, len(data), size)
            ]
            results.append([each for each in found if each is not None])
            self.assertEqual(watch.over, over, size)
            self.assertIsNone(watch.client_sent(data))
        self.assertEqual(results[1:], results[:1] * 2)
        return results[0][0] if results[0] else None

    def test_postgresql(self):
        data = STARTUP + response(b"SCRAM-SHA-256-PLUS")
        self.assertEqual(self.watched("postgresql", data), "SCRAM-SHA-256-PLUS")

    def test_postgresql_without(self):
        for message in (
            response(b"SCRAM-SHA-256"),
            response(b"SCRAM-SHA-256-PLUS", b""),
            response(b"md5d41d8cd98f00b204e9800998ecf8427e", b""),
            b"Q\0\0\0\x0dselect 1\0",
            b"p\0\0\0\x04",
        ):
            self.assertIsNone(self.watched("postgresql", STARTUP + message))

    def test_names_in_the_startup_packet_are_none(self):
        packet = b"\0\0\0\x21\0\x03\0\0user\0SCRAM-SHA-256-PLUS\0\0"
        self.assertEqual(len(packet), 0x21)
        self.assertIsNone(self.watched("postgresql", packet + response(b"SCRAM-SHA-256")))

    def test_other_protocols(self):
        for data, mechanism in (
            (b"AUTH SCRAM-SHA-256-PLUS cD10bHM=\r\n", "SCRAM-SHA-256-PLUS"),
            (b"a1 AUTHENTICATE SCRAM-SHA-1-PLUS\r\n", "SCRAM-SHA-1-PLUS"),
            (b"<auth mechanism='SCRAM-SHA-512-PLUS'>", "SCRAM-SHA-512-PLUS"),
            (b"x" * 9000 + b"AUTH SCRAM-SHA3-512-PLUS", "SCRAM-SHA3-512-PLUS"),
        ):
            self.assertEqual(self.watched(GENERIC, data), mechanism)

    def test_none(self):
        for data in (b"AUTH SCRAM-SHA-256\r\n", b"AUTH PLAIN\r\n", b"XSCRAM-SHA-256-PLUS"):
            self.assertIsNone(self.watched(GENERIC, data, over=False))

    def test_it_ends(self):
        for protocol in (GENERIC, "postgresql"):
            watch = BindingWatch(protocol)
            self.assertIsNone(watch.client_sent(b"\0\0\xff" * 6000 + b"SCRAM-SHA-1-PLUS"))
            self.assertTrue(watch.over)

    def test_an_error_of_postgresql(self):
        error = postgresql_error("nö", "try that")
        self.assertEqual(error[:1], b"E")
        self.assertEqual(int.from_bytes(error[1:5], "big"), len(error) - 1)
        self.assertEqual(error[5:], "SFATAL\0VFATAL\0C28000\0Mnö\0Htry that\0\0".encode())

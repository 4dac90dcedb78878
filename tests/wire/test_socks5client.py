"""SOCKS5, the client's half."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import UpstreamError
from interceptor.wire.socks5client import AddressRefusedError, Socks5Client

CREDENTIALS = (b"user", b"secret")
GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


class Socks5ClientTests(SynchronousTestCase):
    def talk(self, client: Socks5Client, said: bytes, size: int = 1000) -> bytes:
        """Let the proxy say all that in pieces; return what the client says."""
        answer = client.start()
        for begin in range(0, len(said), size):
            answer += client.receive(said[begin : begin + size])
        return answer

    def refused(self, said: bytes, credentials: tuple[bytes, bytes] | None = None) -> UpstreamError:
        client = Socks5Client("example.test", 80, credentials)
        return self.assertRaises(UpstreamError, self.talk, client, said)

    def test_addresses(self):
        for host, told in (
            ("example.test", b"\x03\x0cexample.test"),
            ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
            ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
            ("fe80::1%eth0", b"\x04\xfe\x80" + bytes(13) + b"\x01"),
            ("b\u00fccher.test", b"\x03\x12xn--bcher-kva.test"),
        ):
            client = Socks5Client(host, 443)
            self.assertEqual(client.start(), b"\x05\x01\x00")
            self.assertEqual(client.receive(b"\x05\x00"), b"\x05\x01\x00" + told + b"\x01\xbb")

    def test_success_in_any_pieces(self):
        replies = (GRANTED, b"\x05\0\0\x04" + bytes(18), b"\x05\0\0\x03\x05proxy\0\0")
        for reply in replies:
            for size in (1, 2, 1000):
                client = Socks5Client("example.test", 80)
                self.talk(client, b"\x05\x00" + reply, size)
                self.assertTrue(client.done)
                self.assertEqual(client.rest, b"")

    def test_what_the_server_says_at_once_is_kept(self):
        client = Socks5Client("example.test", 80)
        self.talk(client, b"\x05\x00" + GRANTED + b"220 hello")
        self.assertEqual(client.rest, b"220 hello")

    def test_credentials(self):
        client = Socks5Client("example.test", 80, CREDENTIALS)
        self.assertEqual(client.start(), b"\x05\x02\x00\x02")
        self.assertEqual(client.receive(b"\x05\x02"), b"\x01\x04user\x06secret")
        self.assertEqual(client.receive(b"\x01\x00")[:4], b"\x05\x01\x00\x03")
        client.receive(GRANTED)
        self.assertTrue(client.done)

    def test_credentials_are_told_only_if_asked_for(self):
        client = Socks5Client("example.test", 80, CREDENTIALS)
        self.assertNotIn(b"secret", self.talk(client, b"\x05\x00" + GRANTED))

    def test_credentials_that_are_missing_or_wrong(self):
        for said, credentials in (
            (b"\x05\xff", None),
            (b"\x05\xff", CREDENTIALS),
            (b"\x05\x02\x01\x01", CREDENTIALS),
        ):
            error = self.refused(said, credentials)
            self.assertEqual(error.code, "upstream-proxy-auth")
            self.assertNotIn("secret", str(error))

    def test_refusals(self):
        for reply in (1, 2, 3, 4, 5, 6, 7, 8, 99):
            error = self.refused(b"\x05\x00\x05" + bytes((reply,)))
            self.assertEqual(error.code, "upstream-proxy-refused")
            self.assertIn(f"({reply})", str(error))

    def test_some_refusals_concern_the_address_only(self):
        for reply in range(1, 10):
            error = self.refused(b"\x05\x00\x05" + bytes((reply,)))
            self.assertEqual(isinstance(error, AddressRefusedError), reply in (3, 4, 5, 6, 8))

    def test_what_is_no_socks(self):
        for said in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x04\x00",
            b"\x05\x01",
            b"\x05\x02",
            b"\x05\x00\x04",
            b"\x05\x00\x05\x00\x00\x09\x00",
        ):
            self.assertEqual(self.refused(said).code, "upstream-proxy-malformed")
        error = self.refused(b"\x05\x02\x07\x00", CREDENTIALS)
        self.assertEqual(error.code, "upstream-proxy-malformed")

    def test_names_that_cannot_be_told(self):
        for host in ("", "a" * 256, "\udcff"):
            error = self.assertRaises(UpstreamError, Socks5Client, host, 80)
            self.assertEqual(error.code, "dns-failed")

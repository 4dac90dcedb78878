"""CONNECT, the client's half."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import UpstreamError
from interceptor.wire.connectclient import ConnectClient, basic


class ConnectClientTests(SynchronousTestCase):
    def setUp(self):
        self.client = ConnectClient("example.test", 443)

    def refused(self, data: bytes) -> UpstreamError:
        return self.assertRaises(UpstreamError, self.client.receive, data)

    def test_request(self):
        self.assertEqual(
            self.client.start(),
            b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n",
        )

    def test_request_with_credentials(self):
        client = ConnectClient(
            "2001:db8::1", 80, ((b"Proxy-Authorization", basic(b"user", b"pass:word")),)
        )
        self.assertEqual(
            client.start(),
            b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n\r\n",
        )

    def test_success_in_any_pieces(self):
        answer = b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.0 200 Established\r\nVia: x\r\n\r\n"
        for size in (1, 3, len(answer) + 10):
            client = ConnectClient("example.test", 443)
            client.start()
            whole, rest = answer + b"\0rest", b""
            for begin in range(0, len(whole), size):
                data = whole[begin : begin + size]
                if client.done:
                    rest += data
                else:
                    self.assertEqual(client.receive(data), b"")
            self.assertTrue(client.done)
            self.assertEqual(client.rest + rest, b"\0rest")

    def test_a_length_in_a_success_means_nothing(self):
        # RFC 9110, section 9.3.6.
        self.client.start()
        self.client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
        self.assertEqual(self.client.rest, b"body")

    def test_refusals(self):
        for status, code in (
            (b"403 Forbidden", "upstream-proxy-refused"),
            (b"502 Bad Gateway", "upstream-proxy-refused"),
            (b"302 Found", "upstream-proxy-refused"),
            (b"407 Proxy Authentication Required", "upstream-proxy-auth"),
        ):
            self.client = ConnectClient("example.test", 443)
            self.client.start()
            error = self.refused(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
            self.assertEqual(error.code, code)
            self.assertIn(status.decode()[:3], str(error))

    def test_what_is_no_answer(self):
        for data in (b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/2 200\r\n\r\n"):
            self.client = ConnectClient("example.test", 443)
            self.client.start()
            self.assertEqual(self.refused(data).code, "upstream-proxy-malformed")

    def test_an_endless_answer(self):
        self.client.start()
        error = self.refused(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000)
        self.assertEqual(error.code, "upstream-proxy-malformed")

    def test_what_is_no_host(self):
        error = self.assertRaises(UpstreamError, ConnectClient, "\udcff", 1)
        self.assertEqual(error.code, "dns-failed")
        error = self.assertRaises(UpstreamError, ConnectClient("a b\r\n", 1).start)
        self.assertEqual(error.code, "dns-failed")

"""Next hops in text, and the credentials for them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import ModeError, OptionsError
from interceptor.model.nexthop import Credentials, NextHop, parse_next_hop


class NextHopTests(SynchronousTestCase):
    def test_schemes_and_their_ports(self):
        for text, hop in (
            ("http://proxy:3128", NextHop("http", "proxy", 3128)),
            ("HTTPS://Proxy.Example", NextHop("https", "proxy.example", 443)),
            ("socks5://[::1]", NextHop("socks5", "::1", 1080)),
            ("socks5h://192.0.2.1:9050/", NextHop("socks5h", "192.0.2.1", 9050)),
        ):
            self.assertEqual(parse_next_hop(text), hop)

    def test_as_text(self):
        for text in ("http://proxy:80", "socks5://[::1]:1080"):
            self.assertEqual(str(parse_next_hop(text)), text)

    def test_which_speak_http(self):
        speaking = [scheme for scheme in ("http", "https") if NextHop(scheme, "a", 1).speaks_http]
        self.assertEqual(speaking, ["http", "https"])
        self.assertFalse(NextHop("socks5", "a", 1).speaks_http)
        self.assertFalse(NextHop("socks5h", "a", 1).speaks_http)

    def test_what_is_none(self):
        for text in (
            "",
            "proxy:3128",
            "ftp://proxy",
            "socks4://proxy",
            "http://",
            "http://proxy:",
            "http://proxy:0",
            "http://proxy:65536",
            "http://proxy:3128/path",
            "http://::1",
            "http://a b",
        ):
            error = self.assertRaises(ModeError, parse_next_hop, text)
            self.assertIn("next hop", str(error))

    def test_credentials_are_refused_and_not_repeated(self):
        for text in ("http://user:secret@proxy:1", "http://user:secret", "secret@proxy"):
            error = self.assertRaises(ModeError, parse_next_hop, text)
            self.assertIn("upstream_auth", str(error))
            self.assertNotIn("secret", str(error))


class CredentialsTests(SynchronousTestCase):
    hop = NextHop("http", "proxy", 3128)

    def test_none(self):
        self.assertIsNone(Credentials().get(self.hop, configured=True))

    def test_for_whatever_is_configured(self):
        credentials = Credentials(["user:pass:word"])
        self.assertEqual(credentials.get(self.hop, configured=True), (b"user", b"pass:word"))

    def test_a_hop_of_a_hook_is_not_told_what_is_not_meant_for_it(self):
        self.assertIsNone(Credentials(["user:password"]).get(self.hop, configured=False))

    def test_for_one_next_hop(self):
        credentials = Credentials(["general:1", "http://Proxy:3128=own:a=b"])
        self.assertEqual(credentials.get(self.hop, configured=False), (b"own", b"a=b"))
        self.assertEqual(credentials.get(self.hop, configured=True), (b"own", b"a=b"))
        other = NextHop("socks5", "proxy", 3128)
        self.assertEqual(credentials.get(other, configured=True), (b"general", b"1"))

    def test_an_equals_sign_is_part_of_a_password(self):
        found = Credentials(["user:a=b"]).get(self.hop, configured=True)
        self.assertEqual(found, (b"user", b"a=b"))

    def test_what_is_faulty_is_not_repeated(self):
        for entry in (
            "secret",
            ":secret",
            "http://proxy:x=user:secret",
            "user:secret\n",
            "user:" + "secret" * 50,
        ):
            error = self.assertRaises(OptionsError, Credentials, ["a:b", entry])
            self.assertIn("`upstream_auth`, entry 2", str(error))
            self.assertNotIn("secret", str(error))

    def test_the_representation_tells_nothing(self):
        self.assertNotIn("secret", repr(Credentials(["user:secret"])))

"""Mode strings."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import ModeError, OptionsError
from interceptor.model.modes import ListenSpec, ModeSpec, parse_mode, parse_modes
from interceptor.model.nexthop import NextHop

DEFAULT = ListenSpec("tcp", "127.0.0.1", 8080)


class ModeTests(SynchronousTestCase):
    """The part before the last ``@``."""

    def refused(self, text: str) -> str:
        message = str(self.assertRaises(ModeError, parse_mode, text))
        self.assertNotIn("\n", message)
        return message

    def test_regular(self):
        self.assertEqual(parse_mode("regular"), ModeSpec("regular", "", "", 0, DEFAULT, "regular"))

    def test_socks5(self):
        self.assertEqual(parse_mode("socks5"), ModeSpec("socks5", "", "", 0, DEFAULT, "socks5"))
        self.assertEqual(parse_mode("socks5@1080").listen.port, 1080)
        self.assertEqual(parse_mode("socks5@1080").name, "socks5")
        self.assertIn("can follow `socks5`", self.refused("socks5:http://a"))
        self.assertIn("did you mean `socks5`?", self.refused("socks@1080"))

    def test_auto(self):
        self.assertEqual(parse_mode("auto@3128").kind, "auto")
        self.assertEqual(parse_mode("auto@3128").name, "auto")
        self.assertIn("can follow `auto`", self.refused("auto:http://a"))

    def test_transparent(self):
        expected = ModeSpec("transparent", "", "", 0, DEFAULT, "transparent")
        self.assertEqual(parse_mode("transparent"), expected)
        self.assertEqual(parse_mode("transparent@[::]:8080").name, "transparent")
        self.assertIn("can follow `transparent`", self.refused("transparent:http://a"))
        self.assertIn("did you mean `transparent`?", self.refused("transparant"))

    def test_reverse(self):
        text = "reverse:http://Example.org:8000@9000"
        self.assertEqual(
            parse_mode(text),
            ModeSpec(
                "reverse", "http", "example.org", 8000, ListenSpec("tcp", "127.0.0.1", 9000), text
            ),
        )

    def test_reverse_with_servers_to_choose_from(self):
        spec = parse_mode("reverse@8443")
        self.assertEqual((spec.kind, spec.scheme, spec.host, spec.port), ("reverse", "", "", 0))
        self.assertEqual((spec.name, spec.listen.port), ("reverse", 8443))

    def test_the_port_of_a_server_has_a_default(self):
        self.assertEqual(parse_mode("reverse:http://example.org").port, 80)
        self.assertEqual(parse_mode("reverse:http://example.org/").port, 80)

    def test_a_server_of_bytes_needs_a_port(self):
        self.assertEqual(parse_mode("reverse:tcp://example.org:5432").port, 5432)
        self.assertIn("needs a port: `tcp://HOST:PORT`", self.refused("reverse:tcp://example.org"))
        self.assertIn("needs a port: `tls://HOST:PORT`", self.refused("reverse:tls://a@993"))

    def test_a_server_may_be_an_address(self):
        spec = parse_mode("reverse:http://[2001:DB8::1]:8000@[::1]:0")
        self.assertEqual((spec.host, spec.port), ("2001:db8::1", 8000))
        self.assertEqual(spec.listen, ListenSpec("tcp", "::1", 0))
        self.assertEqual(parse_mode("reverse:http://192.0.2.1").host, "192.0.2.1")

    def test_a_server_may_have_an_international_name(self):
        self.assertEqual(parse_mode("reverse:http://bücher.example").host, "xn--bcher-kva.example")

    def test_the_name_is_the_mode_without_its_listener(self):
        for text, name in (
            ("regular@1", "regular"),
            ("reverse:http://a@1", "reverse:http://a"),
            ("reverse:http://a:80@1", "reverse:http://a"),
            ("reverse:http://[::1]:81@1", "reverse:http://[::1]:81"),
            ("reverse:tcp://a:25@1", "reverse:tcp://a:25"),
            ("reverse:TLS://A:465@1", "reverse:tls://a:465"),
        ):
            self.assertEqual(parse_mode(text).name, name)

    def test_upstream(self):
        spec = parse_mode("upstream:socks5h://Proxy.example@9000")
        self.assertEqual((spec.kind, spec.scheme), ("upstream", "socks5h"))
        self.assertEqual((spec.host, spec.port), ("proxy.example", 1080))
        self.assertEqual(spec.next_hop, NextHop("socks5h", "proxy.example", 1080))
        self.assertEqual(spec.name, "upstream:socks5h://proxy.example:1080")
        self.assertEqual(spec.listen, ListenSpec("tcp", "127.0.0.1", 9000))

    def test_udp(self):
        spec = parse_mode("reverse:udp://Example.org:514@9000")
        self.assertEqual((spec.scheme, spec.host, spec.port), ("udp", "example.org", 514))
        self.assertEqual((spec.name, spec.transports), ("reverse:udp://example.org:514", {"udp"}))
        self.assertIn("needs a port: `udp://HOST:PORT`", self.refused("reverse:udp://a"))

    def test_dns(self):
        spec = parse_mode("dns")
        self.assertEqual((spec.kind, spec.host, spec.port), ("dns", "", 0))
        self.assertEqual((spec.name, spec.transports), ("dns", {"tcp", "udp"}))
        self.assertEqual(spec.listen, ListenSpec("tcp", "127.0.0.1", 53))
        self.assertEqual(parse_mode("dns@5353").listen.port, 5353)
        for text, host, port in (
            ("dns:9.9.9.9", "9.9.9.9", 53),
            ("dns:Resolver.example:5300@1", "resolver.example", 5300),
            ("dns:[2001:db8::1]:54@[::1]:1", "2001:db8::1", 54),
        ):
            spec = parse_mode(text)
            self.assertEqual((spec.host, spec.port), (host, port))
        self.assertEqual(spec.name, "dns:[2001:db8::1]:54")
        for text in ("dns:", "dns:a:0", "dns:1.2.3", "dns:2001:db8::1", "dns://a"):
            self.refused(text)

    def test_udp_has_no_endpoints(self):
        for text in ("dns@tcp:5353", "reverse:udp://a:1@unix:/run/x"):
            self.assertIn("UDP is listened for at PORT", self.refused(text))

    def test_one_port_for_udp_and_tcp(self):
        parse_modes(("regular@8080", "reverse:udp://a:1@8080"))
        for texts in (("regular@53", "dns@53"), ("dns@53", "reverse:udp://a:1@53")):
            error = self.assertRaises(ModeError, parse_modes, texts)
            self.assertIn("is taken by", str(error))

    def test_other_modes_have_no_next_hop(self):
        for text in ("regular", "socks5", "reverse:http://a"):
            self.assertIsNone(parse_mode(text).next_hop)

    def test_what_is_no_next_hop(self):
        for text in ("upstream", "upstream:", "upstream:proxy:1", "upstream:ftp://proxy:1"):
            self.assertIn("`http://HOST:PORT`", self.refused(text))

    def test_unknown_modes(self):
        expected = (
            "expected `regular`, `socks5`, `auto`, `transparent`, `reverse:http://HOST[:PORT]`, "
            "`reverse:https://HOST[:PORT]`, `reverse:tcp://HOST:PORT`, `reverse:tls://HOST:PORT`, "
            "`reverse:udp://HOST:PORT`, `reverse` (with `reverse_backends`), `dns[:HOST[:PORT]]` "
            "or `upstream:SCHEME://HOST:PORT`"
        )
        self.assertEqual(self.refused("http"), f"mode `http`: {expected}")
        for text in ("", "@8080", "8080"):
            self.assertIn(expected, self.refused(text))
        for text in ("regulr@80", "Regular"):
            self.assertEqual(
                self.refused(text),
                f"mode `{text}`: there is no such mode: did you mean `regular`?",
            )
        for text in ("reverse:", "reverse:example.org"):
            self.assertIn("is no server: expected `http://HOST[:PORT]`, ", self.refused(text))

    def test_schemes_that_are_none(self):
        self.assertIn(
            "scheme `f-t-p` is not supported, only http, https, tcp, tls, udp are",
            self.refused("reverse:f-t-p://a"),
        )

    def test_schemes_that_are_names_of_layers(self):
        for text, port in (("reverse:redis://a", 0), ("reverse:redis://a:80", 80)):
            mode = parse_mode(text)
            self.assertEqual((mode.names_layer, mode.port, mode.name), (True, port, text))
        self.assertFalse(parse_mode("reverse:tls://a:1").names_layer)
        self.assertFalse(parse_mode("regular").names_layer)

    def test_what_is_no_server(self):
        for text in (
            "reverse:http://",
            "reverse:http://:80",
            "reverse:http://a:",
            "reverse:http://a:0",
            "reverse:http://a:65536",
            "reverse:http://a:x",
            "reverse:http://a/path",
            "reverse:http://a?q",
            "reverse:http://a b",
            "reverse:http://-a",
            "reverse:http://a..b",
            "reverse:http://1.2.3",
            "reverse:http://999.1.1.1",
            "reverse:http://::1",
            "reverse:http://[::1",
            "reverse:http://[1.2.3.4]",
            "reverse:http://[::1]80",
            "reverse:http://" + "a" * 64,
            "regular:8080",
        ):
            self.refused(text)

    def test_credentials_are_refused_and_not_repeated(self):
        for text in (
            "reverse:http://user:secret@example.org",
            "reverse:http://user:secret@example.org:80",
            "reverse:http://user:secret@example.org:80@8080",
            "reverse:http://secret@example.org:80@8080",
            "upstream:http://user:secret@example.org:80",
            "upstream:socks5h://user:secret@example.org:80@8080",
            "upstream:socks5://secret@example.org@8080",
        ):
            message = self.refused(text)
            self.assertIn("credentials are not part of a mode", message)
            self.assertNotIn("secret", message)

    def test_two_listeners_are_one_too_many(self):
        for text in ("regular@8080@8081", "regular@secret:8080@foo", "dns@5300@5301"):
            kind = text.partition("@")[0]
            self.assertEqual(
                self.refused(text), f"mode `…`: one @LISTEN can follow `{kind}`, and not two"
            )

    def test_a_port_behind_a_colon(self):
        self.assertIn("did you mean `regular@8080`?", self.refused("regular:8080"))
        self.assertNotIn("did you mean", self.refused("regular:here"))

    def test_schemes_of_next_hops(self):
        self.assertIn("did you mean `http`?", self.refused("upstream:htp://p:1"))
        self.assertIn("did you mean `socks5`?", self.refused("upstream:sock5://p:1"))
        self.assertNotIn("did you mean", self.refused("upstream:proxy:3128"))

    def test_the_error_is_an_option_error_with_its_code(self):
        error = self.assertRaises(OptionsError, parse_mode, "x")
        self.assertEqual(error.code, "mode-invalid")


class ListenTests(SynchronousTestCase):
    """The part after the last ``@``."""

    def listen(self, text: str, **named: Any) -> ListenSpec:
        return parse_mode(f"regular@{text}", **named).listen

    def refused(self, text: str) -> str:
        return str(self.assertRaises(ModeError, self.listen, text))

    def test_port(self):
        self.assertEqual(self.listen("0"), ListenSpec("tcp", "127.0.0.1", 0))
        self.assertEqual(self.listen("65535"), ListenSpec("tcp", "127.0.0.1", 65535))

    def test_host_and_port(self):
        self.assertEqual(self.listen("localhost:80"), ListenSpec("tcp", "localhost", 80))
        self.assertEqual(self.listen("0.0.0.0:80"), ListenSpec("tcp", "0.0.0.0", 80))
        self.assertEqual(self.listen("[::]:80"), ListenSpec("tcp", "::", 80))
        self.assertEqual(self.listen("[fe80::1%eth0]:80"), ListenSpec("tcp", "fe80::1%eth0", 80))

    def test_endpoint_strings(self):
        for text in (
            "tcp:8080:interface=\\:\\:1",
            "tcp6:8080",
            "unix:/run/i.sock",
            "systemd:domain=INET:index=0",
        ):
            self.assertEqual(self.listen(text), ListenSpec("endpoint", description=text))

    def test_the_prefixes_are_an_argument(self):
        self.assertEqual(
            self.listen("onion:80", endpoint_prefixes={"onion"}),
            ListenSpec("endpoint", description="onion:80"),
        )
        self.assertEqual(self.listen("onion:80"), ListenSpec("tcp", "onion", 80))

    def test_what_is_no_listener(self):
        for text in ("", "70000", "-1", ":80", "a:", "a:b", "::1:80", "a b:80", "[::1]", "tcp"):
            self.assertTrue(self.refused(text).startswith(f"mode `regular@{text}`: "))

    def test_a_missing_host_is_explained(self):
        self.assertIn("every address is 0.0.0.0:80 or [::]:80", self.refused(":80"))

    def test_a_near_miss_of_a_prefix_is_named(self):
        self.assertIn("did you mean `systemd`?", self.refused("systmd:domain=INET:index=0"))

    def test_as_text(self):
        for text in ("127.0.0.1:80", "[::1]:0", "unix:/run/i.sock"):
            self.assertEqual(str(self.listen(text)), text)


class ModesTests(SynchronousTestCase):
    """Several modes at once."""

    def test_several(self):
        specs = parse_modes(["regular@1", "reverse:http://a@2"])
        self.assertEqual([spec.kind for spec in specs], ["regular", "reverse"])

    def test_one_listener_serves_one_mode(self):
        error = self.assertRaises(ModeError, parse_modes, ["regular@1", "reverse:http://a@1"])
        self.assertEqual(
            str(error),
            "mode `reverse:http://a@1`: 127.0.0.1:1 is taken by `regular@1` already",
        )
        self.assertRaises(ModeError, parse_modes, ["regular@unix:/a", "regular@unix:/a"])

    def test_ports_that_the_system_chooses_do_not_meet(self):
        self.assertEqual(len(parse_modes(["regular@0", "regular@0"])), 2)

    def test_none_is_an_error(self):
        self.assertRaises(ModeError, parse_modes, [])

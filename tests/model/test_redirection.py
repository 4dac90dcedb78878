"""The nftables rules for transparent mode."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.model.modes import parse_mode
from interceptor.model.redirection import Redirection


def redirection(*listeners: str, **choice: Any) -> Redirection:
    specs = [parse_mode(f"transparent@{listener}").listen for listener in listeners]
    return Redirection(specs, **choice)


class RedirectionTests(SynchronousTestCase):
    """Which rules are printed."""

    def rules(self, *listeners: str, **choice: Any) -> list[str]:
        """Return the rules themselves."""
        lines = redirection(*listeners, **choice).as_text().splitlines()
        return [line.strip() for line in lines if " redirect to " in line or " tproxy " in line]

    def refused(self, *listeners: str, **choice: Any) -> str:
        """Return why there are no rules."""
        return str(self.assertRaises(OptionsError, redirection(*listeners, **choice).as_text))

    def test_a_whole_file(self):
        text = redirection("8080", users=[1000, 1001], ports=[80, 443]).as_text()
        self.assertEqual(
            text,
            "# For:   interceptor run --mode 'transparent@127.0.0.1:8080'\n"
            "# Apply: nft -f FILE, with this in the FILE, or - for standard input\n"
            "# Undo:  nft delete table inet interceptor\n"
            "table inet interceptor\n"
            "delete table inet interceptor\n"
            "table inet interceptor {\n"
            "    chain output {\n"
            "        type nat hook output priority -100; policy accept;\n"
            "        meta skuid { 1000, 1001 } fib daddr type != local tcp dport { 80, 443 } "
            "meta nfproto ipv4 redirect to :8080\n"
            "    }\n"
            "}",
        )

    def test_all_users_but_the_proxy(self):
        [rule] = self.rules("[::1]:8080", all_users=True, proxy_user=13)
        self.assertEqual(
            rule,
            "meta skuid != 13 fib daddr type != local meta l4proto tcp "
            "meta nfproto ipv6 redirect to :8080",
        )

    def test_mark(self):
        text = redirection("8080", all_users=True, mark=7).as_text()
        self.assertIn(" meta mark != 7 fib daddr", text)
        self.assertIn(" --set socket_mark=7\n", text)
        [rule] = self.rules("8080", users=[13], proxy_user=13, mark=7)
        self.assertTrue(rule.startswith("meta mark != 7 meta skuid { 13 } fib "))

    def test_interfaces_and_both_families(self):
        rules = self.rules("[::]:8080", interfaces=["eth1", "eth2"])
        self.assertEqual(
            [rule.split()[:5] for rule in rules], [["iifname", "{", '"eth1",', '"eth2"', "}"]] * 2
        )
        self.assertEqual(["ipv4" in rule for rule in rules], [True, False])

    def test_a_listener_for_each_family(self):
        rules = self.rules("[::1]:8081", "127.0.0.1:8080", users=[13])
        self.assertEqual(
            [rule.partition(" meta nfproto ")[2] for rule in rules],
            ["ipv4 redirect to :8080", "ipv6 redirect to :8081"],
        )

    def test_users_and_interfaces(self):
        text = redirection("0.0.0.0:8080", users=[13], interfaces=["eth1"]).as_text()
        self.assertIn("chain prerouting {", text)
        self.assertIn("chain output {", text)

    def test_tproxy(self):
        for listener, to in (
            ("0.0.0.0:8080", "tproxy ip to :8080 "),
            ("127.0.0.1:8080", "tproxy ip to 127.0.0.1:8080 "),
            ("[::1]:8080", "tproxy ip6 to [::1]:8080 "),
        ):
            [rule] = self.rules(listener, interfaces=["eth1"], tproxy=True)
            self.assertIn(to + "meta mark set 1 accept", rule)
        text = redirection("[::]:8080", interfaces=["eth1"], tproxy=True).as_text()
        self.assertIn("ip -4 rule add fwmark 1", text)
        self.assertIn("ip -6 route del local default dev lo table 100", text)
        self.assertIn("--set tproxy=true", text)

    def test_what_no_rule_can_do(self):
        eth = ["eth1"]
        for listener, choice, said in (
            ("8080", {}, "whose connections"),
            ("0", {"users": [1]}, "an address and a port"),
            ("unix:/tmp/x", {"users": [1]}, "an address and a port"),
            ("localhost:8080", {"users": [1]}, "not a name"),
            ("8080", {"users": [1], "all_users": True}, "exclude each other"),
            ("8080", {"users": [1], "tproxy": True}, "users need a redirect"),
            ("192.0.2.1:8080", {"users": [1]}, "not to 192.0.2.1"),
            ("8080", {"interfaces": eth}, "listen on 0.0.0.0:8080"),
            ("0.0.0.0:8080", {"interfaces": eth, "tproxy": True, "mark": 1}, "take another"),
        ):
            self.assertIn(said, self.refused(listener, **choice))
        self.assertIn("two listeners take IPv4", self.refused("[::]:1", "0.0.0.0:2", users=[1]))

    def test_what_would_be_a_loop(self):
        self.assertIn("must not come back", self.refused("8080", all_users=True))
        self.assertIn("as one of these", self.refused("8080", users=[1, 2], proxy_user=2))

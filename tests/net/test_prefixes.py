"""Modes read with the endpoint prefixes that are installed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import ModeError
from interceptor.model.modes import DEFAULT_PREFIXES
from interceptor.net import prefixes
from interceptor.net.prefixes import listening_modes, registered_prefixes


class ListeningModesTests(SynchronousTestCase):
    """Plug-ins are looked for only where one could be meant."""

    def setUp(self):
        self.looked = 0

        def registered() -> frozenset[str]:
            self.looked += 1
            return DEFAULT_PREFIXES | {"onion"}

        self.patch(prefixes, "registered_prefixes", registered)

    def test_common_listeners_need_no_look(self):
        specs = listening_modes(
            ["regular", "regular@0", "regular@localhost:1", "regular@[::1]:1", "regular@unix:/a"]
        )
        self.assertEqual((len(specs), self.looked), (5, 0))

    def test_a_plugin_is_found(self):
        (spec,) = listening_modes(["regular@onion:80"])
        self.assertEqual((spec.listen.kind, self.looked), ("endpoint", 1))

    def test_a_name_that_is_no_plugin_is_a_host(self):
        (spec,) = listening_modes(["regular@myhost:80"])
        self.assertEqual((spec.listen.kind, spec.listen.host), ("tcp", "myhost"))

    def test_errors_are_those_of_modes(self):
        self.assertRaises(ModeError, listening_modes, ["regular@nothing"])


class RegisteredPrefixesTests(SynchronousTestCase):
    """What Twisted knows."""

    def test_twisted_registers_its_own(self):
        self.assertEqual(registered_prefixes() & DEFAULT_PREFIXES, DEFAULT_PREFIXES)

"""Events and layers that addons declare."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, taggedValue

from interceptor.errors import OptionsError, ScriptError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.check import check
from interceptor.hooks.events import near_miss
from interceptor.hooks.installed import faults_of
from interceptor.hooks.interfaces import IProtocolHooks
from interceptor.hooks.reference import as_text, describe
from interceptor.model.coreoptions import core_options


class IGopherHooks(Interface):
    """Gopher, as it was."""

    taggedValue("title", "Gopher events")
    taggedValue("general", {"gopher_selector": "protocol_message"})

    def gopher_selector(flow: Any) -> None:
        """A client asks for something."""


class GopherLayer:
    """A class of layers, as far as a loader looks at it."""

    name = "gopher"
    hooks = IGopherHooks


class FingerLayer:
    """The same, without an interface."""

    name = "finger"


class Declares:
    """An addon that declares what it is told to."""

    def __init__(self, *interfaces: Any, layers: Any = ()) -> None:
        self.interfaces = interfaces
        self.layers = layers

    def load(self, loader: Any) -> None:
        for interface in self.interfaces:
            loader.add_events(interface)
        for layer in self.layers:
            loader.add_layer(layer)


class Listens:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def gopher_selector(self, flow: Any) -> None:
        self.heard.append(flow)


class ListensToAll:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def protocol_message(self, flow: Any) -> None:
        self.heard.append(flow)


class ChainTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.options = core_options()
        self.chain = AddonChain(self.options, reactor=Clock())


class EventTests(ChainTestCase):
    def test_declared_events_reach_hooks(self) -> None:
        listener = Listens()
        self.chain.add(listener, Declares(IGopherHooks))
        fire = self.chain.bus.get("gopher_selector")
        assert fire is not None
        fire("a flow")
        self.assertEqual(listener.heard, ["a flow"])

    def test_nobody_listens(self) -> None:
        self.chain.add(Declares(IGopherHooks))
        self.assertIsNone(self.chain.bus.get("gopher_selector"))

    def test_what_nobody_declared_is_no_event(self) -> None:
        self.chain.add(Listens())
        self.assertIsNone(self.chain.bus.get("gopher_selector"))
        self.assertIsNone(self.chain.bus.get("statistics"))

    def test_a_general_hook_stands_in(self) -> None:
        general = ListensToAll()
        self.chain.add(Declares(IGopherHooks), general)
        fire = self.chain.bus.get("gopher_selector")
        assert fire is not None
        fire("a flow")
        self.assertEqual(general.heard, ["a flow"])

    def test_events_go_with_their_addon(self) -> None:
        listener, declares = Listens(), Declares(IGopherHooks)
        self.chain.add(listener, declares)
        self.chain.remove(declares)
        self.assertIsNone(self.chain.bus.get("gopher_selector"))

    def test_two_addons_may_declare_the_same(self) -> None:
        first = Declares(IGopherHooks)
        self.chain.add(Listens(), first, Declares(IGopherHooks))
        self.chain.remove(first)
        self.assertIsNotNone(self.chain.bus.get("gopher_selector"))

    def test_a_name_that_is_taken(self) -> None:
        class IOther(Interface):
            def request(thing: Any) -> None:
                """Not this one."""

        error = self.assertRaises(ScriptError, self.chain.add, Declares(IGopherHooks, IOther))
        self.assertIn("`request`", str(error))
        self.assertNotIn("gopher_selector", self.chain.bus.declared.events)

    def test_an_event_has_one_argument(self) -> None:
        class IOther(Interface):
            def two(one: Any, other: Any) -> None:
                """It has two."""

        self.assertRaises(ScriptError, self.chain.add, Declares(IOther))

    def test_general_events_have_to_exist(self) -> None:
        class IOther(Interface):
            taggedValue("general", {"mine": "protocol_massage"})

            def mine(flow: Any) -> None:
                """It is misspelt."""

        self.assertRaises(ScriptError, self.chain.add, Declares(IOther))

    def test_near_misses(self) -> None:
        self.chain.add(Declares(IGopherHooks))
        events = self.chain.bus.declared.events
        self.assertEqual(near_miss("gopher_selectors", events), "gopher_selector")

        class Misspelt:
            def gopher_selectr(self, flow: Any) -> None: ...

        ((_, _, text),) = faults_of(Misspelt(), events)
        self.assertEqual(text, "`gopher_selectr`: did you mean `gopher_selector`?")

    def test_scripts_are_checked_against_them(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("def gopher_selector(): pass\n")
        (problem,) = check([path], addons=[Declares(IGopherHooks)])
        self.assertIn("the event gives 1 argument", problem.text)
        self.assertEqual(check([path]), [])

    def test_reference(self) -> None:
        self.assertEqual(describe([IGopherHooks])[-1].title, "Gopher events")
        self.assertIn("  gopher_selector(flow)", as_text([IGopherHooks]).splitlines())


class LayerTests(ChainTestCase):
    def test_a_layer_has_a_name_an_option_and_events(self) -> None:
        self.chain.add(Declares(layers=[GopherLayer]))
        self.assertIs(self.chain.bus.declared.layers["gopher"].factory, GopherLayer)
        self.assertEqual(self.options.gopher_hosts, ())
        self.assertIn("gopher_selector", self.chain.bus.declared.events)

    def test_standard_events(self) -> None:
        self.chain.add(Declares(layers=[FingerLayer]))
        events = self.chain.bus.declared.events
        for kind in ("start", "message", "error", "end"):
            event = events[f"finger_{kind}"]
            self.assertEqual(event.general, f"protocol_{kind}")
            self.assertIn(event.general, IProtocolHooks)
            self.assertIn("finger", event.documentation)
            self.assertEqual(event.arguments, ("flow",))

    def test_layers_go_with_their_addon(self) -> None:
        declares = Declares(layers=[FingerLayer])
        self.chain.add(declares)
        self.chain.remove(declares)
        self.assertEqual(self.chain.bus.declared.layers, {})
        self.assertNotIn("finger_hosts", self.options)
        self.assertNotIn("finger_end", self.chain.bus.declared.events)

    def test_a_reloaded_script_declares_anew(self) -> None:
        path = self.mktemp() + ".py"
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                "class Layer:\n    name = 'finger'\n\n"
                "def load(loader):\n    loader.add_layer(Layer)\n"
            )
        self.options.scripts = [path]
        self.chain.load_scripts()
        before = self.chain.bus.declared.layers["finger"].factory
        self.chain.reload(self.chain.names()[0])
        self.assertIsNot(self.chain.bus.declared.layers["finger"].factory, before)
        self.assertIn("finger_end", self.chain.bus.declared.events)

    def test_two_layers_of_one_name(self) -> None:
        addon = Declares(layers=[FingerLayer, FingerLayer])
        self.assertRaises(ScriptError, self.chain.add, addon)
        self.assertEqual(self.chain.bus.declared.layers, {})

    def test_a_name_is_plain(self) -> None:
        class Layer:
            name = "a-b"

        self.assertRaises(ScriptError, self.chain.add, Declares(layers=[Layer]))

    def test_faulty_expressions(self) -> None:
        self.options.set("finger_hosts=(", defer=True)
        error = self.assertRaises(OptionsError, self.chain.add, Declares(layers=[FingerLayer]))
        self.assertIn("`finger_hosts`", str(error))

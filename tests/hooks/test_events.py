from __future__ import annotations

import typing

from twisted.trial.unittest import SynchronousTestCase

from interceptor.hooks.bus import HookBus
from interceptor.hooks.events import EVENTS, PER_ADDON, arity_fault, near_miss
from interceptor.hooks.interfaces import HOOK_INTERFACES

SPECIFICATION = {
    "configure": ("options", "updated"),
    "done": (),
    "log": ("entry",),
    "start": (),
    "tick": (),
    "clientconnect": ("root_layer",),
    "clientdisconnect": ("root_layer",),
    "next_layer": ("layer",),
    "serverconnect": ("server_conn",),
    "serverdisconnect": ("server_conn",),
    "http_connect": ("flow",),
    "request": ("flow",),
    "requestheaders": ("flow",),
    "responseheaders": ("flow",),
    "response": ("flow",),
    "error": ("flow",),
}


class EventsTests(SynchronousTestCase):
    def test_specification_is_covered_name_by_name(self) -> None:
        for name, arguments in SPECIFICATION.items():
            self.assertEqual(EVENTS[name].arguments, arguments)

    def test_every_event_is_documented(self) -> None:
        for event in EVENTS.values():
            self.assertTrue(event.documentation.strip(), event.name)
        for interface in HOOK_INTERFACES:
            self.assertTrue(interface.getTaggedValue("title"))

    def test_bus_declares_an_attribute_for_every_event_of_the_chain(self) -> None:
        declared = set(typing.get_type_hints(HookBus, localns={"Deferred": object}))
        self.assertEqual(declared, set(EVENTS) - PER_ADDON)

    def test_signature(self) -> None:
        self.assertEqual(EVENTS["configure"].signature, "configure(options, updated)")

    def test_what_may_be_returned(self) -> None:
        self.assertEqual(
            {name for name, event in EVENTS.items() if event.answers}, {"start", "next_layer"}
        )


class NearMissTests(SynchronousTestCase):
    def test_misspelt_names_are_found(self) -> None:
        for name, meant in {
            "responseheader": "responseheaders",
            "request_headers": "requestheaders",
            "requestHeaders": "requestheaders",
            "Response": "response",
            "respones": "response",
            "client_connected": "clientconnect",
            "server_disconnected": "serverdisconnect",
            "nextlayer": "next_layer",
            "runing": "running",
        }.items():
            self.assertEqual(near_miss(name), meant, name)

    def test_other_names_are_left_alone(self) -> None:
        for name in ("load_rules", "websocket_message", "tcp_start", "helper", "main", "restart"):
            self.assertIsNone(near_miss(name), name)

    def test_events_and_private_names_are_left_alone(self) -> None:
        for name in (*EVENTS, "_response", "_requests"):
            self.assertIsNone(near_miss(name), name)


class ArityTests(SynchronousTestCase):
    def test_right_number_of_arguments(self) -> None:
        self.assertIsNone(arity_fault(lambda flow: None, EVENTS["request"]))
        self.assertIsNone(arity_fault(lambda *arguments: None, EVENTS["request"]))
        self.assertIsNone(arity_fault(lambda flow, extra=None: None, EVENTS["request"]))

    def test_wrong_number_of_arguments(self) -> None:
        def request(context: object, flow: str) -> None:
            pass

        self.assertEqual(
            arity_fault(request, EVENTS["request"]),
            "`request(context, flow)` cannot be called as `request(flow)`: "
            "the event gives 1 argument",
        )

    def test_what_has_no_signature_is_left_alone(self) -> None:
        self.assertIsNone(arity_fault(dict.fromkeys, EVENTS["request"]))

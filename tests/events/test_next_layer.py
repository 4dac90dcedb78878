"""``next_layer``: what is spoken next, and layers that a hook brings along."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from interceptor import layers
from interceptor.interfaces import ILayer
from interceptor.net.sides import SideProtocol
from tests.events.cases import (
    CONNECT,
    GET,
    OK,
    EventTestCase,
    Guard,
    Hooks,
    Waiting,
)


class Shout(SideProtocol):
    """Answers with what it is sent, in capitals."""

    def dataReceived(self, data: bytes) -> None:
        self.side.write(data.upper())


@implementer(ILayer)
class ShoutLayer:
    """Speaks `Shout` with the client; ``replaces`` is the layer that it was made for."""

    name = "shout"

    def __init__(self, replaces: Any) -> None:
        self.replaces = replaces
        self.context = replaces.context

    def start(self, data: bytes) -> None:
        self.context.session.side.use(Shout(), data)


class BrokenLayer(ShoutLayer):
    """Cannot start."""

    name = "broken"

    def start(self, data: bytes) -> None:
        raise RuntimeError("this layer is broken")


class ProposedTests(EventTestCase):
    """What the hook is given."""

    def test_first_layer(self) -> None:
        proxy, client, recorder = self.started()
        client.send(b"GET http://ex")
        [layer] = recorder.arguments("next_layer")
        self.assertTrue(ILayer.providedBy(layer))
        self.assertEqual(layer.name, "http")
        context = layer.context
        self.assertIs(context.options, proxy.options)
        self.assertEqual(context.mode, "regular")
        self.assertEqual(context.client_conn.sockname, ("proxy.test", 8080))
        self.assertIsNone(context.server_conn.address)
        for name in ("client_conn", "server_conn", "options", "layers", "mode"):
            self.assertIs(getattr(layer, name), getattr(context, name), name)

    def test_where_it_leads(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin("example.test", 80)
        client.send(CONNECT)
        client.send(b"\x00\x01\x02\x03\x04\x05")
        http, tcp = recorder.arguments("next_layer")
        self.assertEqual((http.address, tcp.address), (None, ("example.test", 80)))
        again = layers.TCPLayer.instead_of(tcp)
        self.assertEqual(
            (again.address, again.server, again.context), (tcp.address, tcp.server, tcp.context)
        )

    def test_bytes_and_stack(self) -> None:
        seen: list[tuple[bytes, list[str]]] = []

        def next_layer(layer: Any) -> None:
            seen.append((layer.context.seen, [each.name for each in layer.context.layers]))

        proxy, client, _ = self.hooked(next_layer=next_layer)
        proxy.origin().respond(OK)
        client.send(GET[:10])
        client.send(GET[10:])
        self.assertEqual(seen, [(GET[:10], ["root"])])
        # None of them was consumed.
        self.assertEqual(client.received, OK)

    def test_inside_of_a_tunnel(self) -> None:
        seen: list[Any] = []

        def next_layer(layer: Any) -> None:
            context = layer.context
            seen.append(
                (
                    layer.name,
                    context.seen,
                    [each.name for each in context.layers],
                    context.server_conn.address,
                )
            )

        proxy, client, _ = self.hooked(next_layer=next_layer)
        self.raw_origin(proxy)
        client.send(CONNECT)
        client.send(b"\x00\x01")
        self.assertEqual(seen[1:], [("tcp", b"\x00\x01", ["root", "http"], ("example.test", 80))])

    def test_once_for_each_layer(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET + GET)
        client.send(GET)
        self.assertEqual(recorder.names.count("next_layer"), 1)


class ReplacingTests(EventTestCase):
    """What the hook returns."""

    def test_returned_layer_is_used(self) -> None:
        _, client, recorder = self.hooked(next_layer=ShoutLayer)
        client.send(b"hello")
        client.send(b", world")
        self.assertEqual(client.received, b"HELLO, WORLD")
        self.assertEqual(recorder.names, ["next_layer"])

    def test_it_is_on_the_stack(self) -> None:
        proxy, client, _ = self.hooked(next_layer=ShoutLayer)
        client.send(b"hello")
        [session] = proxy.environment.sessions
        self.assertEqual([layer.name for layer in session.context.layers], ["root", "shout"])

    def test_next_addon_is_given_the_replacement(self) -> None:
        given: list[Any] = []
        _, client, recorder = self.started(
            Hooks(next_layer=ShoutLayer), Hooks(next_layer=given.append)
        )
        client.send(b"hello")
        self.assertEqual(client.received, b"HELLO")
        [proposed] = recorder.arguments("next_layer")
        self.assertEqual([layer.name for layer in given], ["shout"])
        self.assertIs(given[0].replaces, proposed)

    def test_replacement_may_be_replaced(self) -> None:
        _, client, _ = self.started(
            Hooks(next_layer=BrokenLayer), Hooks(next_layer=lambda layer: ShoutLayer(layer))
        )
        client.send(b"hello")
        self.assertEqual(client.received, b"HELLO")

    def test_none_keeps_the_layer(self) -> None:
        proxy, client, _ = self.hooked(next_layer=lambda layer: None)
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)

    def test_what_is_no_layer_is_reported(self) -> None:
        messages = self.messages()
        proxy, client, _ = self.hooked(next_layer=lambda layer: "http")
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        [text] = [text for text in messages.texts if "`next_layer`" in text]
        self.assertIn("addon `hooks`", text)
        self.assertIn("returned a str", text)

    def test_layer_inside_of_a_tunnel(self) -> None:
        def next_layer(layer: Any) -> Any:
            return ShoutLayer(layer) if layer.name == "tcp" else None

        proxy, client, _ = self.hooked(next_layer=next_layer)
        self.raw_origin(proxy)
        client.send(CONNECT)
        client.take()
        client.send(b"\x00quiet")
        self.assertEqual(client.received, b"\x00QUIET")


class WaitingTests(EventTestCase):
    """Hooks that do not answer at once."""

    def test_bytes_are_kept(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(next_layer=waiting)
            proxy.origin().respond(OK)
            client.send(GET[:30])
            client.send(GET[30:])
            self.assertEqual(proxy.network.attempts, [])
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_replacement_that_comes_late(self) -> None:
        waiting = Waiting()

        async def next_layer(layer: Any) -> Any:
            await waiting(layer)
            return ShoutLayer(layer)

        proxy, client, _ = self.hooked(next_layer=next_layer)
        client.send(b"hello")
        client.send(b" there")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, b"HELLO THERE")

    def test_client_that_half_closes_meanwhile(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.hooked(next_layer=waiting)
        proxy.origin().respond(OK)
        client.send(GET)
        client.end()
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_client_that_leaves_meanwhile(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(next_layer=waiting)
        client.send(GET)
        [session] = proxy.environment.sessions
        session.side.abort()
        proxy.flush()
        self.assertEqual(waiting.cancelled, 1)
        self.assertEqual(recorder.names, ["next_layer", "clientdisconnect"])


class FailingTests(EventTestCase):
    """Hooks and layers that fail."""

    def test_hook_that_fails_open(self) -> None:
        proxy, client, _ = self.hooked(next_layer=lambda layer: 1 / 0)
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)

    def test_hook_that_fails_closed(self) -> None:
        for hook in (lambda layer: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(next_layer=hook), hook_timeout=3)
            client.send(GET)
            proxy.advance(3)
            self.assertTrue(client.closed)
            self.assertEqual(recorder.names, ["next_layer", "clientdisconnect"])

    def test_layer_that_cannot_start(self) -> None:
        for late in (False, True):
            messages = self.messages()
            waiting = Waiting()

            async def next_layer(layer: Any, late: bool = late, waiting: Any = waiting) -> Any:
                if late:
                    await waiting(layer)
                return BrokenLayer(layer)

            proxy, client, recorder = self.hooked(next_layer=next_layer)
            client.send(b"hello")
            if late:
                waiting.go_on()
                proxy.flush()
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertTrue(client.closed)
            self.assertEqual(recorder.names, ["next_layer", "clientdisconnect"])
            self.assertTrue(any("`broken`" in text for text in messages.texts))

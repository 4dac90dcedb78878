"""``flow.intercept()`` and ``flow.resume()``, and the events of these names."""

from __future__ import annotations

from typing import Any

from interceptor.http import HTTPFlow, Response
from tests.events.cases import (
    CONNECT,
    GET,
    OK,
    POST,
    EventTestCase,
    Guard,
    Hooks,
    Waiting,
    set_stream,
)

PAUSABLE = ("requestheaders", "request", "responseheaders", "response")


def pause(flow: HTTPFlow) -> None:
    flow.intercept()


class PauseTests(EventTestCase):
    """A flow that is paused after an event."""

    def test_in_every_event(self) -> None:
        for event in PAUSABLE:
            proxy, client, recorder = self.hooked(**{event: pause})
            origin = proxy.origin().respond(OK)
            client.send(POST)
            self.assertEqual(recorder.names[-2:], [event, "intercept"])
            self.assertEqual(client.received, b"", event)
            self.assertEqual(bool(origin.connections), event.startswith("response"), event)
            [flow] = recorder.arguments("intercept")
            self.assertTrue(flow.intercepted)
            flow.resume()
            proxy.flush()
            self.assertEqual(client.received, OK, event)
            self.assertEqual(recorder.names.count("intercept"), 1)
            self.assertEqual(recorder.arguments("resume"), [flow])
            self.assertFalse(flow.intercepted)

    def test_every_event_in_turn(self) -> None:
        proxy, client, recorder = self.started(Hooks(**dict.fromkeys(PAUSABLE, pause)))
        proxy.origin().respond(OK)
        client.send(GET)
        for number in range(len(PAUSABLE)):
            self.assertEqual(recorder.names.count("intercept"), number + 1)
            recorder.arguments("intercept")[0].resume()
            proxy.flush()
        self.assertEqual(recorder.names.count("resume"), len(PAUSABLE))
        self.assertEqual(client.received, OK)

    def test_twice_is_once(self) -> None:
        def twice(flow: HTTPFlow) -> None:
            flow.intercept()
            flow.intercept()

        proxy, client, recorder = self.started(Hooks(request=twice), Hooks(request=twice))
        proxy.origin().respond(OK)
        client.send(GET)
        [flow] = recorder.arguments("intercept")
        flow.resume()
        flow.resume()
        proxy.flush()
        self.assertEqual(recorder.names.count("resume"), 1)
        self.assertEqual(client.received, OK)

    def test_taken_back_in_the_same_event(self) -> None:
        proxy, client, recorder = self.started(
            Hooks(request=pause), Hooks(request=lambda flow: flow.resume())
        )
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertNotIn("intercept", recorder.names)
        self.assertNotIn("resume", recorder.names)

    def test_resumed_by_the_event_itself(self) -> None:
        proxy, client, recorder = self.hooked(request=pause, intercept=lambda flow: flow.resume())
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertEqual([recorder.names.count(name) for name in ("intercept", "resume")], [1, 1])

    def test_from_outside_of_any_event(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin()
        client.send(GET)
        [flow] = recorder.arguments("request")
        flow.intercept()
        origin.send(OK)
        self.assertEqual(recorder.names[-2:], ["responseheaders", "intercept"])
        self.assertEqual(client.received, b"")
        flow.resume()
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_events_are_waited_for(self) -> None:
        for event in ("intercept", "resume"):
            waiting = Waiting()
            proxy, client, recorder = self.hooked(request=pause, **{event: waiting})
            proxy.origin().respond(OK)
            client.send(GET)
            recorder.arguments("request")[0].resume()
            proxy.flush()
            self.assertEqual(client.received, b"")
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_edited_meanwhile(self) -> None:
        proxy, client, recorder = self.hooked(request=pause, response=pause)
        origin = proxy.origin().respond(OK)
        client.send(POST)
        flow = recorder.arguments("intercept")[0]
        flow.request.text = "edited"
        flow.resume()
        proxy.flush()
        flow.response.text = "edited too"
        flow.resume()
        proxy.flush()
        self.assertEqual(origin.requests[0].content, b"edited")
        self.assertEqual(self.response(client).content, b"edited too")

    def test_answered_meanwhile(self) -> None:
        proxy, client, recorder = self.hooked(request=pause)
        client.send(GET)
        [flow] = recorder.arguments("intercept")
        flow.response = Response.make(200, b"by hand")
        flow.resume()
        proxy.flush()
        self.assertEqual(self.response(client).content, b"by hand")
        self.assertEqual(proxy.network.attempts, [])

    def test_body_waits_unread(self) -> None:
        proxy, client, recorder = self.hooked(requestheaders=pause)
        proxy.origin().respond(OK)
        client.send(POST[:-5] + b"")
        client.send(b"hello")
        self.assertEqual(recorder.names[-1], "intercept")
        recorder.arguments("intercept")[0].resume()
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_no_deadline_runs(self) -> None:
        """Whoever looks at a flow may take their time."""
        for event in PAUSABLE:
            proxy, client, recorder = self.hooked(**{event: pause})
            proxy.origin().respond(OK)
            client.send(POST)
            for _ in range(50):
                proxy.advance(60)
            self.assertFalse(client.closed, event)
            recorder.arguments("intercept")[0].resume()
            proxy.flush()
            self.assertEqual(client.received, OK, event)

    def test_others_go_on(self) -> None:
        def request(flow: HTTPFlow) -> None:
            if flow.request.path == "/paused":
                flow.intercept()

        proxy, client, _ = self.hooked(request=request)
        proxy.origin().respond(OK)
        client.send(GET.replace(b"test/ ", b"test/paused "))
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)
        self.assertEqual(client.received, b"")


class EndOfPauseTests(EventTestCase):
    """Pauses that end otherwise."""

    def paused(self, event: str = "request", **hooks: Any) -> tuple[Any, Any, Any, Any]:
        proxy, client, recorder = self.hooked(**{event: pause}, **hooks)
        proxy.origin().respond(OK)
        client.send(GET)
        return proxy, client, recorder, recorder.arguments("intercept")[0]

    def test_killed(self) -> None:
        for event, end in zip(PAUSABLE, ("error", "error", "error", "response"), strict=True):
            proxy, client, recorder, flow = self.paused(event)
            flow.kill()
            proxy.flush()
            self.assertEqual((client.received, client.closed), (b"", True))
            self.assertEqual(self.ends(recorder), [end])
            self.assertNotIn("resume", recorder.names)
            self.assertEqual(flow.error.code, "killed")

    def test_killed_by_the_event_itself(self) -> None:
        proxy, client, recorder, _ = self.paused(intercept=lambda flow: flow.kill())
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "killed")
        self.assertEqual(proxy.network.attempts, [])

    def test_client_leaves(self) -> None:
        for event, end in zip(PAUSABLE, ("error", "error", "error", "response"), strict=True):
            proxy, client, recorder, flow = self.paused(event)
            client.abort()
            self.assertEqual(self.ends(recorder), [end])
            flow.resume()
            proxy.flush()
            self.assertNotIn("resume", recorder.names)

    def test_whole_exchange_is_too_slow(self) -> None:
        proxy, client, recorder = self.started(Hooks(request=pause), total_timeout=30)
        client.send(GET)
        proxy.advance(30)
        self.assertEqual(self.response(client).status_code, 504)
        self.assertEqual(self.code(recorder), "total-timeout")

    def test_failing_closed(self) -> None:
        for event in ("intercept", "resume"):
            proxy, client, recorder = self.started(
                Hooks(request=pause), Guard(**{event: lambda flow: 1 / 0})
            )
            client.send(GET)
            recorder.arguments("request")[0].resume()
            proxy.flush()
            self.assertEqual(self.code(recorder), "hook-failed")
            self.assertEqual(proxy.network.attempts, [])


class StreamedTests(EventTestCase):
    """Flows whose bodies stream."""

    def test_request_of_a_streamed_body(self) -> None:
        """It has left already: what is paused is the response."""
        proxy, client, recorder = self.hooked(requestheaders=set_stream("request"), request=pause)
        proxy.origin().respond(OK)
        client.send(POST)
        self.assertEqual(client.received, b"")
        [flow] = recorder.arguments("intercept")
        flow.resume()
        proxy.flush()
        self.assertEqual(client.received, OK)
        self.assertEqual(recorder.names.count("resume"), 1)

    def test_tunnel(self) -> None:
        proxy, client, recorder = self.hooked(http_connect=pause)
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertEqual(recorder.names[-1], "intercept")
        recorder.arguments("intercept")[0].resume()
        proxy.flush()
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "))

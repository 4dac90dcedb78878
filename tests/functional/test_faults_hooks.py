"""A script that raises in each event of the contract, in every way: flows go on, or are killed."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from itertools import cycle
from typing import Any

from twisted.internet.threads import deferToThread

from interceptor import dns
from interceptor.hooks.events import EVENTS
from tests.functional.datagrams import Peer
from tests.functional.faults import (
    HELLO,
    FaultCase,
    Outcome,
    ask_h2,
    ask_plain,
    ask_tls,
    read_all,
    read_head,
    tunnel,
    way_to,
    websocket_request,
)
from tests.functional.harness import reactor
from tests.functional.origins import free_port

ERRORS = (
    *("ValueError", "RecursionError", "MemoryError", "SystemExit", "KeyboardInterrupt"),
    *("CancelledError", "GeneratorExit", "StopIteration", "BaseException"),
)
WAYS = ("sync", "async", "later", "deferred")

SCRIPT = """\
import builtins
import json

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater

from interceptor import ctx

EVENTS = {events!r}


def make(name):
    kind = CancelledError if name == "CancelledError" else getattr(builtins, name)
    return kind("on purpose")


async def at_once(error):
    raise error


async def later(error):
    await deferLater(reactor, 0)
    raise error


def deferred(error):
    result = deferLater(reactor, 0)
    result.addCallback(lambda _: fail(error))
    return result


def sync(error):
    raise error


DO = dict(zip({ways!r}, (sync, at_once, later, deferred)))


def hook_for(event):
    def hook(*arguments):
        with open("wanted") as file:
            wanted, error, way = file.read().split(" ")
        if wanted == event:
            return DO[way](make(error))
        if event in ("request", "tcp_start", "udp_start", "dns_request", "protocol_start"):
            return held(arguments[0])

    return hook


async def held(flow):
    request = getattr(flow, "request", None)
    path = getattr(request, "path", "")
    if path == "/held":
        flow.request.path = "/ok"
        reactor.callLater(0.01, flow.resume)
        flow.intercept()
    elif path == "/publish":
        flow.request.path = "/ok"
        ctx.log.info("published")
        await ctx.shared.publish("channel", 1)


# Given as many arguments as each event has.
for event, count in EVENTS.items():
    made = hook_for(event)
    globals()[event] = [
        lambda made=made: made(),
        lambda one, made=made: made(one),
        lambda one, two, made=made: made(one, two),
    ][count]
"""


class HookFaultsCase(FaultCase):
    """Traffic of all kinds, and what each kind is answered where all is well."""

    async def start_all(self, policy: str) -> None:
        self.origin = await self.start_origin()
        self.closed = free_port()
        resolver = Peer(lambda data: self.answer(data))
        echo = Peer(lambda data: data)
        for peer in (resolver, echo):
            reactor().listenUDP(0, peer, interface="127.0.0.1")
            self.addCleanup(peer.stop)
        untouched = ("start", "load", "configure", "running", "done")
        events = {
            name: len(event.arguments) for name, event in EVENTS.items() if name not in untouched
        }
        self.events = list(events)
        raw, redis = f"reverse:tcp://127.0.0.1:{self.origin.raw}", "reverse:redis://127.0.0.1"
        self.proxy = await self.start_faulty(
            *("regular", raw, f"reverse:tcp://127.0.0.1:{self.closed}"),
            *(f"reverse:udp://127.0.0.1:{echo.port}", f"reverse:udp://127.0.0.1:{self.closed}"),
            *(f"dns:127.0.0.1:{resolver.port}",),
            *(f"{redis}:{self.origin.raw}", f"{redis}:{self.closed}"),
            script=SCRIPT.format(events=events, ways=WAYS),
            script_error_policy=policy,
            dns_query_timeout="300ms",
            udp_idle_timeout="300ms",
            tracebacks=True,
        )
        names = ("http", "tcp", "no_tcp", "udp", "no_udp", "dns", "redis", "no_redis")
        # A mode for UDP and TCP has two lines.
        ports = list(dict.fromkeys(each.port for each in self.proxy.listeners))
        self.ports = dict(zip(names, ports, strict=True))

    def answer(self, data: bytes) -> bytes | None:
        request = dns.Request.from_wire(data)
        if request.name.startswith("silent"):
            return None
        return dns.Response.make(request, "192.0.2.1").to_wire()

    # Each returns something true where everybody was served.

    def plain(self, path: str = "ok") -> Outcome:
        return ask_plain(self.ports["http"], self.origin.plain, path)

    def every_version(self) -> Any:
        http = self.ports["http"]
        return all(
            outcome == Outcome(200, b"ok", True)
            for outcome in (
                self.plain(),
                ask_tls(http, self.origin.tls, "ok"),
                ask_h2(http, self.origin.tls, "ok"),
            )
        )

    def held(self) -> Any:
        return self.plain("held").complete

    def publish(self) -> Any:
        return self.plain("publish").complete

    def refused(self) -> Any:
        outcome = ask_plain(self.ports["http"], self.closed, "ok")
        return outcome.status == 502 and b"connect-refused" in outcome.body

    def event_stream(self) -> Any:
        return b"data: ok\n\n" in self.plain("events").body

    def distrusting(self) -> Any:
        with way_to(self.ports["http"]) as client:
            assert tunnel(client, f"localhost:{self.origin.tls}")
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
        return True

    def websocket(self) -> Any:
        with way_to(self.ports["http"]) as client:
            client.sendall(websocket_request(self.origin.plain))
            head, _ = read_head(client)
            if not head.startswith(b"HTTP/1.1 101"):
                return False
            # A ping, and then a text; whoever answers anything says "ok" in a text of its own.
            client.sendall(b"\x89\x82\0\0\0\0hi" + HELLO)
            answer = client.recv(4, socket.MSG_WAITALL)
            client.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
            client.shutdown(socket.SHUT_WR)
            read_all(client)
            return answer == b"\x81\x02ok"

    def echoed(self, kind: str, data: bytes) -> Any:
        with way_to(self.ports[kind]) as client:
            client.sendall(data)
            return client.recv(len(data), socket.MSG_WAITALL) == data

    def closed_early(self, kind: str, data: bytes) -> bool:
        with way_to(self.ports[kind]) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
            return read_all(client)[0] != data

    def tcp(self) -> Any:
        return self.echoed("tcp", b"\0word")

    def no_tcp(self) -> Any:
        return self.closed_early("no_tcp", b"\0word")

    def redis(self) -> Any:
        return self.echoed("redis", b"*1\r\n$4\r\nPING\r\n")

    def no_redis(self) -> Any:
        return self.closed_early("no_redis", b"*1\r\n$4\r\nPING\r\n")

    def datagram(self, kind: str, data: bytes, seconds: float) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(seconds)
            client.connect(("127.0.0.1", self.ports[kind]))
            with contextlib.suppress(OSError):
                client.send(data)
                return client.recv(4096)
        return b""

    def udp(self) -> Any:
        return self.datagram("udp", b"word", 10 if self.expects else 0.3) == b"word"

    def no_udp(self) -> Any:
        return self.datagram("no_udp", b"word", 0.1) == b""

    def name(self) -> Any:
        query = dns.Request.make("any.test", "A").to_wire()
        answer = self.datagram("dns", query, 10 if self.expects else 0.3)
        return answer and str(dns.Response.from_wire(answer).answers[0].data) == "192.0.2.1"

    def no_name(self) -> Any:
        query = dns.Request.make("silent.test", "A").to_wire()
        # SERVFAIL, in the end.
        answer = self.datagram("dns", query, 10 if self.expects else 1)
        return answer and answer[3] & 15 == 2

    expects = True

    def drivers(self) -> dict[str, list[Callable[[], Any]]]:
        """What makes each event happen."""
        udp: dict[str, Callable[[], Any]] = {"udp_error": self.no_udp}
        found: dict[str, list[Callable[[], Any]]] = {}
        special: dict[str, Callable[[], Any]] = {
            "intercept": self.held,
            "resume": self.held,
            "shared_message": self.publish,
            "log": self.publish,
            "tick": self.plain,
            "sse_event": self.event_stream,
            "error": self.refused,
            "serverconnect_failed": self.refused,
            "tls_failed": self.distrusting,
            "tcp_error": self.no_tcp,
            **udp,
            "dns_error": self.no_name,
            "protocol_error": self.no_redis,
        }
        families = {
            "websocket": self.websocket,
            "tcp_": self.tcp,
            "udp_": self.udp,
            "dns_": self.name,
            "protocol_": self.redis,
        }
        for event in self.events:
            family = next((driver for word, driver in families.items() if word in event), None)
            found[event] = [special.get(event) or family or self.every_version]
        for event in ("clientconnect", "clientdisconnect", "next_layer", "serverconnect"):
            found[event] += [self.tcp, self.websocket]
        return found

    def want(self, event: str = "", error: str = "", way: str = "") -> None:
        """Have the script raise something in an event from now on."""
        self.write("new", f"{event} {error} {way}").rename(self.directory / "wanted")


class HookFaultsTests(HookFaultsCase):
    """Every event, each with several kinds of exceptions."""

    async def test_going_on(self):
        await self.raising("continue")

    async def test_fail_closed(self):
        await self.raising("kill")

    async def raising(self, policy: str) -> None:
        self.want()
        await self.start_all(policy)
        proxy, drivers = self.proxy, self.drivers()
        for each in {driver for several in drivers.values() for driver in several}:
            self.assertTrue(await deferToThread(each), each.__name__)
        await self.until(self.all_ended)
        before = await self.holding(proxy)
        errors, ways = cycle(ERRORS), cycle(WAYS[1:])
        self.expects = policy == "continue"
        for event in self.events:
            for way in (WAYS[0], next(ways)):
                await self.raise_in(event, next(errors), way, drivers[event])
        self.want()
        self.expects = True
        for each in {driver for several in drivers.values() for driver in several}:
            self.assertTrue(await deferToThread(each), each.__name__)
        await self.let_go(proxy, before)
        for line in proxy.log.splitlines():
            self.assertNotIn("internal-error", line)
            self.assertNotIn("Unhandled", line)
            self.assertNotIn("unexpected error", line)
        # What went wrong in the end, and what the script raised, is all.
        expected = {"clientdisconnect", "response", "websocket_end", "tcp_end", "udp_end"}
        expected |= {"protocol_end", "dns_response", "dns-query-timeout", "connect-refused"}
        if policy == "kill":
            expected.add("hook-failed")
        self.assertEqual(set(self.accounts.codes()), expected)

    async def all_ended(self) -> bool:
        return not self.accounts.open()

    async def raise_in(
        self, event: str, error: str, way: str, drivers: list[Callable[[], Any]]
    ) -> None:
        what = f"{event} {error} {way}"
        log = self.proxy.process.err
        self.want(event, error, way)
        for driver in drivers:
            served = await deferToThread(self.trying, driver)
            if self.expects:
                self.assertTrue(served, (what, driver.__name__))
        # Messages of a protocol have names of their own.
        told = b"`redis_" if event.startswith("protocol_") else f"`{event}` failed".encode()
        await self.proxy.process.until(lambda process: told in process.err[len(log) :])
        self.want()
        await self.until(self.all_ended, what)

    def trying(self, driver: Callable[[], Any]) -> Any:
        try:
            return driver()
        except (OSError, AssertionError, IndexError):
            if self.expects:
                raise
            return False

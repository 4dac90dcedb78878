"""SIGTERM and SIGHUP under load: what has begun is finished, and nothing is dropped."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.internet.threads import deferToThread

from interceptor.net.sides import LAST_CALL
from tests.functional.faultorigin import PIECES
from tests.functional.faults import (
    HELLO,
    LONG,
    FaultCase,
    FaultOrigin,
    Outcome,
    ask_h2,
    ask_plain,
    ask_tls,
    http2_client,
    read_all,
    read_head,
    read_response,
    request,
    tunnel,
    way_to,
    websocket_request,
)
from tests.functional.harness import ProxyProcess, RunningProcess

GRACE = "40s"
LOADERS = 6
VERSIONS = """\
from interceptor import ctx

VERSION = {version}


def responseheaders(flow):
    flow.response.headers["x-version"] = f"{{VERSION}} {{ctx.worker}}"
"""


class Loader:
    """Sends one request after another over connections that are kept, as long as that goes."""

    def __init__(self, proxy: int, origin: int) -> None:
        self._proxy = proxy
        self._request = request("ok", f"127.0.0.1:{origin}")
        self.served = 0
        self.versions: set[bytes] = set()
        self.stopped = False
        self.dropped = ""
        self.told = False

    def run(self) -> None:
        """Go on until `stopped`, or until the proxy says that it closes; call this in a thread."""
        with way_to(self._proxy) as client:
            before = time.monotonic()
            while not (self.stopped or self.told or self.dropped):
                try:
                    client.sendall(self._request)
                    late = time.monotonic() - before > LAST_CALL / 2
                    head, body = read_head(client)
                except ConnectionError as error:
                    head, body, late = (
                        str(error).encode(),
                        b"",
                        time.monotonic() - before > LAST_CALL,
                    )
                if not head.startswith(b"HTTP/1.1 200") or not body.endswith(b"ok"):
                    # Whoever is slow to ask again finds the connection closed.
                    self.dropped = "" if late else f"after {self.served}: {head!r}"
                    self.told = True
                    return
                before = time.monotonic()
                self.served += 1
                self.told = b"connection: close" in head.lower()
                self.versions.add(head.lower().partition(b"x-version: ")[2].partition(b"\r")[0])


class DrainTests(FaultCase):
    """SIGTERM while all kinds of things are under way."""

    async def test_one_process(self):
        await self.drained()

    async def test_two_workers(self):
        await self.drained("--workers", "2")

    async def drained(self, *arguments: str) -> None:
        origin = await self.start_origin()
        proxy = await self.start_faulty(
            "regular",
            f"reverse:tcp://127.0.0.1:{origin.raw}",
            arguments=arguments,
            shutdown_grace=GRACE,
        )
        port = proxy.port
        signalled: list[bool] = []

        def wait_for_signal(look: Callable[[], Any]) -> None:
            while not signalled:
                look()
                time.sleep(0.02)

        def raw(to: int, connect: bool) -> bytes:
            """What has no end of its own goes on after the signal."""
            with way_to(to) as client:
                if connect:
                    assert tunnel(client, f"127.0.0.1:{origin.raw}")

                def say() -> None:
                    client.sendall(b"\0word")
                    assert client.recv(5, socket.MSG_WAITALL) == b"\0word"

                say()
                wait_for_signal(say)
                for _ in range(20):
                    say()
                client.shutdown(socket.SHUT_WR)
                return read_all(client)[0]

        def upload() -> Outcome:
            with way_to(port) as client:
                length = "Content-Length: 100003"
                client.sendall(request("upload", f"127.0.0.1:{origin.plain}", length))
                for _ in range(50):
                    client.sendall(b"y" * 1000)
                wait_for_signal(lambda: None)
                for _ in range(50):
                    client.sendall(b"y" * 1000)
                client.sendall(b"end")
                return read_response(client)

        def websocket() -> tuple[bytes, bytes]:
            with way_to(port) as client:
                client.sendall(websocket_request(origin.plain))
                head, rest = read_head(client)
                client.sendall(HELLO)
                while len(rest) < 4:
                    rest += client.recv(4 - len(rest))
                while len(rest) < 8:
                    rest += client.recv(100)
                # The answer to the close: the same code, masked with zeros.
                client.sendall(b"\x88\x82\0\0\0\0" + rest[6:8])
                return head, rest + read_all(client)[0]

        def half_a_head() -> Outcome:
            whole = request("ok", f"127.0.0.1:{origin.plain}")
            with way_to(port) as client:
                client.sendall(whole[:30])
                wait_for_signal(lambda: None)
                client.sendall(whole[30:])
                return read_response(client)

        def idle() -> tuple[bytes, bool]:
            with way_to(port) as client:
                client.sendall(request("ok", f"127.0.0.1:{origin.plain}"))
                read_head(client)
                return read_all(client)

        def streams() -> list[Any]:
            with http2_client(port, origin.tls) as client:
                for path in ("slow", "long", "slow"):
                    client.begin(path)
                client.run()
                return [*client.outcomes.values(), client.goaway]

        loaders = [Loader(port, origin.plain) for _ in range(LOADERS)]
        running = self.in_threads(
            (ask_plain, port, origin.plain, "slow"),
            (ask_plain, port, origin.plain, "long"),
            (ask_tls, port, origin.tls, "slow"),
            (ask_tls, port, origin.tls, "long"),
            (ask_h2, port, origin.tls, "slow"),
            (streams,),
            (upload,),
            (half_a_head,),
            (websocket,),
            (raw, port, True),
            (raw, proxy.listeners[1].port, False),
            (idle,),
            *((loader.run,) for loader in loaders),
        )
        await origin.told(*["slow"] * 5, *["long"] * 3, "upload", "socket", "raw", "raw")

        async def loaded() -> bool:
            return all(loader.served > 20 for loader in loaders)

        await self.until(loaded)
        proxy.process.signal(signal.SIGTERM)
        await self.until(lambda: deferToThread(refused, port))
        signalled.append(True)
        results = await running
        ok, long = Outcome(200, b"ok", True), Outcome(200, b"0123456789" * PIECES, True)
        self.assertEqual(results[:5], [ok, long, ok, long, ok])
        self.assertEqual(results[5], [ok, long, ok, True])
        self.assertEqual(results[6:8], [ok, ok])
        head, frames = results[8]
        self.assertTrue(head.startswith(b"HTTP/1.1 101"), head)
        self.assertTrue(frames.startswith(b"\x81\x02ok\x88"), frames)
        self.assertEqual(frames[6:8], (1001).to_bytes(2, "big"))
        self.assertEqual(results[9:11], [b"", b""])
        # All that was read of its answer was the head; it was closed cleanly.
        self.assertTrue(results[11][1])
        self.assertEqual([loader.dropped for loader in loaders], [""] * LOADERS)
        ended = await proxy.process.ended(LONG)
        self.assertEqual(ended.status, 0)
        self.assertEqual(self.accounts.open(), [])
        self.assertLessEqual(
            set(self.accounts.codes()), {"response", "tcp_end", "websocket_end", "clientdisconnect"}
        )

    async def test_what_is_not_through_is_ended(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty(shutdown_grace="1s")
        port = proxy.port

        def raw() -> tuple[bytes, bool]:
            with way_to(port) as client:
                assert tunnel(client, f"127.0.0.1:{origin.raw}")
                client.sendall(b"\0word")
                return read_all(client)

        running = self.in_threads(
            (ask_plain, port, origin.plain, "none"),
            (ask_plain, port, origin.plain, "length"),
            (ask_h2, port, origin.tls, "length"),
            (raw,),
        )
        await origin.told("none", "length", "length", "raw")
        proxy.process.signal(signal.SIGTERM)
        nothing, plain, stream, tunnelled = await running
        self.assertEqual(nothing, Outcome(None, b"", False))
        self.assertEqual((plain.status, plain.complete), (200, False))
        self.assertFalse(stream.complete)
        self.assertEqual(tunnelled, (b"\0word", False))
        await proxy.process.ended(LONG)
        self.assertEqual(self.accounts.open(), [])
        codes = self.accounts.codes()
        # ``tcp_error`` comes with ``tcp_end``, and is counted there.
        self.assertEqual(codes["shutting-down"], 4, codes)

    async def test_who_had_connected_already(self):
        """They wait in the queue of the listener when the signal comes."""
        origin = await self.start_origin()
        proxy = await self.start_faulty(shutdown_grace=GRACE)
        pid = self.pid(proxy)
        os.kill(pid, signal.SIGSTOP)
        with ExitStack() as stack:
            clients = [stack.enter_context(way_to(proxy.port)) for _ in range(20)]
            for client in clients:
                client.sendall(request("ok", f"127.0.0.1:{origin.plain}"))
            proxy.process.signal(signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
            outcomes = await self.in_threads(*((read_response, client) for client in clients))
        self.assertEqual(outcomes, [Outcome(200, b"ok", True)] * 20)


class ReloadTests(FaultCase):
    """SIGHUP while clients ask without a pause, and while bodies are on their way."""

    async def test_one_process(self):
        await self.reloaded()

    async def test_two_workers(self):
        await self.reloaded("--workers", "2")

    async def reloaded(self, *arguments: str) -> None:
        origin = await self.start_origin()
        config = self.write("config.toml", "body_size_limit = '1m'\n")
        proxy = await self.start_faulty(
            script=VERSIONS.format(version=1),
            arguments=[*arguments, "--config", str(config)],
            script_reload="false",
        )
        port = proxy.port
        loaders = [Loader(port, origin.plain) for _ in range(LOADERS)]
        loading = self.in_threads(*((loader.run,) for loader in loaders))

        def streams() -> list[Outcome]:
            with http2_client(port, origin.tls) as client:
                outcomes = []
                for _ in range(3):
                    for path in ("long", "ok", "slow"):
                        client.begin(path)
                    client.run()
                    outcomes += client.outcomes.values()
                return outcomes

        downloads = self.in_threads(
            (ask_plain, port, origin.plain, "long"), (ask_tls, port, origin.tls, "long"), (streams,)
        )
        await origin.told("long", "long", "long")
        for version in range(2, 6):
            self.write("script.py", VERSIONS.format(version=version))
            config.write_text(f"body_size_limit = '{version}m'\n")
            proxy.process.signal(signal.SIGHUP)
            await proxy.process.until(_loaded_again(version - 1), LONG)
        served = [loader.served for loader in loaders]

        async def served_more() -> bool:
            return all(now.served > then for now, then in zip(loaders, served, strict=True))

        await self.until(served_more)
        proxy.process.signalled = False
        plain, tls, outcomes = await downloads
        self.assertEqual((plain.complete, tls.complete), (True, True))
        self.assertEqual({(each.status, each.complete) for each in outcomes}, {(200, True)})
        for loader in loaders:
            loader.stopped = True
        await loading
        self.assertEqual([(loader.dropped, loader.told) for loader in loaders], [("", False)] * 6)
        seen = {version.split()[0] for loader in loaders for version in loader.versions}
        self.assertLessEqual({b"1", b"5"}, seen)
        # The last one is in all workers.
        now = set()

        async def everywhere() -> bool:
            now.add(await deferToThread(self.version, proxy, origin))
            return len(now) == 1 + (len(arguments) > 1)

        await self.until(everywhere, now)
        self.assertEqual({version.split()[0] for version in now}, {b"5"})

        async def at_rest() -> bool:
            return not self.accounts.open()

        await self.until(at_rest)
        self.assertLessEqual(set(self.accounts.codes()), {"response", "clientdisconnect"})

    def version(self, proxy: ProxyProcess, origin: FaultOrigin) -> bytes:
        with way_to(proxy.port) as client:
            client.sendall(request("ok", f"127.0.0.1:{origin.plain}"))
            head, _ = read_head(client)
            return head.lower().partition(b"x-version: ")[2].partition(b"\r")[0]


def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        with way_to(port):
            return False
    except ConnectionError:
        return True


def _loaded_again(times: int) -> Callable[[RunningProcess], bool]:
    return lambda process: process.err.count(b"the configuration was loaded again") >= times

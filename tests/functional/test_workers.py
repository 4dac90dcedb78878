"""Several workers: real processes that serve as one proxy."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from interceptor import dns
from tests.functional.harness import (
    START_TIMEOUT,
    STOP_TIMEOUT,
    FunctionalTestCase,
    ProxyProcess,
    reactor,
    require,
    sleep,
)

SCRIPT = """\
import json
import os

from twisted.internet import reactor
from twisted.internet.task import deferLater

from interceptor import ctx, dns, http

VERSION = 1
heard = []


def shared_message(message):
    heard.append([message.channel, message.value, message.worker])


def dns_request(flow):
    flow.response = dns.Response.make(flow.request, f"192.0.2.{ctx.worker}")


async def request(flow):
    words = flow.request.path.strip("/").split("/")
    answer = {"worker": ctx.worker, "process": os.getpid(), "version": VERSION}
    if words[0] == "count":
        answer["count"] = await ctx.shared.add("count")
    elif words[0] == "once":
        answer["first"] = await ctx.shared.set("once", os.getpid(), absent=True, expires=60)
    elif words[0] == "publish":
        answer["told"] = await ctx.shared.publish("news", words[1])
    elif words[0] == "heard":
        answer["heard"] = heard
    elif words[0] == "learned":
        answer["learned"] = sorted(ctx.master.passthrough.entries())
    elif words[0] == "authority":
        answer["authority"] = ctx.master.authority.fingerprint()
    elif words[0] == "slow":
        await deferLater(reactor, 1.0)
    elif words[0] == "end":
        ctx.master.shutdown()
    elif words[0] == "detail":
        answer["detail"] = ctx.options.body_size_limit
    elif words[0] != "":
        return
    flow.response = http.Response.make(200, json.dumps(answer))
"""


class Client(Protocol):
    """A client that sends one request after another on one connection."""

    def __init__(self, first: bytes = b"") -> None:
        self._first = first
        self._data = b""
        self._waiting: Deferred[dict[str, Any]] | None = None
        self.lost = False

    def ask(self, path: str) -> Deferred[dict[str, Any]]:
        """Fire with the JSON of the answer; fail when the connection ends before."""
        assert self._waiting is None and self.transport is not None
        waiting = self._waiting = Deferred()
        if self.lost:
            self._end(ConnectionError("the connection is gone"))
        else:
            text = f"GET http://any.test{path} HTTP/1.1\r\nHost: any.test\r\n\r\n"
            first, self._first = self._first, b""
            self.transport.write(first + text.encode())
        return waiting.addTimeout(START_TIMEOUT, reactor())

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        if not end or found is None or len(body) < int(found[1]):
            return
        self._data = b""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            waiting.errback(AssertionError(head))
        else:
            waiting.callback(json.loads(body))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        self._end(ConnectionError("the connection was lost"))

    def _end(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def close(self) -> None:
        """Close the connection."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


class WorkersCase(FunctionalTestCase):
    """Starts ``interceptor run --workers 2``."""

    timeout = 120

    async def start(self, *modes: str, script: str = SCRIPT, **settings: Any) -> ProxyProcess:
        self.script = self.write("script.py", script)
        arguments = ["--workers", "2", *settings.pop("arguments", ())]
        return await self.start_proxy(
            *modes, scripts=[self.script], arguments=arguments, **settings
        )

    async def connect(self, proxy: ProxyProcess, listener: int = 0, first: bytes = b"") -> Client:
        """Connect, to send ``first`` before the first request."""
        to = proxy.listeners[listener]
        endpoint: Any
        if to.port:
            endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", to.port)
        else:
            endpoint = UNIXClientEndpoint(reactor(), to.host.removeprefix("unix:"))
        client: Client = await connectProtocol(endpoint, Client(first))
        self.addCleanup(client.close)
        return client

    async def one_each(self, proxy: ProxyProcess, listener: int = 0) -> dict[int, Client]:
        """A connection to each worker; which one gets a connection is the system's choice."""
        found: dict[int, Client] = {}
        for _ in range(500):
            client = await self.connect(proxy, listener)
            number = (await client.ask("/"))["worker"]
            if number in found:
                client.close()
            found.setdefault(number, client)
            if len(found) == 2:
                break
        self.assertEqual(sorted(found), [1, 2])
        return found

    def pid(self, proxy: ProxyProcess) -> int:
        assert proxy.process.transport is not None and proxy.process.transport.pid is not None
        return proxy.process.transport.pid

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = reactor().seconds() + START_TIMEOUT
        while not await condition():
            self.assertLess(reactor().seconds(), deadline, "it has not come to pass")
            await sleep(0.05)


class WorkersTests(WorkersCase):
    """``interceptor run --workers 2``."""

    async def test_all_workers_serve_and_count_together(self):
        proxy = await self.start()
        clients = await self.one_each(proxy)
        processes = {(await client.ask("/"))["process"] for client in clients.values()}
        self.assertEqual(len(processes | {self.pid(proxy)}), 3)

        async def count(client: Client) -> list[int]:
            return [(await client.ask("/count"))["count"] for _ in range(100)]

        many = [*clients.values(), *[await self.connect(proxy) for _ in range(4)]]
        results = await DeferredList([Deferred.fromCoroutine(count(each)) for each in many])
        counts = [number for _, numbers in results for number in numbers]
        self.assertEqual(sorted(counts), list(range(1, 601)))
        # It was made once, by the parent, although there was none.
        authorities = [(await each.ask("/authority"))["authority"] for each in clients.values()]
        self.assertEqual(authorities[0], authorities[1])
        firsts = [(await client.ask("/once"))["first"] for client in clients.values()]
        self.assertEqual(firsts, [True, False])

    async def test_connections_are_shared_about_equally(self):
        proxy = await self.start()
        counts = {1: 0, 2: 0}
        for _ in range(200):
            client = await self.connect(proxy)
            counts[(await client.ask("/"))["worker"]] += 1
            client.close()
        # By chance alone, one in a million million runs is further off.
        self.assertGreater(min(counts.values()), 50, counts)

    async def test_messages_reach_every_worker_in_order(self):
        proxy = await self.start()
        clients = await self.one_each(proxy)
        told = [(await clients[1].ask(f"/publish/{n}"))["told"] for n in range(20)]
        self.assertEqual(told, [2] * 20)
        expected = [["news", str(n), 1] for n in range(20)]
        for client in clients.values():

            async def heard_all(client: Client = client) -> bool:
                return (await client.ask("/heard"))["heard"] == expected

            await self.until(heard_all)

    async def test_a_killed_worker_is_replaced_and_the_others_go_on(self):
        proxy = await self.start()
        clients = await self.one_each(proxy)
        old = (await clients[1].ask("/count"))["process"]
        serving = True

        async def load() -> int:
            done = 0
            while serving:
                await clients[2].ask("/")
                done += 1
            return done

        loading = Deferred.fromCoroutine(load())
        dying = clients[1].ask("/slow")
        os.kill(old, signal.SIGKILL)
        with self.assertRaises(ConnectionError):
            await dying
        await proxy.process.until(lambda p: b"worker 1 (process" in p.err and b"serves" in p.err)
        new = await self.one_each(proxy)
        serving = False
        self.assertGreater(await loading, 0)
        answer = await new[1].ask("/count")
        self.assertNotEqual(answer["process"], old)
        # What is shared has outlived it.
        self.assertEqual(answer["count"], 2)
        self.assertIn(
            f"error: worker 1 (process {old}) was killed by SIGKILL; "
            "another one takes its place at once",
            proxy.log,
        )

    async def test_a_dead_worker_takes_no_connections(self):
        # It cannot start while there is that file, and dies again and again.
        proxy = await self.start(
            script=SCRIPT
            + "\n\ndef running():\n"
            + "    if ctx.worker == 1 and os.path.exists('broken'):\n        os._exit(3)\n"
        )
        clients = await self.one_each(proxy)
        self.write("broken", "")
        os.kill((await clients[1].ask("/"))["process"], signal.SIGKILL)
        await proxy.process.until(lambda p: b"takes its place in 1 s" in p.err)
        self.assertRegex(proxy.log, r"worker 1 \(process \d+\) ended with status 3; another")
        for _ in range(20):
            client = await self.connect(proxy)
            self.assertEqual((await client.ask("/"))["worker"], 2)
            client.close()
        (self.directory / "broken").unlink()
        await proxy.process.until(lambda p: b"serves" in p.err)
        await self.one_each(proxy)

    async def test_reload_drops_no_connection_in_any_worker(self):
        config = self.write("config.toml", "body_size_limit = '1m'\n")
        # Only the signal is to load the script again.
        proxy = await self.start(
            arguments=["--config", str(config), "--set", "script_reload=false"]
        )
        clients = await self.one_each(proxy)
        serving = True

        async def keep_asking(client: Client) -> None:
            while serving:
                await client.ask("/")

        async def keep_connecting() -> None:
            while serving:
                client = await self.connect(proxy)
                await client.ask("/")
                client.close()

        loads = [Deferred.fromCoroutine(keep_asking(each)) for each in clients.values()]
        loads.append(Deferred.fromCoroutine(keep_connecting()))
        before = {n: (await (await self.connect(proxy)).ask("/"))["version"] for n in clients}
        self.write("script.py", SCRIPT.replace("VERSION = 1", "VERSION = 2"))
        config.write_text("body_size_limit = '2m'\n")
        proxy.process.signal(signal.SIGHUP)
        await proxy.process.until(lambda p: b"the configuration was loaded again" in p.err)
        serving = False
        for load in loads:
            await load
        for client in clients.values():
            answer = await client.ask("/detail")
            self.assertEqual((answer["version"], answer["detail"]), (2, 2 << 20))
        self.assertEqual(set(before.values()), {1})
        # What is wrong changes nothing.
        config.write_text("body_size_limit = 'much'\n")
        proxy.process.signal(signal.SIGHUP)
        await proxy.process.until(lambda p: b"the configuration was not loaded again" in p.err)
        self.assertEqual((await clients[1].ask("/detail"))["detail"], 2 << 20)
        proxy.process.signalled = False

    async def test_shutdown_drains_every_worker(self):
        proxy = await self.start()
        clients = await self.one_each(proxy)
        processes = [(await client.ask("/"))["process"] for client in clients.values()]
        answers = [client.ask("/slow") for client in clients.values()]
        # The requests are there before the signal is: each worker answers another after it.
        for number in clients:
            await self.asked_another(proxy, number)
        proxy.process.signal(signal.SIGTERM)
        for number, answer in zip(clients, answers, strict=True):
            self.assertEqual((await answer)["worker"], number)
        ended = await proxy.process.ended(STOP_TIMEOUT)
        self.assertEqual(ended.status, 0)
        for process in processes:
            self.assertRaises(ProcessLookupError, os.kill, process, 0)
        with self.assertRaises(ConnectError):
            await self.connect(proxy)

    async def asked_another(self, proxy: ProxyProcess, number: int) -> None:
        while True:
            client = await self.connect(proxy)
            if (await client.ask("/"))["worker"] == number:
                return

    async def test_workers_end_when_their_parent_was_killed(self):
        process = self.start_process(
            *(sys.executable, "-m", "interceptor", "run", "--workers", "2", "-m", "regular@0"),
            *("-s", str(self.write("script.py", SCRIPT))),
        )
        line = re.compile(rb"listening: .*:(\d+)\n")
        await process.until(lambda p: line.search(p.out) is not None)
        found = line.search(process.out)
        assert found is not None
        endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", int(found[1]))
        client: Client = await connectProtocol(endpoint, Client())
        worker = (await client.ask("/"))["process"]
        process.signal(signal.SIGKILL)
        await process.ended(STOP_TIMEOUT)

        async def gone() -> bool:
            try:
                os.kill(worker, 0)
            except ProcessLookupError:
                return True
            return client.lost and Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"

        await self.until(gone)

    async def test_a_script_ends_the_whole_program(self):
        proxy = await self.start()
        client = await self.connect(proxy)
        await client.ask("/end")
        ended = await proxy.process.ended(STOP_TIMEOUT)
        proxy.process.signalled = True
        self.assertEqual(ended.status, 0)

    async def test_what_clients_teach_is_known_to_all(self):
        proxy = await self.start(
            arguments=["--set", "tls_passthrough_learn=true", "--set", "connection_strategy=lazy"]
        )
        clients = await self.one_each(proxy)
        # It does not trust the proxy's authority, and says so.
        ended = await self.run_program(
            *(require("curl"), "-s", "-x", proxy.url, "https://pinned.test:4433/")
        )
        self.assertNotEqual(ended.status, 0)
        for client in clients.values():

            async def known(client: Client = client) -> bool:
                return (await client.ask("/learned"))["learned"] == ["pinned.test:4433"]

            await self.until(known)
        os.kill((await clients[2].ask("/"))["process"], signal.SIGKILL)
        await proxy.process.until(lambda p: b"worker 2 (process" in p.err and b"serves" in p.err)
        new = await self.one_each(proxy)
        self.assertEqual((await new[2].ask("/learned"))["learned"], ["pinned.test:4433"])

    async def test_a_unix_socket_is_everybody_s(self):
        # The name of a socket may have no more than 107 bytes.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/s"
        proxy = await self.start(f"regular@unix:{path}:mode=600")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        clients: dict[int, Client] = {}
        while len(clients) < 2:
            # Whoever is first takes all that wait: several at once are for both.
            some = [await self.connect(proxy) for _ in range(10)]
            for client in some:
                clients[(await client.ask("/"))["worker"]] = client
        os.kill((await clients[1].ask("/"))["process"], signal.SIGTERM)
        await proxy.process.until(lambda p: b"worker 1 (process" in p.err and b"serves" in p.err)
        self.assertIn("ended with status 0", proxy.log)
        client = await self.connect(proxy)
        await client.ask("/")
        proxy.process.signal(signal.SIGTERM)
        await proxy.process.ended(STOP_TIMEOUT)
        self.assertFalse(os.path.exists(path))

    async def test_datagrams_and_streams_of_one_port(self):
        proxy = await self.start("dns")
        port = proxy.port
        query = dns.Request.make("any.test", "A").to_wire()
        answers: set[str] = set()
        for _ in range(100):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", port))
                seen = set()
                for _ in range(3):
                    client.send(query)
                    reply = dns.Response.from_wire(client.recv(4096))
                    seen.add(str(reply.answers[0].data))
                # All that one client sends goes to one worker.
                self.assertEqual(len(seen), 1)
                answers |= seen
            if len(answers) == 2:
                break
        self.assertEqual(answers, {"192.0.2.1", "192.0.2.2"})
        dig = await self.check_program(
            *(require("dig"), "+tcp", "+short", "@127.0.0.1", "-p", str(port), "any.test")
        )
        self.assertIn(dig.out.strip(), (b"192.0.2.1", b"192.0.2.2"))

    async def test_the_log_names_the_worker(self):
        proxy = await self.start(script=SCRIPT + "\n\nctx.log.warn('loaded here')\n")
        for number in (1, 2):
            self.assertIn(f"warn: worker {number}: loaded here", proxy.log)


class RefusalTests(FunctionalTestCase):
    """What keeps several workers from starting."""

    async def refused(self, *arguments: str | Path) -> str:
        confdir = f"confdir={self.directory / 'conf'}"
        ended = await self.run_program(
            *(sys.executable, "-m", "interceptor", "run", "--workers", "2", "--set", confdir),
            *arguments,
        )
        self.assertEqual((ended.status, ended.out), (1, b""))
        self.assertNotIn(b"Traceback", ended.err)
        return ended.err.decode()

    async def test_an_address_that_somebody_has_who_would_share_it(self):
        for kind, mode in ((socket.SOCK_STREAM, "regular"), (socket.SOCK_DGRAM, "dns")):
            with socket.socket(socket.AF_INET, kind) as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                stranger.bind(("127.0.0.1", 0))
                if kind == socket.SOCK_STREAM:
                    stranger.listen()
                port = stranger.getsockname()[1]
                message = await self.refused("-m", f"{mode}@127.0.0.1:{port}")
            self.assertIn(f"cannot listen on 127.0.0.1:{port}", message)
            self.assertIn("address already in use", message)

    async def test_a_script_that_cannot_be_loaded(self):
        message = await self.refused("-m", "regular@0", "-s", "missing.py")
        self.assertRegex(
            message, r"^interceptor: script \S+/missing\.py: No such file or directory\n$"
        )

    async def test_a_worker_that_dies_while_it_starts(self):
        script = self.write("dies.py", "import os\n\n\ndef running():\n    os._exit(3)\n")
        message = await self.refused("-m", "regular@0", "-s", script)
        self.assertRegex(
            message, r"^interceptor: worker [12] ended with status 3 while it started\n$"
        )

    async def test_a_command(self):
        message = await self.refused("--", "true")
        self.assertEqual(
            message,
            "interceptor: a command has a proxy of one process: `workers` cannot be more\n",
        )

    async def test_an_endpoint_of_another_kind(self):
        message = await self.refused("-m", "regular@haproxy:tcp:0")
        self.assertIn("several workers cannot share an endpoint of kind `haproxy`", message)


class TwistdTests(FunctionalTestCase):
    """``twistd interceptor --workers 2``."""

    async def test_a_daemon_with_workers(self):
        script = self.write("script.py", SCRIPT + "\n\nctx.log.warn('loaded here')\n")
        twistd = Path(sys.executable).with_name("twistd")
        log = self.directory / "log"
        files = (f"--pidfile={self.directory / 'pid'}", f"--logfile={log}")
        confdir = f"confdir={self.directory / 'conf'}"
        arguments = ("--workers", "2", "-m", "regular@127.0.0.1:0", "-s", str(script))
        await self.check_program(
            str(twistd), *files, "interceptor", "--set", confdir, *arguments, timeout=90
        )
        daemon = int((self.directory / "pid").read_text())

        async def written(text: str) -> None:
            deadline = reactor().seconds() + START_TIMEOUT
            while text not in log.read_text():
                self.assertLess(reactor().seconds(), deadline, log.read_text())
                await sleep(0.05)

        try:
            await written("listening: regular on 127.0.0.1:")
            for number in (1, 2):
                await written(f"warn: worker {number}: loaded here")
            os.kill(daemon, signal.SIGHUP)
            await written("the configuration was loaded again")
            os.kill(daemon, signal.SIGTERM)
            await written("Server Shut Down.")
        except BaseException:
            os.kill(daemon, signal.SIGKILL)
            raise

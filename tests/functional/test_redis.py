"""Redis: sessions of ``redis-cli`` with a real server, shown and edited by a script."""

from __future__ import annotations

from tests.functional.harness import Completed, ProxyProcess, require
from tests.functional.origins import free_port
from tests.functional.pki import NAMES, PKITestCase, key_pem
from tests.net.certificates import issue

HOOKS = """\
from interceptor import redis


def redis_command(flow):
    command = flow.message
    print("command", command, flush=True)
    if command.name == "SET":
        command.arguments[2] = command.arguments[2].upper()
    elif command.name == "FLUSHALL":
        command.answer(redis.ErrorReply(b"NOPERM not through here"))


def redis_reply(flow):
    reply = flow.message
    print("reply", reply, "to", reply.command, flush=True)
    if reply.command is not None and reply.command.name == "INCR":
        reply.value += 1000
    if reply.value == b"hidden":
        reply.value = None


def redis_end(flow):
    print("end", flow.messages_from_client, flow.messages_from_server, flush=True)
"""


class RedisTestCase(PKITestCase):
    """Runs a server of Redis, with TLS as well, and clients through the proxy."""

    async def start_server(self) -> None:
        program = require("redis-server")
        self.client_program = require("redis-cli")
        self.port, self.tls_port = free_port(), free_port()
        certified = issue(*NAMES, issuer=self.root)
        certificate = str(self.write("redis.pem", key_pem(certified) + certified.pem()))
        self.start_process(
            program,
            *("--port", str(self.port), "--tls-port", str(self.tls_port), "--bind", "127.0.0.1"),
            *("--tls-cert-file", certificate, "--tls-key-file", certificate),
            *("--tls-ca-cert-file", str(self.roots), "--tls-auth-clients", "no"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
        )
        await self.wait_for_port(self.port)
        await self.wait_for_port(self.tls_port)

    async def start(self, *modes: str, options: tuple[str, ...] = ()) -> ProxyProcess:
        script = self.write("hooks.py", HOOKS)
        return await self.start_tls_proxy(*modes, scripts=[script], options=options)

    async def cli(self, port: int, *arguments: str, stdin: bytes = b"") -> Completed:
        return await self.check_program(
            self.client_program, "-p", str(port), *arguments, stdin=stdin
        )

    def tls(self) -> tuple[str, ...]:
        """Arguments with which a client trusts the proxy."""
        return ("--tls", "--sni", "localhost", "--cacert", str(self.ca_file))


class SessionTests(RedisTestCase):
    """``reverse:redis://`` and ``reverse:rediss://``."""

    async def test_shown_and_edited(self):
        await self.start_server()
        proxy = await self.start(f"reverse:redis://127.0.0.1:{self.port}")
        commands = b"SET word hello\nGET word\nINCR n\nFLUSHALL\nSET secret hidden\nGET word\n"
        completed = await self.cli(proxy.port, stdin=commands)
        self.assertEqual(
            completed.out.split(b"\n")[:4], [b"OK", b"HELLO", b"1001", b"NOPERM not through here"]
        )
        await proxy.process.until(lambda p: b"\nend " in p.out)
        self.assertIn(b"command SET word hello\nreply OK to SET word HELLO\n", proxy.process.out)
        completed = await self.cli(self.port, "GET", "secret")
        self.assertEqual(completed.out, b"HIDDEN\n")

    async def test_decrypted(self):
        await self.start_server()
        proxy = await self.start(f"reverse:rediss://localhost:{self.tls_port}")
        completed = await self.cli(proxy.port, *self.tls(), stdin=b"SET word hello\nGET word\n")
        self.assertEqual(completed.out, b"OK\nHELLO\n")
        self.assertIn(b"command GET word\nreply HELLO to GET word\n", proxy.process.out)

    async def test_version_3(self):
        await self.start_server()
        proxy = await self.start(f"reverse:redis://127.0.0.1:{self.port}")
        commands = (
            b"HSET h a 1\nHGETALL h\nSADD s x\nSMEMBERS s\nGET no\nZADD z 1.5 m\nZSCORE z m\n"
        )
        direct = await self.cli(self.port, "-3", stdin=commands)
        through = await self.cli(proxy.port, "-3", stdin=b"FLUSHDB\n" + commands)
        self.assertEqual(through.out, b"OK\n" + direct.out)

    async def test_large_values_and_pipelines(self):
        await self.start_server()
        proxy = await self.start(f"reverse:redis://127.0.0.1:{self.port}")
        value = b"v" * 3_000_000
        command = b"*3\r\n$5\r\nLPUSH\r\n$1\r\nl\r\n$%d\r\n%b\r\n" % (len(value), value)
        many = b"".join(b"*2\r\n$4\r\nINCR\r\n$1\r\nc\r\n" for _ in range(2000))
        completed = await self.cli(proxy.port, "--pipe", stdin=command + many)
        self.assertIn(b"errors: 0, replies: 2001", completed.out)

    async def test_a_server_that_is_not_there(self):
        await self.start_server()
        proxy = await self.start(f"reverse:redis://127.0.0.1:{free_port()}")
        completed = await self.cli(proxy.port, "GET", "word")
        self.assertIn(b"ERR proxy: connect-refused: ", completed.out)


class OtherModesTests(RedisTestCase):
    """Redis in tunnels: the option ``redis_hosts``."""

    async def test_next_to_others(self):
        await self.start_server()
        inner = await self.start("regular", options=(f"redis_hosts=:{self.port}$",))
        outer = await self.start_proxy(
            f"reverse:tcp://127.0.0.1:{self.port}",
            arguments=["--set", f"upstream_proxy=http://127.0.0.1:{inner.port}"],
        )
        completed = await self.cli(outer.port, stdin=b"SET word hello\nGET word\n")
        self.assertEqual(completed.out, b"OK\nHELLO\n")
        self.assertIn(b"command GET word\n", inner.process.out)

"""gRPC by grpcio, on both sides: every kind of call, through tunnels and in front of a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.functional.harness import ProxyProcess, RunningProcess
from tests.functional.http2origins import HTTP2TestCase

SCRIPT = """
import sys

def request(flow):
    print("request", flow.request.path, file=sys.stderr)

def response(flow):
    trailers = flow.response.trailers or flow.response.headers
    print("status", flow.request.path, trailers.get("grpc-status"), file=sys.stderr)

def error(flow):
    print("error", flow.request.path, flow.error.code, file=sys.stderr)
"""

WANTED = {
    "unary": ["question!", "OK", "of server", "seen", "00ff"],
    "large": True,
    "many_back": True,
    "many_there": 10_000,
    "both": True,
    "in_turn": [1000, [], "OK"],
    "fail": ["NOT_FOUND", "nichts, 100 % ✗", "because"],
    "fail_late": ["one", "two", "RESOURCE_EXHAUSTED", "no three"],
    "unknown": "UNIMPLEMENTED",
    "slow": "DEADLINE_EXCEEDED",
}


class GRPCTests(HTTP2TestCase):
    """All that clients see is what they would see without a proxy."""

    timeout = 240

    async def start_server(self, *files: Path) -> tuple[RunningProcess, int]:
        process = self.start_process(sys.executable, "-m", "tests.functional.grpc_server", *files)
        await process.until(lambda p: p.out.endswith(b"\n"))
        return process, int(process.out.split()[1])

    async def check(
        self, server: RunningProcess, proxy: ProxyProcess, *arguments: str | Path
    ) -> None:
        completed = await self.check_program(
            sys.executable, "-m", "tests.functional.grpc_client", *arguments, timeout=150
        )
        self.assertEqual(json.loads(completed.out), WANTED)
        # The client's deadline came to the server, and so did its end of patience.
        await server.until(lambda p: b"ended False\n" in p.out)
        self.assertRegex(server.out, rb"deadline [0-3]\n")
        await proxy.process.until(lambda p: b"error /test.Test/Slow" in p.err)
        for line in (
            "status /test.Test/Unary 0", "status /test.Test/Both 0", "status /test.Test/Fail 5",
            "status /test.Test/FailLate 8", "status /test.Test/Unknown 12",
        ):  # fmt: skip
            self.assertIn(line, proxy.log)

    async def test_through_a_tunnel(self):
        server, port = await self.start_server(self.key_file, self.certificate_file)
        proxy = await self.start_tls_proxy(scripts=[self.write("script.py", SCRIPT)])
        await self.check(server, proxy, f"localhost:{port}", proxy.url, self.ca_file)

    async def test_in_front_of_a_server(self):
        server, port = await self.start_server(self.key_file, self.certificate_file)
        proxy = await self.start_tls_proxy(
            f"reverse:https://localhost:{port}", scripts=[self.write("script.py", SCRIPT)]
        )
        await self.check(server, proxy, f"localhost:{proxy.port}", "", self.ca_file)

    async def test_without_tls(self):
        server, port = await self.start_server()
        proxy = await self.start_tls_proxy(
            f"reverse:http://localhost:{port}",
            scripts=[self.write("script.py", SCRIPT)],
            options=["h2_cleartext=true"],
        )
        await self.check(server, proxy, f"localhost:{proxy.port}", "", "")

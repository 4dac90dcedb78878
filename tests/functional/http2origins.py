"""Origins that speak HTTP/2: nginx, nghttpd and hypercorn, and a client and a server by h2.

All listen on loopback, with a certificate of the test's authority, and are gone when it ends.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import ClientContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from tests.functional.harness import (
    START_TIMEOUT,
    Origin,
    ProxyProcess,
    clean_environment,
    reactor,
    require,
    spawn,
)
from tests.functional.origins import free_port
from tests.functional.pki import NAMES, PKITestCase, ServerContexts, key_pem
from tests.layers.h2peers import H2Peer
from tests.net.certificates import issue

MARK = """
def response(flow):
    versions = flow.request.http_version, flow.response.http_version
    flow.response.headers["x-versions"] = " ".join(versions)
"""
"""A script that tells clients which versions were spoken, once it has the whole response."""


class HTTP2TestCase(PKITestCase):
    """Origins that speak HTTP/2, with a certificate, and what clients are told."""

    timeout = 180

    def setUp(self) -> None:
        super().setUp()
        certified = issue(*NAMES, issuer=self.root)
        self.certificate_file = self.write("server.pem", certified.pem())
        self.key_file = self.write("server.key", key_pem(certified))
        self.contexts = ServerContexts(certified)
        self.contexts.context.set_alpn_select_callback(_choose_http2)
        self.served = self.directory / "served"
        self.served.mkdir()

    async def start_marking_proxy(self, *modes: str, **settings: Any) -> ProxyProcess:
        """Start a proxy that marks responses with the versions that were spoken."""
        return await self.start_tls_proxy(*modes, scripts=[self.write("mark.py", MARK)], **settings)

    async def start_h2_peers(self, on_event: Callable[[H2Peer, Any], None]) -> tuple[Origin, list]:
        """Serve by h2 in this process; give the server, and the list of its connections."""
        peers: list[H2Peer] = []

        def make(addr: Any) -> H2Peer:
            peer = H2Peer(False)
            peer.on_event = lambda event: on_event(peer, event)
            peers.append(peer)
            return peer

        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = make
        return await self.listen(factory, self.contexts), peers

    async def connect_h2(self, port: int, tunnel: int | None = None, **settings: int) -> H2Peer:
        """Connect a client by h2, over TLS, to a port of loopback, in a tunnel to ``tunnel``."""
        client = H2Peer(True, **settings)
        factory = TLSMemoryBIOFactory(_ClientContexts(), True, Factory.forProtocol(lambda: client))
        endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", port)
        if tunnel is None:
            wrapped = await connectProtocol(endpoint, factory.buildProtocol(None))
        else:
            wrapped = await connectProtocol(endpoint, _Tunnel(factory.buildProtocol(None)))
            target = b"localhost:%d" % tunnel
            wrapped.transport.write(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target))
        self.addCleanup(wrapped.transport.abortConnection)
        return client


class _Tunnel(Protocol):
    """Waits for the answer to CONNECT, and leaves the connection to another protocol then."""

    def __init__(self, inner: Protocol) -> None:
        self._inner = inner
        self._head = b""

    def dataReceived(self, data: bytes) -> None:
        if self._inner.transport is not None:
            self._inner.dataReceived(data)
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._inner.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner.transport is not None:
            self._inner.connectionLost(reason)


class _ClientContexts(ClientContextFactory):
    """Offers HTTP/2; whom it speaks to is not the question here."""

    method = SSL.TLS_CLIENT_METHOD

    def getContext(self) -> SSL.Context:
        context: SSL.Context = super().getContext()
        context.set_alpn_protos([b"h2"])
        return context


def _choose_http2(connection: SSL.Connection, offered: list[bytes]) -> Any:
    for protocol in (b"h2", b"http/1.1"):
        if protocol in offered:
            return protocol
    return SSL.NO_OVERLAPPING_PROTOCOLS


def peak_memory(pid: int) -> int:
    """Give the most memory, in bytes, that a process has had at once."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@dataclass(frozen=True, slots=True)
class NginxPorts:
    """Where nginx listens: HTTP/2 and HTTP/1.1 with TLS, HTTP/2 and HTTP/1.1 without."""

    tls: int
    cleartext: int
    http1: int


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 512; }}
http {{
    log_format brief "$request_method $request_uri $status $body_bytes_sent";
    access_log {case.directory}/access.log brief;
    types {{
        text/html html;
        text/css css;
        text/javascript js;
        image/svg+xml svg;
    }}
    default_type application/octet-stream;
    client_body_temp_path temporary/body;
    proxy_temp_path temporary/proxy;
    fastcgi_temp_path temporary/fastcgi;
    uwsgi_temp_path temporary/uwsgi;
    scgi_temp_path temporary/scgi;
    ssl_certificate {case.certificate_file};
    ssl_certificate_key {case.key_file};
    keepalive_requests {keepalive_requests};
    keepalive_timeout {keepalive_timeout}s;
    client_max_body_size 200m;
    server {{
        listen 127.0.0.1:{ports.tls} ssl http2;
        listen 127.0.0.1:{ports.cleartext} http2;
        listen 127.0.0.1:{ports.http1};
        root {case.served};
        location = /version {{ return 200 "$server_protocol $request_method $http_x_probe\\n"; }}
        location = /data.json {{
            default_type application/json;
            return 200 '{{"answer": "by script"}}';
        }}
        location = /upload {{
            access_log off;
            proxy_pass http://127.0.0.1:{ports.http1}/version$is_args$args;
        }}
    }}
}}
"""


async def start_nginx(
    case: HTTP2TestCase, keepalive_requests: int = 100_000, keepalive_timeout: int = 60
) -> NginxPorts:
    """Serve ``case.served`` with nginx.

    ``/version`` tells what it was asked with, ``/upload`` takes any body, ``/data.json`` is what
    `tests.functional.test_browser.SCRIPT` asks for. After
    ``keepalive_requests`` it takes no more on a connection, and says GOAWAY; likewise when there
    was none for ``keepalive_timeout`` seconds. What was asked is in ``access.log``.
    """
    nginx = require("nginx")
    prefix = case.directory / "nginx"
    (prefix / "temporary").mkdir(parents=True)
    ports = NginxPorts(free_port(), free_port(), free_port())
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = case.write(
        "nginx/nginx.conf",
        NGINX.format(
            case=case,
            ports=ports,
            user=user,
            keepalive_requests=keepalive_requests,
            keepalive_timeout=keepalive_timeout,
        ),
    )
    case.start_process(
        nginx, "-p", f"{prefix}/", "-c", configuration, "-e", "stderr", stop=signal.SIGTERM
    )
    await case.wait_for_port(ports.http1)
    return ports


async def start_nghttpd(case: HTTP2TestCase, *arguments: str, tls: bool = True) -> int:
    """Serve ``case.served`` with nghttpd, and give the port; uploads come back as they are."""
    nghttpd = require("nghttpd")
    port = free_port()
    listening = [str(port), case.key_file, case.certificate_file]
    case.start_process(
        nghttpd, "--echo-upload", "-a", "127.0.0.1", "-d", case.served, *arguments,
        *(listening if tls else ["--no-tls", str(port)]),
    )  # fmt: skip
    await case.wait_for_port(port)
    return port


APPLICATION = """
import hashlib, json


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    digest, length = hashlib.sha256(), 0
    while True:
        message = await receive()
        body = message.get("body", b"")
        digest.update(body)
        length += len(body)
        if not message.get("more_body"):
            break
    answer = {
        "version": scope["http_version"],
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "length": length,
        "sha256": digest.hexdigest(),
    }
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


async def start_hypercorn(case: HTTP2TestCase, *, tls: bool = True) -> int:
    """Run hypercorn with an application that tells what it was asked; give the port."""
    case.write("application.py", APPLICATION)
    files = ["--certfile", str(case.certificate_file), "--keyfile", str(case.key_file)]
    environment = clean_environment(case.home)
    argv = [sys.executable, "-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", "0"]
    process = spawn(
        [*argv, *(files if tls else []), "application:application"],
        case.directory,
        environment | {"PYTHONPATH": f"{case.directory}:{environment['PYTHONPATH']}"},
    )

    async def end() -> None:
        process.signal(signal.SIGKILL)
        await process.ended(START_TIMEOUT)

    case.addCleanup(end)
    pattern = re.compile(rb"Running on https?://127\.0\.0\.1:(\d+)[^\n]*\n")
    await process.until(lambda p: pattern.search(p.out + p.err) is not None)
    found = pattern.search(process.out + process.err)
    assert found is not None
    return int(found[1])


async def seen(condition: Callable[[], bool], peer: H2Peer) -> None:
    """Wait until a condition holds, which the events of a connection may bring about."""
    if condition():
        return
    waiting: Deferred[None] = Deferred()
    before = peer.on_event

    def look(event: Any) -> None:
        if before is not None:
            before(event)
        if condition() and not waiting.called:
            waiting.callback(None)

    peer.on_event = look
    waiting.addTimeout(60, reactor())
    await waiting
    peer.on_event = before

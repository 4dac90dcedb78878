"""Origins for the proxy: twisted.web resources, and nginx, Python's and Node's servers.

The servers that are programs get a directory of files to serve. All listen on loopback and are
gone when the test ends.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.functional.harness import FunctionalTestCase, reactor, require


def free_port() -> int:
    """Give a port that was free a moment ago, for programs that cannot be asked what they took."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Echo(Resource):
    """Answers with the request as JSON: method, target, headers (as a list of pairs) and body."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        body = request.content.read()
        request.setHeader(b"content-type", b"application/json")
        answer = {
            "method": request.method.decode(),
            "target": request.uri.decode(),
            "version": request.clientproto.decode(),
            "headers": [
                [name.decode().lower(), value.decode("latin-1")]
                for name, values in request.requestHeaders.getAllRawHeaders()
                for value in values
            ],
            "length": len(body),
            "body": body[:1000].decode("latin-1"),
        }
        if request.method == b"HEAD":
            request.setHeader(b"content-length", b"%d" % len(json.dumps(answer)))
            return b""
        return json.dumps(answer).encode()


class Fixed(Resource):
    """Answers every method with the same bytes, and counts the requests."""

    isLeaf = True

    def __init__(self, body: bytes, content_type: bytes = b"text/plain", status: int = 200) -> None:
        super().__init__()
        self.body = body
        self.content_type = content_type
        self.status = status
        self.requests: list[bytes] = []

    def render(self, request: Request) -> bytes:
        self.requests.append(request.uri)
        request.setHeader(b"content-type", self.content_type)
        request.setResponseCode(self.status)
        request.setHeader(b"content-length", b"%d" % len(self.body))
        return b"" if request.method == b"HEAD" else self.body


class Chunked(Resource):
    """Answers in several chunks."""

    isLeaf = True

    def __init__(self, *chunks: bytes) -> None:
        super().__init__()
        self.chunks = chunks

    def render(self, request: Request) -> bytes:
        for chunk in self.chunks:
            request.write(chunk)
        return b""


class Endless(Resource):
    """Writes for as long as somebody reads; ``gone`` fires when nobody does any more."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.gone: Deferred[None] = Deferred()

    def render(self, request: Request) -> int:
        loop = LoopingCall(request.write, b"more " * 200)

        def stop(_: object) -> None:
            loop.stop()
            self.gone.callback(None)

        request.notifyFinish().addErrback(stop)
        loop.start(0.01)
        return NOT_DONE_YET


class EventStream(Resource):
    """Sends numbered events at a steady pace and keeps the times at which it wrote them."""

    isLeaf = True

    def __init__(self, count: int, interval: float) -> None:
        super().__init__()
        self.count = count
        self.interval = interval
        self.written: list[float] = []

    def render(self, request: Request) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        gone = False

        def lost(_: object) -> None:
            nonlocal gone
            gone = True

        request.notifyFinish().addErrback(lost)

        def step() -> None:
            if gone:
                return
            if len(self.written) == self.count:
                request.finish()
                return
            # Timed before the write, so that what the write costs counts as delay.
            self.written.append(reactor().seconds())
            request.write(b"data: %d\n\n" % len(self.written))
            reactor().callLater(self.interval, step)

        step()
        return NOT_DONE_YET


class ScriptedProtocol(Protocol):
    """Answers the first request head with fixed bytes and closes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.seen = b""

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        if b"\r\n\r\n" in self.seen:
            assert self.transport is not None
            self.transport.write(self.answer)
            self.transport.loseConnection()


class ScriptedFactory(Factory):
    """Makes an origin that says exactly what it is told to, right or wrong."""

    noisy = False

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def buildProtocol(self, addr: IAddress | None) -> ScriptedProtocol:
        return ScriptedProtocol(self.answer)


def tree(**children: Resource) -> Resource:
    """Make a resource with the given children; ``_`` in a name stands for a dot."""
    root = Resource()
    for name, child in children.items():
        root.putChild(name.replace("_", ".").encode(), child)
    return root


class TLSMaterial:
    """A self-signed certificate for loopback: its file, for clients, and what servers use."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.certificate_file = directory / "origin.pem"
        self.key_file = directory / "origin.key"
        self.certificate_file.write_bytes(certificate_pem)
        self.key_file.write_bytes(key_pem)
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()

    def contexts(self) -> Any:
        """Give what a listening TLS port takes."""
        private = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(self.certificate_file.read_bytes()),
            KeyPair.load(self.key_file.read_bytes(), 1),
        )
        return private.options()


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    types {{ text/plain txt; application/octet-stream bin; }}
    default_type application/octet-stream;
    client_body_temp_path temporary/body;
    proxy_temp_path temporary/proxy;
    fastcgi_temp_path temporary/fastcgi;
    uwsgi_temp_path temporary/uwsgi;
    scgi_temp_path temporary/scgi;
    gzip on;
    gzip_min_length 100;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        client_max_body_size 100m;
        location = /method {{ return 200 "$request_method $http_x_probe\\n"; }}
        location = /small {{
            client_max_body_size 1k;
            proxy_pass http://127.0.0.1:{port}/method;
        }}
        location = /upload {{ proxy_pass http://127.0.0.1:{port}/method; }}
    }}
}}
"""


async def start_nginx(case: FunctionalTestCase, root: Path) -> int:
    """Serve a directory with nginx; give the port.

    ``/method`` tells what it was asked, ``/upload`` takes any body, ``/small`` at most 1 KiB.
    """
    nginx = require("nginx")
    prefix = case.directory / "nginx"
    (prefix / "temporary").mkdir(parents=True)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(port=port, root=root, user=user)
    configuration = case.write("nginx/nginx.conf", text)
    case.start_process(
        nginx, "-p", f"{prefix}/", "-c", configuration, "-e", "stderr", stop=signal.SIGTERM
    )
    await case.wait_for_port(port)
    return port


async def start_python(case: FunctionalTestCase, root: Path, protocol: str) -> int:
    """Serve a directory with Python's ``http.server`` as HTTP/1.0 or HTTP/1.1; give the port."""
    process = case.start_process(
        sys.executable, "-u", "-m", "http.server", "0",
        "--bind", "127.0.0.1", "--directory", root, "--protocol", protocol,
    )  # fmt: skip
    pattern = re.compile(rb"port (\d+)")
    await process.until(lambda p: pattern.search(p.out) is not None)
    found = pattern.search(process.out)
    assert found is not None
    return int(found[1])


NODE = r"""
const fs = require('fs'), http = require('http'), path = require('path');
const server = http.createServer((request, response) => {
  if (request.url === '/echo') {
    // The length is not known beforehand: Node sends this chunked, with a trailer.
    response.writeHead(200, {'Content-Type': 'text/plain', 'Trailer': 'X-Count'});
    let count = 0;
    request.on('data', (chunk) => { count += chunk.length; response.write(chunk); });
    request.on('end', () => { response.addTrailers({'X-Count': String(count)}); response.end(); });
    return;
  }
  fs.readFile(path.join(process.argv[2], path.basename(request.url)), (error, data) => {
    response.writeHead(error ? 404 : 200, {'Content-Type': 'text/plain'});
    response.end(error ? 'missing' : data);
  });
});
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""


async def start_node(case: FunctionalTestCase, root: Path) -> int:
    """Serve a directory, and ``/echo``, with Node's http module; give the port."""
    node = require("node", "nodejs")
    process = case.start_process(node, case.write("origin.js", NODE), root)
    await process.until(lambda p: p.out.endswith(b"\n"))
    return int(process.out.split()[1])

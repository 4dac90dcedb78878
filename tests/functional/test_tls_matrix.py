"""Certificates, keys and hellos over real sockets: what is accepted, what refused, and how."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.protocol import Factory, Protocol

from tests.functional.harness import Completed, Origin, ProxyProcess, require
from tests.functional.origins import Fixed, ScriptedFactory
from tests.functional.pki import NAMES, PKITestCase, key_pem
from tests.net.certificates import DAY, NOW, Certified, authority, issue, new_key, rsa_key

SCRIPT = """\
import json
import sys

PATH = sys.argv[1]


def error(flow):
    with open(PATH, "a") as file:
        file.write(json.dumps([flow.request.port, flow.error.code, flow.request.method]) + "\\n")
"""


class MatrixTestCase(PKITestCase):
    """A proxy that notes its failed flows, and curl."""

    async def start_matrix(self, *options: str) -> None:
        self.curl = require("curl")
        self.errors = self.directory / "errors"
        script = self.write("note.py", SCRIPT)
        self.proxy = await self.start_tls_proxy(
            scripts=[f"{script} {self.errors}"], options=["flow_detail=0", *options]
        )

    async def fetch(self, origin: Origin, *arguments: str, host: str = "localhost") -> Completed:
        """GET by curl, which trusts the proxy; it prints status and body."""
        return await self.run_program(
            self.curl, "-sS", "--max-time", "20", "--cacert", self.ca_file, "-x", self.proxy.url,
            "-w", "\n%{http_code}", *arguments, f"https://{host}:{origin.port}/",
        )  # fmt: skip

    def codes(self, port: int) -> list[str]:
        """The codes of the failed flows to a port."""
        lines = self.errors.read_text().splitlines() if self.errors.exists() else []
        return [code for at, code, _ in map(json.loads, lines) if at == port]

    async def assert_accepted(self, origin: Origin, *arguments: str, host: str = "localhost"):
        completed = await self.fetch(origin, *arguments, host=host)
        self.assertEqual((completed.status, completed.out), (0, b"well\n200"), completed.err)

    async def assert_refused(
        self, origin: Origin, code: str, status: int = 502, site: Fixed | None = None
    ) -> None:
        completed = await self.fetch(origin)
        page, _, answered = completed.out.decode().rpartition("\n")
        self.assertEqual((completed.status, answered), (0, str(status)), completed.err)
        self.assertIn(f"interceptor: {code}\n", page)
        self.assertEqual(self.codes(origin.port), [code])
        self.assertIn(code, self.proxy.log)
        if site is not None:
            self.assertEqual(site.requests, [])


class CertificateTests(MatrixTestCase):
    """Servers with good certificates and with bad ones."""

    def good(self) -> dict[str, tuple[Certified, ...]]:
        root = self.root
        between = authority(51, issuer=root)
        above = authority(52, issuer=root)
        below = authority(53, issuer=above)
        return {
            "plain": (issue(*NAMES, issuer=root),),
            "RSA": (issue(*NAMES, issuer=root, key=rsa_key(2048)),),
            "one between": (issue(*NAMES, issuer=between), between),
            "two between": (issue(*NAMES, issuer=below), below, above),
            "out of order, but all there": (issue(*NAMES, issuer=below), above, below),
            "with its root": (issue(*NAMES, issuer=root), root),
            "with one that does not belong": (issue(*NAMES, issuer=root), authority(54)),
            "allowed by its issuer": self.constrained("localhost"),
            "many names": (issue(*NAMES, *(f"host{n}.test" for n in range(90)), issuer=root),),
        }

    def constrained(self, allowed: str) -> tuple[Certified, ...]:
        above = authority(
            55,
            issuer=self.root,
            constraints=x509.NameConstraints([x509.DNSName(allowed)], None),
        )
        return issue("localhost", issuer=above), above

    def bad(self) -> dict[str, tuple[Certified, ...]]:
        root = self.root
        below = authority(56, issuer=root)
        hour = timedelta(hours=1)
        return {
            "cert-expired": (issue(*NAMES, issuer=root, not_after=NOW - hour),),
            "cert-not-yet-valid": (
                issue(*NAMES, issuer=root, not_before=NOW + hour, not_after=NOW + DAY),
            ),
            "cert-wrong-host": (issue("other.test", "127.0.0.1", issuer=root),),
            "cert-unknown-issuer": (issue(*NAMES, issuer=authority(57)),),
            "cert-self-signed": (issue(*NAMES),),
            "cert-no-san": (issue(issuer=root, common_name="localhost"),),
            "cert-wrong-purpose": (
                issue(*NAMES, issuer=root, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
            ),
            "cert-weak-key": (issue(*NAMES, issuer=root, key=rsa_key(1024)),),
            "cert-name-constraint": self.constrained("elsewhere.test"),
            "cert-chain-order": (issue(*NAMES, issuer=below), authority(58, issuer=root)),
        }

    async def test_good(self):
        await self.start_matrix()
        for name, chain in self.good().items():
            origin = await self.start_tls_site(Fixed(b"well"), *chain)
            with self.subTest(name):
                await self.assert_accepted(origin)
        self.assertEqual(self.errors.exists(), False)

    async def test_address(self):
        await self.start_matrix()
        origin = await self.start_tls_site(Fixed(b"well"))
        await self.assert_accepted(origin, host="127.0.0.1")

    async def test_bad(self):
        await self.start_matrix()
        for code, chain in self.bad().items():
            site = Fixed(b"secret")
            origin = await self.start_tls_site(site, *chain)
            with self.subTest(code):
                await self.assert_refused(origin, code, site=site)

    async def test_bad_but_overlooked(self):
        await self.start_matrix("ssl_insecure_hosts=^localhost:")
        for code, chain in self.bad().items():
            origin = await self.start_tls_site(Fixed(b"well"), *chain)
            with self.subTest(code):
                await self.assert_accepted(origin)
        # An exception is for the host that it names.
        origin = await self.start_tls_site(Fixed(b"secret"), issue(*NAMES))
        completed = await self.fetch(origin, host="127.0.0.1")
        self.assertTrue(completed.out.endswith(b"\n502"), completed)

    async def test_client_certificates(self):
        mine = issue("me", issuer=self.root, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
        folder = self.write("clients/localhost.pem", key_pem(mine) + mine.pem()).parent
        (folder / "localhost.pem").chmod(0o600)
        await self.start_matrix(f"client_certs={folder}")
        origin = await self.start_tls_site(Fixed(b"well"), client_roots=self.roots)
        await self.assert_accepted(origin)
        # No certificate is for this host. TLS 1.3 tells of that only after the handshake.
        completed = await self.fetch(origin, host="127.0.0.1")
        self.assertTrue(completed.out.endswith(b"\n502"), completed)


class ServerTests(MatrixTestCase):
    """Servers that speak no TLS, or do not get on with it."""

    async def test_plain_http(self):
        await self.start_matrix()
        answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
        origin = await self.listen(TalkingFactory(answer))
        await self.assert_refused(origin, "tls-not-tls")

    async def test_hangs(self):
        await self.start_matrix("tls_timeout=500ms")
        origin = await self.listen(TalkingFactory(b""))
        await self.assert_refused(origin, "tls-timeout", 504)

    async def test_hangs_up(self):
        await self.start_matrix()
        origin = await self.listen(TalkingFactory(b"", close=True))
        await self.assert_refused(origin, "tls-closed")

    async def test_nobody_there(self):
        await self.start_matrix()
        origin = await self.listen(ScriptedFactory(b""))
        # A tunnel to nobody is refused as such, before any TLS.
        completed = await self.fetch(Origin(1, origin.factory))
        self.assertNotEqual(completed.status, 0)
        self.assertIn(b"502", completed.err)


class TalkingProtocol(Protocol):
    """Answers whatever comes with the same bytes."""

    def __init__(self, answer: bytes, close: bool) -> None:
        self.answer = answer
        self.close = close

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)
        if self.close:
            self.transport.loseConnection()


class TalkingFactory(Factory):
    """Makes servers that speak no TLS."""

    noisy = False

    def __init__(self, answer: bytes, close: bool = False) -> None:
        self.answer = answer
        self.close = close

    def buildProtocol(self, addr: object) -> TalkingProtocol:
        return TalkingProtocol(self.answer, self.close)


SPLIT_HELLO = """\
import socket, ssl, sys, time

host, port, target, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = ssl.TLSVersion.TLSv1_3


def cut(data, size):
    return [data[at:at + size] for at in range(0, len(data), size)]


for record_size, segment_size in ((16384, 7), (50, 16384), (1, 16384), (37, 11)):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        hello = outgoing.read()
    # The same message in smaller records: RFC 8446 section 5.1 allows that.
    records = b"".join(
        hello[:3] + len(part).to_bytes(2, "big") + part for part in cut(hello[5:], record_size)
    )
    link = socket.create_connection((host, int(port)), 20)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n".encode())
    assert link.recv(1000).startswith(b"HTTP/1.1 200")
    for segment in cut(records, segment_size):
        link.sendall(segment)
        time.sleep(0.001)

    def until_done(action):
        while True:
            try:
                done = action()
            except ssl.SSLWantReadError:
                done = None
            if outgoing.pending:
                link.sendall(outgoing.read())
            if done is not None:
                return done
            data = link.recv(65536)
            assert data, "the proxy hung up"
            incoming.write(data)

    until_done(lambda: tls.do_handshake() or True)
    assert tls.version() == "TLSv1.3"
    tls.write(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    answer = until_done(lambda: tls.read(65536))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    link.close()
print("done")
"""


class OpenSSLTests(PKITestCase):
    """``openssl s_client``, and clients that can do only so much."""

    async def start(self, *options: str) -> tuple[Origin, ProxyProcess]:
        self.openssl = require("openssl")
        origin = await self.start_tls_site(Fixed(b"well"))
        proxy = await self.start_tls_proxy(
            "regular", f"reverse:https://localhost:{origin.port}", options=options
        )
        self.proxy = proxy
        return origin, proxy

    async def s_client(
        self, origin: Origin, *arguments: str | Path, reverse: bool = False, status: int = 0
    ) -> str:
        """Send one request; return what s_client prints of connection and answer."""
        if reverse:
            way = ["-connect", f"127.0.0.1:{self.proxy.listeners[1].port}"]
        else:
            way = ["-proxy", f"127.0.0.1:{self.proxy.port}"]
            way += ["-connect", f"localhost:{origin.port}"]
        completed = await self.run_program(
            self.openssl, "s_client", *way, "-servername", "localhost", "-CAfile", self.ca_file,
            "-verify_hostname", "localhost", "-verify_return_error", "-ign_eof", *arguments,
            stdin=b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )  # fmt: skip
        text = (completed.out + completed.err).decode("utf-8", "replace")
        self.assertEqual(completed.status, status, text)
        if not status:
            self.assertIn("HTTP/1.1 200 OK", text)
        return text

    async def test_chain_names_and_protocol(self):
        origin, _ = await self.start()
        for reverse in (False, True):
            text = await self.s_client(
                origin, "-showcerts", "-alpn", "h2,http/1.1", reverse=reverse
            )
            self.assertIn("Verify return code: 0 (ok)", text)
            self.assertIn("ALPN protocol: http/1.1", text)
            pattern = r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"
            leaf, above = (
                x509.load_pem_x509_certificate(pem.encode())
                for pem in re.findall(pattern, text, re.DOTALL)[:2]
            )
            root = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            self.assertEqual(above, root)
            leaf.verify_directly_issued_by(root)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual({str(name.value) for name in names}, set(NAMES))

    async def test_own_authority_with_one_above(self):
        top = authority(61)
        signing = authority(62, issuer=top)
        path = self.write("own.pem", key_pem(signing) + signing.pem() + top.pem())
        path.chmod(0o600)
        self.openssl = require("openssl")
        origin = await self.start_tls_site(Fixed(b"well"))
        self.proxy = await self.start_tls_proxy(options=[f"ca_file={path}"])
        anchor = self.write("top.pem", top.pem())
        text = await self.s_client(origin, "-showcerts", "-CAfile", anchor)
        self.assertIn("Verify return code: 0 (ok)", text)
        # The leaf, what signed it, and the leaf once more: clients have the root.
        self.assertEqual(text.count("-----BEGIN CERTIFICATE-----"), 3)

    async def test_resumption(self):
        origin, _ = await self.start()
        for version in ("-tls1_2", "-tls1_3"):
            session = self.directory / f"session{version}"
            first = await self.s_client(origin, version, "-sess_out", session)
            self.assertIn("New, TLSv1.", first)
            again = await self.s_client(origin, version, "-sess_in", session)
            self.assertIn("Reused, TLSv1.", again)

    async def test_reconnecting(self):
        await self.start()
        completed = await self.run_program(
            self.openssl, "s_client", "-connect", f"127.0.0.1:{self.proxy.listeners[1].port}",
            "-servername", "localhost", "-tls1_2", "-reconnect",
        )  # fmt: skip
        text = completed.out.decode()
        self.assertEqual((text.count("New, TLS"), text.count("Reused, TLS")), (1, 5), text)

    async def test_ecdsa_alone(self):
        origin, _ = await self.start()
        text = await self.s_client(origin, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertIn("Peer signature type: ECDSA", text)

    async def test_rsa_alone(self):
        origin, _ = await self.start()
        for cipher in ("ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"):
            text = await self.s_client(origin, "-tls1_2", "-cipher", cipher)
            self.assertIn(f"Cipher is {cipher}", text)
            self.assertIn("Server public key is 2048 bit", text)

    async def test_old_versions_are_refused(self):
        origin, _ = await self.start()
        text = await self.s_client(origin, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", status=1)
        self.assertIn("alert protocol version", text)

    async def test_hellos_in_pieces(self):
        origin, proxy = await self.start()
        completed = await self.check_program(
            sys.executable, "-c", SPLIT_HELLO, "127.0.0.1", str(proxy.port),
            f"localhost:{origin.port}", self.ca_file,
        )  # fmt: skip
        self.assertEqual(completed.out, b"done\n")


KEYLOG = """\
import http.client, ssl, sys

port, target, ca, log = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.keylog_filename = log
connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=20)
connection.set_tunnel("localhost", int(target))
connection.request("GET", "/")
assert connection.getresponse().read() == b"well"
"""


class KeyLogTests(PKITestCase):
    """The secrets of both legs, for Wireshark."""

    async def check(self, proxy: ProxyProcess, origin: Origin, log: Path) -> None:
        theirs = self.directory / "client.log"
        await self.check_program(
            sys.executable,
            "-c",
            KEYLOG,
            str(proxy.port),
            str(origin.port),
            self.ca_file,
            theirs,
            SSLKEYLOGFILE="",
        )
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)
        ours = log.read_text().splitlines()
        pattern = r"[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]{64,96}"
        for line in ours:
            self.assertRegex(line, rf"\A{pattern}\Z")
        known = {line for line in theirs.read_text().splitlines() if not line.startswith("#")}
        # The client's leg is among them, and there is another one, that of the server.
        self.assertTrue(known)
        self.assertLessEqual(known, set(ours))
        self.assertEqual(len({line.split()[1] for line in ours}), 2)

    async def test_option(self):
        log = self.directory / "secrets.log"
        origin = await self.start_tls_site(Fixed(b"well"))
        proxy = await self.start_tls_proxy(options=[f"tls_keylog_file={log}"])
        await self.check(proxy, origin, log)

    async def test_environment(self):
        log = self.directory / "secrets.log"
        origin = await self.start_tls_site(Fixed(b"well"))
        self.patch(os, "environ", {**os.environ, "SSLKEYLOGFILE": str(log)})
        proxy = await self.start_tls_proxy()
        await self.check(proxy, origin, log)


class PinningTests(MatrixTestCase):
    """A client that accepts the origin's own certificate alone."""

    async def attempt(self, origin: Origin) -> Completed:
        return await self.run_program(
            self.curl, "-sS", "--max-time", "20", "--cacert", self.roots, "-x", self.proxy.url,
            "-o", "/dev/null", "-w", "%{http_code}", f"https://localhost:{origin.port}/",
        )  # fmt: skip

    async def test_learns_its_way_through(self):
        await self.start_matrix("tls_passthrough_learn=true")
        origin = await self.start_tls_site(Fixed(b"well"))
        first = await self.attempt(origin)
        self.assertEqual(first.status, 60, first.err)
        second = await self.attempt(origin)
        self.assertEqual((second.status, second.out), (0, b"200"), second.err)
        self.assertIn("client-distrusts-ca", self.proxy.log)
        self.assertIn(f"localhost:{origin.port} passes through from now on", self.proxy.log)
        # Others are opened still.
        await self.assert_accepted(await self.start_tls_site(Fixed(b"well")))

    async def test_passed_through_connections_are_printed(self):
        self.curl = require("curl")
        origin = await self.start_tls_site(Fixed(b"well"))
        self.proxy = await self.start_tls_proxy(options=["ignore_hosts=^localhost:"])
        completed = await self.attempt(origin)
        self.assertEqual((completed.status, completed.out), (0, b"200"), completed.err)
        # All of the line: a pipe may hand over half of it.
        whole = re.compile(rb" TCP [^\n]*\n")
        await self.proxy.process.until(lambda process: whole.search(process.out) is not None)
        [line] = [line for line in self.proxy.process.out.splitlines() if b" TCP " in line]
        self.assertRegex(line, rb" TCP localhost:\d+ ignore_hosts [\d.]+[bk] [\d.]+[bk] \S+\Z")


class PlainClientTests(MatrixTestCase):
    """Plain HTTP to port 443."""

    async def test_curl(self):
        await self.start_matrix("connection_strategy=lazy")
        completed = await self.run_program(
            self.curl, "-sS", "-p", "-x", self.proxy.url, "-w", "\n%{http_code}",
            "http://localhost:443/",
        )  # fmt: skip
        self.assertTrue(completed.out.endswith(b"\n400"), completed)
        self.assertIn(b"interceptor: client-not-tls\n", completed.out)
        self.assertIn("client-not-tls", self.proxy.log)


class AuthorityTests(PKITestCase):
    """An authority that cannot be used ends the program, with one line and status 1."""

    async def assert_refused(self, path: Path, code: str, *options: str) -> None:
        settings = [f"confdir={self.directory / 'conf'}", f"ca_file={path}", *options]
        completed = await self.run_program(
            sys.executable, "-m", "interceptor", "run", "--mode", "regular@127.0.0.1:0",
            *(word for setting in settings for word in ("--set", setting)),
        )  # fmt: skip
        self.assertEqual((completed.status, completed.out), (1, b""))
        self.assertEqual(completed.err.count(b"\n"), 1, completed.err)
        self.assertIn(code.encode(), completed.err)

    def file(self, name: str, key: Certified, certified: Certified, mode: int = 0o600) -> Path:
        path = self.write(name, key_pem(key) + certified.pem())
        path.chmod(mode)
        return path

    async def test_refused(self):
        good = authority(71)
        old = issue(key=new_key(72), authority=True, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
        garbage = self.write("garbage.pem", b"garbage")
        garbage.chmod(0o600)
        for code, path in {
            "garbage.pem` holds no": garbage,
            "others": self.file("open.pem", good, good, 0o644),
            "expired": self.file("old.pem", old, old),
            "belongs to no": self.file("mixed.pem", authority(73), good),
            "no ": self.directory / "missing.pem",
        }.items():
            with self.subTest(code):
                await self.assert_refused(path, code)

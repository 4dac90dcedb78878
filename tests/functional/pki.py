"""Certificates on real sockets: what origins show, and where clients find whom to trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from tests.functional.harness import FunctionalTestCase, Origin, ProxyProcess
from tests.net.certificates import Certified, authority, issue

NAMES = ("localhost", "127.0.0.1")
"""What origins on loopback are called."""


@implementer(IOpenSSLContextFactory)
class ServerContexts:
    """What a listening port speaks TLS with: a certificate, good or bad, and its chain."""

    def __init__(
        self, certified: Certified, *chain: Certified, client_roots: Path | None = None
    ) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        # Weak keys are ours to show here, and the proxy's to refuse.
        context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        context.use_certificate(certified.certificate)
        context.use_privatekey(certified.key)
        for each in chain:
            context.add_extra_chain_cert(each.certificate)
        context.set_session_id(b"origin")
        context.set_alpn_select_callback(_choose_http)
        if client_roots is not None:
            context.load_verify_locations(str(client_roots))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self.context = context

    def getContext(self) -> SSL.Context:
        return self.context


def _choose_http(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def key_pem(certified: Certified) -> bytes:
    """The private key, as clients and servers read it from files."""
    return certified.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class PKITestCase(FunctionalTestCase):
    """Origins with certificates of an authority that the proxy is told to trust."""

    def setUp(self) -> None:
        super().setUp()
        self.root = authority()
        self.roots = self.write("roots.pem", self.root.pem())

    @property
    def ca_file(self) -> Path:
        """The certificate of the proxy's authority: it is there once a proxy has started."""
        return self.directory / "conf" / "interceptor-ca-cert.pem"

    async def start_tls_site(
        self, resource: Any, certified: Certified | None = None, *chain: Certified, **more: Any
    ) -> Origin:
        """Serve a resource with a certificate, by default a good one."""
        certified = certified or issue(*NAMES, issuer=self.root)
        return await self.start_site(resource, ServerContexts(certified, *chain, **more))

    async def start_tls_proxy(self, *modes: str, **settings: Any) -> ProxyProcess:
        """Start a proxy that trusts the test's authority; ``options`` are settings for it."""
        arguments = ["--set", f"ssl_verify_upstream_trusted_ca={self.roots}"]
        for option in settings.pop("options", ()):
            arguments += ["--set", option]
        arguments += settings.pop("arguments", ())
        return await self.start_proxy(*modes, arguments=arguments, **settings)

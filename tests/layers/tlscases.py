"""What the tests of opened TLS share: proxies in memory whose clients and origins speak TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from interceptor.net.memorytls import client_context
from interceptor.testing import EventRecorder, MemoryClient, MemoryOrigin, MemoryProxy
from tests.events.cases import EventTestCase
from tests.net.certificates import Certified, authority, issue

HOST = "example.test"
GET = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def names_of(certificate: x509.Certificate) -> set[str]:
    """The names of a certificate, addresses among them."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


class TLSLayerTestCase(EventTestCase):
    """Makes proxies, and origins with certificates to order."""

    def tls(
        self, *addons: object, mode: str = "regular", **options: Any
    ) -> tuple[MemoryProxy, EventRecorder]:
        recorder = EventRecorder()
        return self.proxy(recorder, *addons, mode=mode, **options), recorder

    def folder(self) -> str:
        folder = self.mktemp()
        os.mkdir(folder)
        return folder

    def pem(self, certified: Certified, *chain: Certified) -> str:
        """Write key, certificate and chain to a file."""
        key = certified.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = os.path.join(self.folder(), "identity.pem")
        Path(path).write_bytes(b"".join([key, certified.pem(), *(each.pem() for each in chain)]))
        Path(path).chmod(0o600)
        return path

    def trusted(self, *roots: Certified) -> str:
        """Write what the proxy is to trust to a file."""
        path = os.path.join(self.folder(), "roots.pem")
        Path(path).write_bytes(b"".join(each.pem() for each in roots))
        return path

    def server_context(
        self,
        certified: Certified | None = None,
        *chain: Certified,
        alpn: Sequence[str] = ("http/1.1",),
    ) -> ssl.SSLContext:
        """What an origin speaks TLS with; without a certificate it gets a good one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Weak keys are ours to make here, and the proxy's to refuse.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        certified = certified or issue(HOST, issuer=authority())
        context.load_cert_chain(self.pem(certified, *chain))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def bad_origin(
        self, proxy: MemoryProxy, certified: Certified, *chain: Certified, host: str = HOST
    ) -> MemoryOrigin:
        """An origin that shows ``certified``."""
        return proxy.tls_origin(host, context=self.server_context(certified, *chain)).respond(OK)

    def client_context(self, proxy: MemoryProxy, *alpn: str) -> ssl.SSLContext:
        """What a client that trusts the proxy speaks TLS with; change it as needed."""
        return client_context(proxy.ca_file, alpn)

    def get(self, client: MemoryClient) -> Any:
        """Send a GET and return the response."""
        client.send(GET)
        return self.response(client)

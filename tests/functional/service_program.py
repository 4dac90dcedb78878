"""A program of servers, for tests that need them elsewhere than in their own process.

It serves HTTP on port 80, HTTPS on 443 and on 25 what speaks first, at all addresses, and prints a
line for each connection. The argument is a PEM file with a key and a certificate.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.protocol import Factory
from twisted.protocols.policies import WrappingFactory
from twisted.web.server import Site

from tests.functional.greeter import Greeter
from tests.functional.origins import Echo, tree


class _Telling(WrappingFactory):
    """Tells who connects, and to which port."""

    noisy = False

    def __init__(self, port: int, factory: Any) -> None:
        super().__init__(factory)
        self.port = port

    def buildProtocol(self, addr: Any) -> Any:
        print(f"port {self.port}: {addr.host.removeprefix('::ffff:')}", flush=True)
        return super().buildProtocol(addr)


def main(pem_file: str) -> None:
    """Serve until killed."""
    contexts = ssl.DefaultOpenSSLContextFactory(pem_file, pem_file)
    site: Any = Site(tree(echo=Echo()))
    site.log = lambda request: None
    run: Any = reactor
    run.listenTCP(80, _Telling(80, site), interface="::")
    run.listenSSL(443, _Telling(443, site), contexts, interface="::")
    run.listenTCP(25, _Telling(25, Factory.forProtocol(Greeter)), interface="::")
    print("ready", flush=True)
    run.run()


if __name__ == "__main__":
    main(sys.argv[1])

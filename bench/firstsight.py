"""What the proxy itself does for a TLS host, without the handshakes.

Run as ``python -m bench.firstsight CONFDIR``. For each host a ClientHello is parsed, a certificate
is signed in the authority's name (unless it has been, with ``--seen``), and both connections of
OpenSSL are made. The median and the 99th percentile are printed as JSON, in milliseconds of this
process's CPU time.
"""

from __future__ import annotations

import argparse
import json
import ssl
import time
from pathlib import Path

from interceptor.model.coreoptions import core_options
from interceptor.net.handshakes import Handshakes
from interceptor.wire.tlshello import ClientHelloReader

HOSTS = 400
_ALPN = (b"http/1.1",)


def client_hello(host: str) -> bytes:
    """Return what a client sends first that asks for ``host``."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    sent = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=host)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def meet(handshakes: Handshakes, record: bytes) -> None:
    """Do what is done for the host that ``record`` asks for."""
    hello = ClientHelloReader().feed(record)
    assert hello is not None
    assert hello.sni is not None
    handshakes.to_server(hello.sni, 443, hello.sni, _ALPN)
    handshakes.to_client(hello, (hello.sni,), _ALPN)


def measure(confdir: Path, seen: bool) -> dict[str, float]:
    """Give the median and the 99th percentile of what a host costs, in milliseconds."""
    options = core_options()
    options.update(confdir=str(confdir))
    handshakes = Handshakes(options)
    handshakes.prepare()
    meet(handshakes, client_hello("first.bench.test"))  # keys and contexts are made once
    # All made before: between two hosts a busy proxy does not do what a client does.
    records = [client_hello(f"host{number}.bench.test") for number in range(HOSTS)]
    if seen:
        for record in records:
            meet(handshakes, record)
    times = []
    for record in records:
        begin = time.process_time()
        meet(handshakes, record)
        times.append((time.process_time() - begin) * 1000)
    times.sort()
    return {"own_ms": times[HOSTS // 2], "own_p99_ms": times[HOSTS * 99 // 100]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.firstsight", description=__doc__)
    parser.add_argument("confdir", type=Path, help="where the authority is made")
    parser.add_argument("--seen", action="store_true", help="meet each host twice, time the second")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.confdir, arguments.seen)))


if __name__ == "__main__":
    main()

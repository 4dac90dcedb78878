"""A gRPC server whose messages are plain bytes, for tests: it prints its port.

The arguments are the files of a key and a certificate, or nothing for no TLS.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc


def unary(request: bytes, context: Any) -> bytes:
    context.send_initial_metadata((("initial", "of server"),))
    found = dict(context.invocation_metadata())
    context.set_trailing_metadata((("trailing", found.get("probe", "")), ("raw-bin", b"\0\xff")))
    return request + b"!"


def many_back(request: bytes, context: Any) -> Iterator[bytes]:
    return (b"%d" % number for number in range(int(request)))


def many_there(requests: Iterable[bytes], context: Any) -> bytes:
    # Equal to the number of messages only if they come in order.
    expected = 0
    for request in requests:
        if int(request) != expected:
            context.abort(grpc.StatusCode.DATA_LOSS, f"{request!r} instead of {expected}")
        expected += 1
    return b"%d" % expected


def both(requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
    yield from requests


def fail(request: bytes, context: Any) -> None:
    context.set_trailing_metadata((("why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nichts, 100 % ✗")


def fail_late(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no three")


def slow(request: bytes, context: Any) -> bytes:
    # How long the client said it would wait came with the request.
    ended = threading.Event()
    context.add_callback(ended.set)
    print(f"deadline {context.time_remaining():.0f}", flush=True)
    ended.wait(60)
    print(f"ended {context.is_active()}", flush=True)
    return request


def main() -> None:
    methods = {
        "/test.Test/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/test.Test/ManyBack": grpc.unary_stream_rpc_method_handler(many_back),
        "/test.Test/ManyThere": grpc.stream_unary_rpc_method_handler(many_there),
        "/test.Test/Both": grpc.stream_stream_rpc_method_handler(both),
        "/test.Test/Fail": grpc.unary_unary_rpc_method_handler(fail),
        "/test.Test/FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "/test.Test/Slow": grpc.unary_unary_rpc_method_handler(slow),
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return methods.get(details.method)

    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Handler(),))
    if sys.argv[1:]:
        pair = tuple(Path(name).read_bytes() for name in sys.argv[1:])
        credentials = grpc.ssl_server_credentials([pair])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"port {port}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()

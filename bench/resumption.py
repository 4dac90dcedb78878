"""A client that reconnects with the session it has, and an origin that counts who resumes one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

from bench.certificates import Certificates
from bench.errors import BenchError

_TIMEOUT = 10.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_REQUEST = b"GET /ok HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class CountingOrigin:
    """Answers one request for each TLS connection, one connection after the other."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        self.port: int = listener.getsockname()[1]
        self.connections = 0
        self.resumed = 0
        self._listener = listener
        self._context = context

    def serve(self) -> None:
        """Serve until the listener is shut down."""
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError):
                accepted.settimeout(_TIMEOUT)
                with self._context.wrap_socket(accepted, server_side=True) as connection:
                    self._answer(connection)

    def _answer(self, connection: ssl.SSLSocket) -> None:
        if not _read_until(connection, b"\r\n\r\n"):
            return
        self.connections += 1
        self.resumed += connection.session_reused is True
        connection.sendall(_ANSWER)
        with contextlib.suppress(OSError):
            connection.unwrap()


@contextlib.contextmanager
def counting_origin(certificates: Certificates) -> Iterator[CountingOrigin]:
    """Run an origin in a thread of this process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = CountingOrigin(listener, context)
        thread = threading.Thread(target=origin.serve, daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            # Closing alone would leave `accept` waiting.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(_TIMEOUT)


def reconnect(port: int, times: int) -> int:
    """Connect, ask and close ``times`` times; return how many handshakes resumed a session.

    The certificate is not looked at.

    :raises BenchError: where an answer is not the origin's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session: ssl.SSLSession | None = None
    resumed = 0
    for _ in range(times):
        with (
            socket.create_connection(("127.0.0.1", port), _TIMEOUT) as plain,
            context.wrap_socket(plain, session=session) as connection,
        ):
            resumed += connection.session_reused is True
            connection.sendall(_REQUEST)
            answer = _read_until(connection, b"\r\n\r\nok")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise BenchError(f"reconnecting: {answer[:200]!r}")
            # With TLS 1.3 the ticket comes with or before the first response.
            session = connection.session
    return resumed


def _read_until(connection: ssl.SSLSocket, end: bytes) -> bytes:
    """Return what came up to ``end``, or to the end of the connection."""
    received = b""
    while end not in received:
        data = connection.recv(65536)
        if not data:
            break
        received += data
    return received

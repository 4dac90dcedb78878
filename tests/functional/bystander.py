"""Somebody whose requests go through a proxy while others attack it.

``python -m tests.functional.bystander PID PORT`` asks an origin of its own through the regular
listener at ``PORT`` of the proxy that is the process ``PID``, one request after the other, prints
``ready`` when the first has been answered, and goes on until SIGTERM. Then it prints how many were
answered, and how many seconds the slowest of them took for which the proxy is to blame.

The time for which a machine has other things to do is not the proxy's: the kernel tells how long
the proxy's thread, and the only one here, wanted to run and could not, and for how long the
hypervisor ran somebody else. What is left is the time for which the proxy computed, or waited.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time

_TICKS = os.sysconf("SC_CLK_TCK")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_PATIENCE = 60.0
_PAUSE = 0.005


class Machine:
    """Tells how long processes have waited for a processor so far."""

    def __init__(self, *pids: int) -> None:
        self._files = [os.open(f"/proc/{pid}/schedstat", os.O_RDONLY) for pid in pids]
        self._stat = os.open("/proc/stat", os.O_RDONLY)

    def delay(self) -> float:
        """Return the seconds for which the processes' main threads were ready and did not run."""
        waited = sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files)
        stolen = int(os.pread(self._stat, 200, 0).split(None, 9)[8])
        return waited / 1e9 + stolen / _TICKS


class Bystander:
    """Both ends of the requests: the client, and the origin."""

    def __init__(self, pid: int, port: int) -> None:
        self._machine = Machine(pid, os.getpid())
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._client = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._client, selectors.EVENT_READ)
        origin = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._request = f"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n".encode()
        self.stopped = False

    def ask(self) -> float:
        """Send a request, and answer it; return the seconds that this took because of the proxy."""
        late, began = self._machine.delay(), time.monotonic()
        self._client.sendall(self._request)
        received = b""
        while received != _ANSWER:
            ready = self._selector.select(_PATIENCE)
            if not ready:
                raise TimeoutError("there is no answer")
            for key, _ in ready:
                if key.fileobj is self._client:
                    data = self._client.recv(65536)
                    received += data
                    if not data or not _ANSWER.startswith(received):
                        raise ConnectionError(f"this is no answer: {received!r}")
                elif key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                else:
                    self._serve(key.fileobj)
        return time.monotonic() - began - (self._machine.delay() - late)

    def _serve(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        data = connection.recv(65536)
        if data.endswith(b"\r\n\r\n"):
            connection.sendall(_ANSWER)
        elif not data:
            self._selector.unregister(connection)
            connection.close()


def main() -> None:
    """Ask until told to stop."""
    bystander = Bystander(*map(int, sys.argv[1:]))

    def stop(number: int, frame: object) -> None:
        bystander.stopped = True

    signal.signal(signal.SIGTERM, stop)
    bystander.ask()
    print("ready", flush=True)
    served, slowest = 1, bystander.ask()
    while not bystander.stopped:
        time.sleep(_PAUSE)
        slowest = max(slowest, bystander.ask())
        served += 1
    print(json.dumps({"served": served, "slowest": slowest}))


if __name__ == "__main__":
    main()

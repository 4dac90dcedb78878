"""Somebody whose requests go through a proxy while others attack it.

``python -m tests.functional.bystander PORT PID...`` asks an origin of its own through the regular
listener at ``PORT`` of the proxy that is the processes ``PID``, one request after the other, prints
``ready`` when the first has been answered, and goes on until SIGTERM. Every other request is one
over a connection that is kept, and every other over a new one, which the proxy has to accept first;
with ``--kept`` there are no new ones. At the end it prints how many were answered, and how many
seconds the slowest of both kinds took for which the proxy is to blame.

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
    """Tells how long processes have waited for a processor."""

    def __init__(self, *pids: int) -> None:
        self._files = [os.open(f"/proc/{pid}/schedstat", os.O_RDONLY) for pid in pids]
        self._stat = os.open("/proc/stat", os.O_RDONLY)

    def delays(self) -> tuple[float, list[float]]:
        """Tell how long the machine was taken away, and each process's main thread ready, so far.

        Ready means that it did not run: something else did.
        """
        stolen = int(os.pread(self._stat, 200, 0).split(None, 9)[8])
        waits = [int(os.pread(file, 100, 0).split()[1]) / 1e9 for file in self._files]
        return stolen / _TICKS, waits

    def delay(self, since: tuple[float, list[float]]) -> float:
        """Return the seconds by which a request has been late since then.

        The last process is the one that asks. Of the others one has served it, and nobody knows
        which: it is taken for the one that waited longest.
        """
        stolen, waits = self.delays()
        waited = [now - then for now, then in zip(waits, since[1], strict=True)]
        return stolen - since[0] + max(waited[:-1]) + waited[-1]


class Bystander:
    """Both ends of the requests: the client, and the origin."""

    def __init__(self, port: int, *pids: int) -> None:
        self._machine = Machine(*pids, os.getpid())
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._address = ("127.0.0.1", port)
        self._kept = self._connect()
        origin = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._request = f"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n".encode()
        self.stopped = False

    def ask(self) -> float:
        """Ask over the connection that is kept; return the seconds it took because of the proxy."""
        late, began = self._machine.delays(), time.monotonic()
        self._exchange(self._kept)
        return time.monotonic() - began - self._machine.delay(late)

    def ask_anew(self) -> float:
        """Ask over a new connection, which then ends; return the seconds as `ask` does."""
        late, began = self._machine.delays(), time.monotonic()
        client = self._connect()
        self._exchange(client)
        took = time.monotonic() - began - self._machine.delay(late)
        self._selector.unregister(client)
        client.close()
        return took

    def _connect(self) -> socket.socket:
        client = socket.create_connection(self._address, _PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ)
        return client

    def _exchange(self, client: socket.socket) -> None:
        """Send a request, and answer it, until the answer is here."""
        client.sendall(self._request)
        received = b""
        while received != _ANSWER:
            ready = self._selector.select(_PATIENCE)
            if not ready:
                raise TimeoutError("there is no answer")
            for key, _ in ready:
                if key.fileobj is client:
                    data = client.recv(65536)
                    received += data
                    if not data or not _ANSWER.startswith(received):
                        raise ConnectionError(f"this is no answer: {received!r}")
                elif key.fileobj is self._kept:
                    raise ConnectionError("the connection that is kept has been closed")
                elif key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                else:
                    self._serve(key.fileobj)

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
    words = [word for word in sys.argv[1:] if word != "--kept"]
    bystander = Bystander(*map(int, words))
    asks = [bystander.ask]
    if len(words) == len(sys.argv) - 1:
        asks.append(bystander.ask_anew)

    def stop(number: int, frame: object) -> None:
        bystander.stopped = True

    signal.signal(signal.SIGTERM, stop)
    for ask in asks:
        ask()
    print("ready", flush=True)
    served, slowest = 0, [0.0] * len(asks)
    while not (bystander.stopped and served):
        for number, ask in enumerate(asks):
            time.sleep(_PAUSE)
            slowest[number] = max(slowest[number], ask())
        served += 1
    print(json.dumps({"served": served, "slowest": slowest}))


if __name__ == "__main__":
    main()

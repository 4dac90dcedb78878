"""Addresses claimed before any worker runs, and the sockets that workers are given for them.

Each worker has its own listening socket for a TCP or UDP address: the system spreads connections
over them (SO_REUSEPORT), and every datagram of a flow goes to the same one. The parent makes these
sockets and keeps them: no other program can take the address, no privilege is needed to replace a
worker, and what waits in the socket of one that died is the next one's. Of UNIX sockets and those
that a service manager passed on there is one, which all workers accept from.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.tcp import Port as TCPPort
from twisted.internet.unix import Port as UNIXPort
from twisted.python.failure import Failure

from interceptor.errors import ListenError, WorkersError
from interceptor.model.modes import ListenSpec, ModeSpec
from interceptor.net.addresses import HostPort
from interceptor.net.listen import BACKLOG, LARGEST_DATAGRAM, endpoint_for, numeric, reason_of

_ATTEMPTS: Final = 10
"""How many ports are tried where one has to be free for UDP and TCP."""


@dataclass(slots=True)
class Claim:
    """What one mode listens on with one transport, ``tcp`` or ``udp``.

    ``address`` is what was bound; ``sockets`` are one for each worker, or one for all.
    """

    transport: str
    family: int
    address: HostPort
    backlog: int
    sockets: list[socket.socket] = field(default_factory=list)
    port: IListeningPort | None = None

    def of(self, worker: int) -> socket.socket:
        """The socket of a worker, counted from 1."""
        return self.sockets[(worker - 1) % len(self.sockets)]

    def close_queue(self, worker: int) -> None:
        """Stop listening on a worker's own socket until the next one does: others get the rest."""
        if self.transport == "tcp" and len(self.sockets) > 1:
            try:
                self.of(worker).shutdown(socket.SHUT_RDWR)
            except OSError:
                # It was not listened on yet.
                pass

    async def close(self) -> None:
        """Let the address go, as far as this process is concerned."""
        for each in self.sockets:
            each.close()
        if self.port is not None:
            port, self.port = self.port, None
            await maybeDeferred(port.stopListening)


async def claim(reactor: Any, mode: ModeSpec, workers: int) -> list[Claim]:
    """Claim what a mode listens on. Raises `ListenError`, or `WorkersError` for what cannot be."""
    if mode.listen.kind == "endpoint":
        return [_claim_endpoint(reactor, mode, workers)]
    spec = mode.listen
    host = await numeric(reactor, spec.host)
    transports = sorted(mode.transports, reverse=True)
    attempt = 1
    while True:
        claims: list[Claim] = []
        port = spec.port
        try:
            for transport in transports:
                made = _claim_address(transport, host, port, workers, BACKLOG, spec)
                claims.append(made)
                port = made.address[1]
        except ListenError:
            for made in claims:
                await made.close()
            # The port that the system chose for UDP may be taken for TCP.
            if spec.port or len(transports) == 1 or attempt == _ATTEMPTS:
                raise
            attempt += 1
        else:
            return claims


def _claim_address(
    transport: str, host: str, port: int, workers: int, backlog: int, spec: ListenSpec
) -> Claim:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    suffix = " for UDP" if transport == "udp" else ""
    sockets: list[socket.socket] = []
    try:
        # Without SO_REUSEPORT it fails where anybody listens, even another proxy of this kind.
        first = _bind(transport, family, host, port, shared=False)
        sockets.append(first)
        bound = first.getsockname()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sockets += [_bind(transport, family, host, bound[1], shared=True) for _ in range(workers)]
    except OSError as error:
        for each in sockets:
            each.close()
        raise ListenError(f"cannot listen on {spec}{suffix}: {reason_of(error)}") from error
    sockets.pop(0).close()
    return Claim(transport, family, (bound[0], bound[1]), backlog, sockets)


def _bind(transport: str, family: int, host: str, port: int, *, shared: bool) -> socket.socket:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if transport == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        scope = (0, 0) if family == socket.AF_INET6 else ()
        if "%" in host:
            address: Any = socket.getaddrinfo(host, port, family, kind)[0][4]
        else:
            address = (host, port, *scope)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def _claim_endpoint(reactor: Any, mode: ModeSpec, workers: int) -> Claim:
    spec = mode.listen
    if "udp" in mode.transports:
        raise ListenError(f"cannot listen on {spec} for UDP: an endpoint string is for TCP")
    # Endpoints of all kinds are loaded only where somebody wants one.
    from twisted.internet import endpoints

    try:
        endpoint: Any = endpoint_for(reactor, spec.description)
        if isinstance(endpoint, endpoints.TCP4ServerEndpoint | endpoints.TCP6ServerEndpoint):
            # An empty host is every address of the family.
            every = "::" if isinstance(endpoint, endpoints.TCP6ServerEndpoint) else ""
            backlog = endpoint._backlog if "backlog=" in spec.description else BACKLOG
            host, port = endpoint._interface or every, endpoint._port
            return _claim_address("tcp", host, port, workers, backlog, spec)
        if isinstance(endpoint, endpoints.UNIXServerEndpoint):
            return _claim_unix(reactor, endpoint)
        if isinstance(endpoint, endpoints.AdoptedStreamServerEndpoint):
            return _claim_inherited(endpoint)
    except CannotListenError as error:
        reason = reason_of(error.socketError)
        raise ListenError(f"cannot listen on {spec}: {reason}") from error
    except (OSError, ValueError) as error:
        raise ListenError(f"cannot listen on {spec}: {reason_of(error)}") from error
    word = spec.description.partition(":")[0]
    raise WorkersError(
        f"cannot listen on {spec}: several workers cannot share an endpoint of kind `{word}`, only "
        "tcp, tcp6, unix and systemd"
    )


def _claim_unix(reactor: Any, endpoint: Any) -> Claim:
    # A port of Twisted keeps the lock beside the socket's file and removes both at the end. It is
    # paused before the reactor looks at it: only workers accept.
    port = reactor.listenUNIX(
        endpoint._address,
        Factory(),
        backlog=BACKLOG,
        mode=endpoint._mode,
        wantPID=endpoint._wantPID,
    )
    port.stopReading()
    shared = port.socket.dup()
    path = os.fsdecode(endpoint._address)
    return Claim("tcp", socket.AF_UNIX, (os.path.abspath(path), 0), BACKLOG, [shared], port)


def _claim_inherited(endpoint: Any) -> Claim:
    given = socket.socket(fileno=endpoint.fileno)
    given.setblocking(False)
    given.set_inheritable(False)
    name = given.getsockname()
    address = (os.fsdecode(name), 0) if isinstance(name, str | bytes) else (name[0], name[1])
    return Claim("tcp", given.family, address, 0, [given])


class _SharedUNIXPort(UNIXPort):
    """A port whose socket, and the file of that, are other processes' too."""

    _shouldShutdown = False

    def connectionLost(self, reason: Failure) -> None:
        TCPPort.connectionLost(self, reason)


@dataclass(frozen=True, slots=True)
class Given:
    """The socket that a worker was given for one mode and transport; no backlog: it listens."""

    transport: str
    descriptor: int
    family: int
    backlog: int

    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        """Accept connections. Raises `ListenError`."""
        try:
            if self.family == socket.AF_UNIX:
                return self._listen_unix(reactor, factory)
            with socket.socket(fileno=os.dup(self.descriptor)) as own:
                if self.backlog:
                    own.listen(self.backlog)
                # One system call here saves one for each accepted connection.
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port: IListeningPort = reactor.adoptStreamPort(self.descriptor, self.family, factory)
        except OSError as error:
            raise ListenError(f"cannot listen: {reason_of(error)}") from error
        finally:
            os.close(self.descriptor)
        return port

    def listen_for_datagrams(self, reactor: Any, protocol: DatagramProtocol) -> IListeningPort:
        """Take datagrams. Raises `ListenError`."""
        try:
            port: IListeningPort = reactor.adoptDatagramPort(
                self.descriptor, self.family, protocol, LARGEST_DATAGRAM
            )
        except OSError as error:
            raise ListenError(f"cannot listen for UDP: {reason_of(error)}") from error
        finally:
            os.close(self.descriptor)
        return port

    def _listen_unix(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        make: Any = _SharedUNIXPort._fromListeningDescriptor
        port: UNIXPort = make(reactor, self.descriptor, factory)
        port.backlog = self.backlog or BACKLOG
        name = port._bindPath
        if name and not name.startswith(b"\0"):
            # Twisted sets the mode of the file, which here is as it should be.
            port.mode = stat.S_IMODE(os.stat(name).st_mode)
        port.startListening()
        return port


def given_to(claims: Sequence[Sequence[Claim]], worker: int, first: int) -> list[list[Any]]:
    """Describe the sockets of a worker, whose descriptors there begin with ``first``."""
    described = []
    for mode, of_mode in enumerate(claims):
        for each in of_mode:
            described.append([mode, each.transport, first, int(each.family), each.backlog])
            first += 1
    return described

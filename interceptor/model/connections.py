"""The two ends of a session, as hooks see them: `ClientConnection` and `ServerConnection`."""

from __future__ import annotations

from typing import Any, TypeVar

from interceptor.model.identified import Identified
from interceptor.model.nexthop import NextHop

Address = tuple[str, int]
"""Host and port; a Unix socket is its path and 0."""

_C = TypeVar("_C", bound="Connection")


def format_address(address: Address | None) -> str:
    """Return ``host:port``, ``[v6]:port``, or the path of a Unix socket."""
    if address is None:
        return "nowhere"
    host, port = address
    if not port and (not host or "/" in host):
        return host or "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(Identified):
    """What both ends have in common.

    Timestamps are seconds since the epoch, or None while the moment has not come. ``tls_error`` is
    the `interceptor.errors.TLSError` of a failed TLS handshake: its ``code``, ``alert`` (number),
    ``received`` (who sent the alert) and text.
    """

    __slots__ = (
        "address",
        "alpn",
        "cipher_name",
        "clientcert",
        "error",
        "ip_address",
        "sni",
        "timestamp_end",
        "timestamp_start",
        "timestamp_tls_setup",
        "tls_error",
        "tls_established",
        "tls_version",
    )

    address: Address | None
    ip_address: Address | None
    tls_established: bool
    tls_error: Any
    sni: str | None
    alpn: bytes | None
    cipher_name: str | None
    tls_version: str | None
    clientcert: Any
    error: str | None
    timestamp_start: float | None
    timestamp_tls_setup: float | None
    timestamp_end: float | None

    def __init__(
        self,
        address: Address | None,
        ip_address: Address | None = None,
        timestamp_start: float | None = None,
    ) -> None:
        self.address = address
        self.ip_address = ip_address
        self.timestamp_start = timestamp_start
        self.timestamp_tls_setup = None
        self.timestamp_end = None
        self.tls_established = False
        self.tls_error = None
        self.sni = None
        self.alpn = None
        self.cipher_name = None
        self.tls_version = None
        self.clientcert = None
        self.error = None
        self._id = None

    @property
    def ssl_established(self) -> bool:
        """The old name of ``tls_established``."""
        return self.tls_established

    @ssl_established.setter
    def ssl_established(self, value: bool) -> None:
        self.tls_established = value

    @property
    def timestamp_ssl_setup(self) -> float | None:
        """The old name of ``timestamp_tls_setup``."""
        return self.timestamp_tls_setup

    def refuse(self, reason: str = "refused by a script") -> None:
        """Refuse this connection: for hooks that fire before it is used.

        Sets ``error``; whoever fired the event looks at it and goes no further.
        """
        self.error = reason

    def copy(self: _C) -> _C:
        """Return an independent copy that describes the same connection, under the same ``id``."""
        made = self.__class__.__new__(self.__class__)
        for cls in self.__class__.__mro__[:-1]:
            for name in getattr(cls, "__slots__", ()):
                setattr(made, name, getattr(self, name))
        made._id = self.id
        return made


class ClientConnection(Connection):
    """The connection from a client, downstream.

    ``address`` is the client's, ``sockname`` the one it connected to, in transparent mode that of
    the server it meant; ``ip_address`` is the same as ``address`` here. Where the PROXY protocol
    was spoken both are what its header says, and ``proxy_address`` is the peer that sent it;
    otherwise that is None. ``principal`` names who was authenticated, if anybody. ``proxy_mode`` is
    the mode of the listener, as it was written.
    """

    __slots__ = ("principal", "proxy_address", "proxy_mode", "sockname")

    sockname: Address | None
    proxy_address: Address | None
    principal: str | None
    proxy_mode: str

    def __init__(
        self,
        address: Address | None,
        sockname: Address | None = None,
        timestamp_start: float | None = None,
    ) -> None:
        super().__init__(address, address, timestamp_start)
        self.sockname = sockname
        self.proxy_address = None
        self.principal = None
        self.proxy_mode = "regular"

    def connected(self) -> bool:
        """Return whether the connection is open."""
        return self.timestamp_end is None

    def __repr__(self) -> str:
        tls = ", TLS" if self.tls_established else ""
        ended = "" if self.timestamp_end is None else ", closed"
        return f"<ClientConnection {format_address(self.address)}{tls}{ended}>"


class ServerConnection(Connection):
    """A connection to a server, upstream.

    ``address`` is where it is to go, as asked for: a ``serverconnect`` hook may change it.
    ``ip_address`` is the server's numeric address once connected, ``source_address`` our own end.
    ``via`` is the next hop, the proxy it goes through, if any: a ``serverconnect`` hook may set it
    to a text such as ``http://proxy.example:3128``, a `NextHop`, or None. With one, ``ip_address``
    is None unless the name was resolved here. ``cert`` is the server's certificate;
    ``ssl_verification_error`` says why it was not trusted, if so.
    """

    __slots__ = ("cert", "source_address", "ssl_verification_error", "timestamp_tcp_setup", "via")

    source_address: Address | None
    via: NextHop | None
    cert: Any
    ssl_verification_error: str | None
    timestamp_tcp_setup: float | None

    def __init__(self, address: Address | None = None) -> None:
        super().__init__(address)
        self.source_address = None
        self.via = None
        self.timestamp_tcp_setup = None
        self.cert = None
        self.ssl_verification_error = None

    def connected(self) -> bool:
        """Return whether the connection was made and is still open."""
        return self.timestamp_tcp_setup is not None and self.timestamp_end is None

    def __repr__(self) -> str:
        via = "" if self.via is None else f" via {self.via}"
        tls = ", TLS" if self.tls_established else ""
        if self.error is not None:
            state = f", {self.error}"
        elif self.connected():
            state = ", open"
        else:
            state = ", not connected" if self.timestamp_end is None else ", closed"
        return f"<ServerConnection {format_address(self.address)}{via}{tls}{state}>"

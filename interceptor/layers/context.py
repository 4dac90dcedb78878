"""What all layers of one session share, and the base that gives it to them as properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from zope.interface import implementer

from interceptor.interfaces import ILayer

if TYPE_CHECKING:
    from interceptor.layers.destinations import Destination
    from interceptor.layers.environment import Environment
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.session import Session
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.modes import ModeSpec
    from interceptor.model.options import Options


class Context:
    """One session: its connections, its mode, its stack of layers, the bytes seen so far."""

    __slots__ = (
        "client_conn",
        "environment",
        "layers",
        "mode_spec",
        "seen",
        "server_conn",
        "session",
        "via",
    )

    def __init__(
        self,
        environment: Environment,
        session: Session,
        mode: ModeSpec,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
    ) -> None:
        self.environment = environment
        self.session = session
        self.mode_spec = mode
        self.client_conn = client_conn
        self.server_conn = server_conn
        self.layers: list[Layer] = []
        self.seen = b""
        # The Via fields of the CONNECT that asked for what is in the tunnel.
        self.via: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """The mode of the listener that accepted the client, as `Flow.mode` has it."""
        return self.mode_spec.name

    @property
    def options(self) -> Options:
        """The proxy's options."""
        return self.environment.options


@implementer(ILayer)
class Layer:
    """Base of the layers of this package. Subclasses override `start`."""

    name: ClassVar[str] = "layer"

    def __init__(
        self,
        context: Context,
        server: ServerSide | None = None,
        destination: Destination | None = None,
    ) -> None:
        self.context = context
        self.server = server
        """The connection to the server, where there is one already that this layer shall use."""
        self.destination = destination
        """The scheme, the host and the port of the server, all in bytes but the port, if known."""

    @property
    def client_conn(self) -> ClientConnection:
        """The client's connection."""
        return self.context.client_conn

    @property
    def server_conn(self) -> ServerConnection:
        """The server's connection, the latest where there are several."""
        return self.context.server_conn

    @property
    def options(self) -> Options:
        """The proxy's options."""
        return self.context.options

    @property
    def layers(self) -> list[Layer]:
        """The stack of layers of this session, the root first."""
        return self.context.layers

    @property
    def mode(self) -> str:
        """The mode of the listener that accepted the client, such as ``socks5``."""
        return self.context.mode

    @property
    def seen(self) -> bytes:
        """The bytes that the client sent and no layer consumed yet."""
        return self.context.seen

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and the port of the server, if the layer is for one."""
        if self.destination is None:
            return None
        return (self.destination[1].decode("utf-8", "surrogateescape"), self.destination[2])

    @classmethod
    def instead_of(cls, layer: Layer) -> Self:
        """Make a layer to be returned from ``next_layer`` in the place of the one proposed."""
        make: Any = cls
        made: Self = make(layer.context, server=layer.server, destination=layer.destination)
        return made

    def start(self, data: bytes) -> None:
        raise TypeError(f"{type(self).__name__} cannot be started")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.context.client_conn!r}>"


class RootLayer(Layer):
    """The bottom of every stack: what ``clientconnect`` and ``clientdisconnect`` are given."""

    name = "root"

    def refuse(self, reason: str = "refused by a hook") -> None:
        """Close the connection before a byte of it is read."""
        self.context.client_conn.refuse(reason)

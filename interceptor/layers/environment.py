"""What every session of one proxy shares: the clock, the hooks, the connector, the settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred

from interceptor.layers.admission import Admission
from interceptor.layers.allowances import Allowances
from interceptor.layers.bodylimits import BodyMemory
from interceptor.layers.buffermemory import BufferMemory
from interceptor.layers.datagrams import Quota
from interceptor.layers.nameservers import NameServers
from interceptor.layers.nexthop import NextHops
from interceptor.layers.passthrough import Passthrough
from interceptor.layers.proxyauth import make_authentication
from interceptor.layers.proxyprotocol import ProxyProtocol
from interceptor.layers.ring import RingGuard
from interceptor.layers.turns import Turns
from interceptor.layers.windowbudget import WindowBudget
from interceptor.model.backends import Backends
from interceptor.model.codings import DecodeLimits, Strain
from interceptor.net.descriptors import DescriptorGuard
from interceptor.net.handshakes import TLS_OPTIONS, Handshakes

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from twisted.internet.interfaces import IReactorTime

    from interceptor.hooks.bus import HookBus
    from interceptor.interfaces import IDatagramConnector, IUpstreamConnector
    from interceptor.layers.internal import Answer
    from interceptor.layers.proxyauth import ProxyAuthentication, Run
    from interceptor.model.options import Options
    from interceptor.wire.framing import Mode


class Unfinished(Protocol):
    """What a proxy that stops waits for: a session, or a flow over UDP."""

    def shut_down(self) -> None:
        """End when what is under way is through."""

    def abort(self) -> None:
        """End at once."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that layers read, as one immutable snapshot. Sizes in bytes, times in seconds."""

    body_size_limit: int
    body_size_overflow: str
    body_memory_limit: int
    body_memory_total: int
    body_memory_overflow: str
    request_body_rate: int
    response_body_rate: int
    stream_large_bodies: int | None
    store_streamed_bodies: bool
    store_streamed_limit: int
    stream_grpc: bool
    sse_event_limit: int
    message_size_limit: int
    decode_limits: DecodeLimits
    http_framing: Mode
    head_size_limit: int
    header_count_limit: int
    keep_host_header: bool
    keep_h3_offers: bool
    connect_timeout: float
    detect_timeout: float
    read_timeout: float
    head_timeout: float
    body_timeout: float
    idle_timeout: float
    total_timeout: float | None
    tunnel_idle_timeout: float
    udp_idle_timeout: float
    dns_query_timeout: float
    write_timeout: float
    close_timeout: float
    tls_timeout: float
    hook_timeout: float
    connection_strategy: str
    starttls: tuple[str, ...]
    retry_stale: bool
    websocket_message_limit: int
    websocket_frame_limit: int
    websocket_kept_size: int
    websocket_ping_interval: float | None
    http2: bool
    h2_upstream: str
    h2_cleartext: bool
    h2_mirror: bool
    h2_max_streams: int
    h2_window: int
    h2_connection_window: int
    h2_mirror_budget: int
    h2_table_size: int
    h2_continuation_limit: int
    h2_reset_limit: int
    h2_control_limit: int
    h2_ping_interval: float

    @classmethod
    def from_options(cls, options: Options, strain: Strain) -> Settings:
        """Take the snapshot; ``strain`` counts what decoding takes."""
        names = {field.name for field in fields(cls)} - {"decode_limits"}
        values: dict[str, Any] = {name: getattr(options, name) for name in names}
        values["decode_limits"] = DecodeLimits(
            options.decoded_size_limit,
            options.decode_timeout or None,
            options.decoded_ratio_limit,
            options.decoded_ratio_free,
            strain,
        )
        return cls(**values)


class Environment:
    """One proxy instance as its sessions see it. ``settings`` is replaced when options change.

    ``rules`` is the module or object that provides `interceptor.interfaces.IRules`.
    ``internal_hosts`` are those that the proxy answers for by itself, in lower case. ``run`` calls
    what takes its time elsewhere than in the reactor's thread; unless somebody sets it, it calls
    it here. ``authentication`` knows who may use the proxy; None lets everybody. ``datagrams`` is
    what UDP goes by to servers, where there is any. ``sessions`` are all that still has to end.
    ``original_destination`` is called with the transport of a client in transparent mode, and
    returns where that wanted to go; it raises `UpstreamError`.
    """

    __slots__ = (
        "_handshakes",
        "_idle",
        "admission",
        "allowances",
        "authentication",
        "backends",
        "body_memory",
        "buffer_memory",
        "clock",
        "connector",
        "datagram_quota",
        "datagrams",
        "descriptors",
        "hooks",
        "internal_hosts",
        "name_servers",
        "next_hops",
        "options",
        "original_destination",
        "overdue",
        "passthrough",
        "proxy",
        "proxy_protocol",
        "ring",
        "rules",
        "run",
        "sessions",
        "settings",
        "turns",
        "windows",
    )

    def __init__(
        self,
        clock: IReactorTime,
        options: Options,
        hooks: HookBus,
        connector: IUpstreamConnector,
        rules: Any,
    ) -> None:
        self.clock = clock
        self.options = options
        self.hooks = hooks
        self.connector = connector
        self.rules = rules
        self.internal_hosts: dict[bytes, Answer] = {}
        self.passthrough = Passthrough(clock, options)
        self.next_hops = NextHops(options)
        self.name_servers = NameServers(options)
        self.allowances = allowances = Allowances(clock)
        self.admission = Admission(clock, options, allowances)
        self.body_memory = BodyMemory(allowances)
        self.buffer_memory = BufferMemory(allowances)
        self.turns = Turns(clock)
        self.descriptors = DescriptorGuard(clock, self._descriptors_short)
        self.datagrams: IDatagramConnector | None = None
        self.datagram_quota = Quota(allowances)
        self.proxy_protocol = ProxyProtocol(options)
        self.ring = RingGuard(options)
        self.windows = WindowBudget(allowances)
        self.backends = Backends(options.reverse_backends)
        # Whom log messages name, so that they reach the ``log`` event of this proxy and no other.
        self.proxy: object = None
        self.run: Run = maybeDeferred
        self.authentication: ProxyAuthentication | None = None
        self.original_destination: Callable[[Any], tuple[str, int]] = _own_address
        self._handshakes: Handshakes | None = None
        self.settings = Settings.from_options(options, self.turns.strain)
        allowances.configure(options)
        # Sessions, and what is `Unfinished` over UDP.
        self.sessions: set[Any] = set()
        # What is not through by now is ended by us, since the proxy stops.
        self.overdue = False
        self._idle: Deferred[None] | None = None

    @property
    def handshakes(self) -> Handshakes:
        """What TLS is spoken with; made when first needed.

        Raises `OptionsError` or `AuthorityError`.
        """
        if self._handshakes is None:
            self._handshakes = Handshakes(self.options)
        return self._handshakes

    def internal(self, host: bytes) -> Answer | None:
        """Return what answers for ``host``, where that is not a server's affair."""
        return self.internal_hosts.get(host.lower())

    def prepare(self) -> None:
        """Take what the options say by now, and find out whether TLS can be spoken.

        Raises `OptionsError` or `AuthorityError`.
        """
        self.options_changed()
        self.handshakes.prepare()

    def options_changed(self, updated: Set[str] = frozenset()) -> None:
        """Take a new snapshot of the options; exchanges that have begun keep the old one.

        ``updated`` names what changed, if not everything. Raises `OptionsError` or `AuthorityError`
        where TLS cannot be spoken so, or nobody can tell who may use the proxy.
        """
        if not updated or "proxyauth" in updated:
            self.authentication = make_authentication(self.options.proxyauth, self.run, self.proxy)
        if updated & TLS_OPTIONS and self._handshakes is not None:
            self._handshakes = Handshakes(self.options)
        self.passthrough.configure(self.options)
        self.backends = Backends(self.options.reverse_backends)
        self.next_hops.configure(self.options)
        self.name_servers.configure(self.options)
        self.proxy_protocol.configure(self.options)
        self.ring.configure(self.options)
        self.admission.configure(self.options)
        self.allowances.configure(self.options)
        self.descriptors.headroom = self.options.descriptor_headroom
        self.settings = Settings.from_options(self.options, self.turns.strain)

    def _descriptors_short(self, limit: int) -> None:
        self.admission.tell_short(limit, self.proxy)

    def session_ended(self, session: Unfinished) -> None:
        """A session is over."""
        self.sessions.discard(session)
        idle = self._idle
        if idle is not None and not self.sessions:
            self._idle = None
            idle.callback(None)

    async def when_idle(self, timeout: float) -> bool:
        """Wait until the last session has ended; give up, and return False, after ``timeout`` s."""
        if not self.sessions:
            return True
        idle = self._idle = Deferred()
        idle.addTimeout(timeout, self.clock)
        try:
            await idle
        except TimeoutError:
            self._idle = None
            return False
        return True


def _own_address(transport: Any) -> tuple[str, int]:
    """The address that a client connected to, where nothing knows of another."""
    address = transport.getHost()
    return (address.host, address.port)

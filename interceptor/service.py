"""The composition root: builds a whole proxy from options, and is the API for embedding one.

In a Twisted program an `InterceptorService` is a service like any other: give it a parent, or start
it by hand and wait for ``started``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Port
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.addons.onboarding import Onboarding
from interceptor.addons.printer import keep_printer
from interceptor.addons.protocols import declare_protocols
from interceptor.errors import ModeError, OptionsError, WorkersError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.interfaces import IMaster
from interceptor.hooks.shared import Shared
from interceptor.layers import rules
from interceptor.layers.datagrams import DatagramListener
from interceptor.layers.destinations import by_name, check_modes
from interceptor.layers.environment import Environment
from interceptor.layers.listeners import datagram_listener
from interceptor.layers.session import ProxyFactory
from interceptor.model.coreoptions import core_options
from interceptor.model.modes import ModeSpec
from interceptor.model.wording import shown
from interceptor.net.addresses import HostPort, as_pair, show
from interceptor.net.datagrams import DatagramConnector
from interceptor.net.guard import LoopGuard
from interceptor.net.handshakes import TLS_OPTIONS
from interceptor.net.listen import describe, listen, listen_for_both, listen_for_datagrams
from interceptor.net.marks import check_mark
from interceptor.net.originaldst import OriginalDestination, check_listener
from interceptor.net.prefixes import listening_modes
from interceptor.net.resolver import Resolver
from interceptor.net.upstream import ConnectSettings, UpstreamConnector
from interceptor.threads import DaemonThreads

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.internet.protocol import DatagramProtocol

    from interceptor.hooks.shared import Ask
    from interceptor.layers.passthrough import Passthrough
    from interceptor.model.options import Options
    from interceptor.net.authority import Authority

_DRAIN_INTERVAL = 0.1
"""Seconds after which those are told again that the proxy stops who are not through."""

_PASSWORD_THREADS = 2
"""Threads that verify passwords: more would take the processor from those who are in already."""


def make_options(**values: Any) -> Options:
    """Return the core options, with some ``values`` set. Raises `OptionsError`."""
    options = core_options()
    options.update(**values)
    return options


class GivenSocket(Protocol):
    """A socket that is bound already, to listen with."""

    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        """Accept connections. Raises `ListenError`."""

    def listen_for_datagrams(self, reactor: Any, protocol: DatagramProtocol) -> IListeningPort:
        """Take datagrams. Raises `ListenError`."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker has of the whole: its number from 1, its sockets, the way to what is shared.

    The sockets go by the number of the mode, from 0, and ``tcp`` or ``udp``.
    """

    number: int
    sockets: Mapping[tuple[int, str], GivenSocket]
    ask: Ask


@implementer(IMaster)
class InterceptorService(Service):
    """One proxy: its options, its addons, its listeners, its sessions.

    Several may run in one process. ``options`` come from `make_options`, or are gathered from the
    usual places by `interceptor.config.gather_options`. ``addons`` are objects with hooks; they
    come before the scripts that the option ``scripts`` names. ``announce`` is called with one line
    for each listener once everything is up. With ``print_flows`` what the options ``flow_detail``
    and ``view_filter`` choose is printed to standard output, as the command line does. ``part`` is
    for a process that is one of several workers.

    ``started`` fires with the service once all scripts are live and all listeners are bound, and
    fails with an `interceptor.errors.InterceptorError` otherwise.
    """

    name = "interceptor"
    log = Logger()

    started: Deferred[InterceptorService]

    on_shutdown: Callable[[], object] | None = None
    """Called first when a hook asks for ``ctx.master.shutdown()``: ends the program around us."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        reactor: Any = None,
        addons: Iterable[object] = (),
        announce: Callable[[str], object] = lambda line: None,
        print_flows: bool = False,
        part: Part | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.options = core_options() if options is None else options
        self.addons = AddonChain(self.options, reactor=reactor, master=self)
        self._first_addons = tuple(addons)
        self._announce = announce
        self._print_flows = print_flows
        self._part = part
        if part is not None:
            self.addons.proxy.worker = part.number
            self.addons.proxy.shared = Shared(reactor, part.ask)
        self._stop_printing: Callable[[], object] = lambda: None
        self._guard = LoopGuard()
        self._datagram_guard = LoopGuard()
        self._threads = DaemonThreads(reactor, self.options.dns_threads, "dns")
        self._resolver = Resolver(
            reactor,
            self._threads,
            timeout=self.options.dns_timeout,
            cache_ttl=self.options.dns_cache_ttl,
        )
        self._connector = UpstreamConnector(reactor, self._resolver, self._guard)
        self._password_threads = DaemonThreads(reactor, _PASSWORD_THREADS, "passwords")
        self.environment = Environment(
            reactor, self.options, self.addons.bus, self._connector, rules
        )
        self.environment.original_destination = OriginalDestination(
            self._guard, self._connector.made
        )
        self._datagrams = DatagramConnector(reactor, self._resolver, self._datagram_guard)
        self.environment.datagrams = self._datagrams
        self.environment.run = self._password_threads.run
        self.environment.proxy = self.addons.proxy
        self._listeners: list[tuple[ModeSpec, IListeningPort, ProxyFactory | DatagramListener]] = []
        self._modes: tuple[ModeSpec, ...] = ()
        self._is_up = False
        self._stopped: Deferred[None] | None = None

    # IMaster

    @property
    def listeners(self) -> list[str]:
        """The addresses that are listened on, as ``host:port`` or ``unix:path``."""
        # One port may be listened on for UDP and TCP.
        return list(dict.fromkeys(describe(port) for _, port, _ in self._listeners))

    @property
    def addresses(self) -> list[tuple[ModeSpec, HostPort]]:
        """The mode and the address of each listener."""
        found = ((mode, as_pair(port.getHost())) for mode, port, _ in self._listeners)
        return list(dict.fromkeys(found))

    @property
    def authority(self) -> Authority:
        """Whose certificate clients are to trust. Raises `AuthorityError` where there is none."""
        return self.environment.handshakes.authority

    @property
    def passthrough(self) -> Passthrough:
        """Which connections are left alone; what was learned of clients can be read and removed."""
        return self.environment.passthrough

    def shutdown(self) -> Deferred[None]:
        """Stop the proxy; where it is a program of its own, end that (``on_shutdown``)."""
        if self.on_shutdown is not None:
            self.on_shutdown()
        return self.stopService()

    # IService

    def startService(self) -> None:
        """Begin to start; ``started`` tells when that is done."""
        self.running = 1
        self.started = Deferred.fromCoroutine(self._start())

    async def _start(self) -> InterceptorService:
        if self._part is None and self.options.workers > 1:
            raise WorkersError("one service is one process: `workers` is for programs of their own")
        modes = self._modes = listening_modes(self.options.mode)
        self._unsubscribe = self.options.subscribe(self._options_changed)
        try:
            self.addons.start()
            declare_protocols(self.options, self.addons.bus.declared)
            self.addons.add(
                Onboarding(self.environment.internal_hosts, lambda: self.authority),
                *self._first_addons,
            )
            self.addons.load_scripts()
            self.options.check_deferred()
            check_modes(modes, self.addons.bus.declared.layers)
            self.environment.prepare()
            self._check_backends()
            self._configure_connector()
            if self._print_flows:
                self._stop_printing = keep_printer(self.addons, self.reactor)
            for number, mode in enumerate(modes):
                await self._listen(number, mode)
            await self.addons.running()
        except BaseException:
            await self._close_listeners()
            await self._end()
            raise
        self._is_up = True
        for _, _, factory in self._listeners:
            factory.open()
        for mode, address in self.addresses:
            self._announce(f"listening: {mode.name} on {show(address)}")
        return self

    async def _listen(self, number: int, mode: ModeSpec) -> None:
        factory = ProxyFactory(self.environment, mode)
        if self._part is not None:
            self._listen_on(self._part.sockets, number, mode, factory)
            return
        if "udp" not in mode.transports:
            self._listening(mode, await listen(self.reactor, mode.listen, factory), factory)
            return
        datagrams = datagram_listener(self.environment, mode)
        if "tcp" not in mode.transports:
            port = await listen_for_datagrams(self.reactor, mode.listen, datagrams)
            self._listening(mode, port, datagrams)
            return
        ports = await listen_for_both(self.reactor, mode.listen, datagrams, factory)
        self._listening(mode, ports[0], datagrams)
        self._listening(mode, ports[1], factory)

    def _listen_on(
        self,
        sockets: Mapping[tuple[int, str], GivenSocket],
        number: int,
        mode: ModeSpec,
        factory: ProxyFactory,
    ) -> None:
        if "udp" in mode.transports:
            datagrams = datagram_listener(self.environment, mode)
            given = sockets[number, "udp"]
            port = given.listen_for_datagrams(self.reactor, datagrams)
            self._listening(mode, port, datagrams)
        if "tcp" in mode.transports:
            port = sockets[number, "tcp"].listen(self.reactor, factory)
            self._listening(mode, port, factory)

    def _listening(
        self, mode: ModeSpec, port: IListeningPort, factory: ProxyFactory | DatagramListener
    ) -> None:
        datagrams = isinstance(factory, DatagramListener)
        (self._datagram_guard if datagrams else self._guard).add(port)
        self._listeners.append((mode, port, factory))
        self.environment.descriptors.add(port)
        if mode.kind == "transparent":
            check_listener(port, tproxy=self.options.tproxy)

    def _options_changed(self, options: Options, updated: set[str]) -> None:
        if "mode" in updated and self._listeners and listening_modes(options.mode) != self._modes:
            raise OptionsError("`mode` cannot change while the proxy runs")
        if "workers" in updated and self._listeners:
            raise OptionsError("`workers` cannot change while the proxy runs")
        self.environment.options_changed(updated)
        self._check_backends()
        self._resolver.timeout = options.dns_timeout
        self._resolver.cache_ttl = options.dns_cache_ttl
        self._configure_connector()

    def _configure_connector(self) -> None:
        """Take what the options say by now. Raises `CapabilityError`."""
        options = self.options
        if options.socket_mark is not None:
            check_mark(options.socket_mark)
        self._connector.settings = ConnectSettings(
            attempt_delay=options.happy_eyeballs_delay,
            mark=options.socket_mark,
            recognise=any(mode.kind == "transparent" for mode in self._modes),
        )
        self._datagrams.mark = options.socket_mark

    def _check_backends(self) -> None:
        """Raise `ModeError` where a listener would have no server at all."""
        for mode in self._modes:
            if by_name(mode) and not self.environment.backends:
                raise ModeError(
                    f"mode {shown(mode.text)} names no server: name one, as in "
                    "`reverse:http://HOST`, or several in the option `reverse_backends`"
                )

    def reload(self, exported: Mapping[str, Any]) -> None:
        """Take other options, as `Options.exported` gives them, and read files and scripts again.

        Connections go on; exchanges that have begun keep the options that they began with. Raises
        `OptionsError` where options are refused, of which none is changed then, and
        `InterceptorError` where a file cannot be read. A script that cannot be loaded again goes on
        as it was, and the log says so.
        """
        self.options.follow(exported)
        self.environment.options_changed(TLS_OPTIONS | {"proxyauth"})
        self.addons.reload_scripts()
        self.options.check_deferred()

    def stopService(self) -> Deferred[None]:
        """Stop accepting, give exchanges ``shutdown_grace`` seconds to finish, end the rest."""
        if self._stopped is None:
            self.running = 0
            self._stopped = Deferred.fromCoroutine(self._stop())
        return self._stopped

    async def _stop(self) -> None:
        if not self._is_up:
            # Not started, or failed to; or still starting, which then cleans up by itself.
            if hasattr(self, "started") and not self.started.called:
                self.started.addErrback(lambda failure: failure.trap(CancelledError))
                self.started.cancel()
            return
        self._is_up = False
        self._accept_what_waits()
        datagrams = []
        for each in self._listeners:
            if isinstance(each[2], DatagramListener):
                each[2].close()
                datagrams.append(each)
        self._listeners = [each for each in self._listeners if each not in datagrams]
        await self._close_listeners()
        await self._drain()
        # What came over UDP was answered by the port that it came to.
        self._listeners = datagrams
        await self._close_listeners()
        await self._end()

    def _accept_what_waits(self) -> None:
        """Let in who has connected already: when a listener is closed they would be reset."""
        sessions = self.environment.sessions
        for _, port, factory in self._listeners:
            if isinstance(factory, ProxyFactory) and isinstance(port, Port):
                before = -1
                while port.connected and before != len(sessions):
                    before = len(sessions)
                    port.doRead()

    async def _close_listeners(self) -> None:
        listeners, self._listeners = self._listeners, []
        self.environment.descriptors.clear()
        for _, port, _ in listeners:
            self._guard.remove(port)
            self._datagram_guard.remove(port)
        await DeferredList(
            [maybeDeferred(port.stopListening) for _, port, _ in listeners], consumeErrors=True
        )

    async def _drain(self) -> None:
        environment = self.environment
        sessions = environment.sessions

        def shut_down() -> None:
            for session in tuple(sessions):
                session.shut_down()

        # Repeated for what is spoken on a connection later: inside of a tunnel, above TLS.
        again = LoopingCall(shut_down)
        again.clock = self.reactor
        again.start(_DRAIN_INTERVAL)
        try:
            if sessions:
                await environment.when_idle(self.options.shutdown_grace)
        finally:
            again.stop()
        environment.overdue = True
        for session in tuple(sessions):
            session.abort()
        if sessions:
            await self.environment.when_idle(1.0)

    async def _end(self) -> None:
        self._stop_printing()
        await self.addons.shutdown()
        self._resolver.stop()
        self._password_threads.stop()

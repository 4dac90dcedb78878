"""A client and a server joined as they are; what passes is watched for the moment of STARTTLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import InterceptorError
from interceptor.layers.failures import describe
from interceptor.layers.relay import Opener, Relay
from interceptor.layers.watches import ChannelBoundError, binding_watch, starttls_watch
from interceptor.model.connections import format_address
from interceptor.net.gate import HOOK, PEER, SETUP
from interceptor.wire.starttls import Phase, StartTLSWatch

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.flow import Flow
    from interceptor.net.sides import Side
    from interceptor.wire.channelbinding import BindingWatch

HANDSHAKE: Final = 0x16
"""What the first record of TLS begins with."""

ANSWER: Final = 64
"""A reason for a `ReadGate`: what the server answers to a request for TLS comes first."""


class Joint:
    """Joins a client and a server, in plain text and perhaps later in TLS.

    Without anything to watch for it leaves both to a bare `Relay`. Subclasses tell hooks.
    """

    log = Logger()

    flow: Flow | None = None

    def __init__(self, context: Context, passthrough: str | None = None) -> None:
        """``passthrough`` says why TLS is left alone here, if so."""
        self.context = context
        self._passthrough = passthrough
        self._destination: Destination | None = None
        self._opener: Opener | None = None
        self._server: ServerSide | None = None
        self._watch: StartTLSWatch | None = None
        self._binding: BindingWatch | None = None
        # What stands on the client's side. A hello that comes out of the blue has it looked at
        # closely, for as long as it takes to see that it is one.
        self._upward: Relay | None = None
        self._closely = False
        self._joining = False

    def start(
        self, server: ServerSide | None, destination: Destination | None, data: bytes
    ) -> None:
        """Connect where there is no ``server`` yet, and join the two.

        ``data`` is what the client has sent already.
        """
        self._destination = destination
        if server is not None:
            # It may go while hooks are waited for.
            server.hold(b"")
        opener = self._opener = Opener(data, self._not_opened)
        self.context.session.side.use(opener)
        opener.open(self._open(server), self._opened)

    async def _open(self, server: ServerSide | None) -> ServerSide:
        if server is None:
            assert self._destination is not None
            server = await self.context.session.servers.open(self._destination, self.flow)
        return server

    def _opened(self, server: ServerSide, data: bytes) -> None:
        self._opener = None
        if self._passthrough is None:
            self._watch = starttls_watch(self.context, server, self._destination)
            self._binding = binding_watch(self.context, server)
        self._join(server, data)

    def _join(self, server: ServerSide, data: bytes) -> None:
        """Let the two speak; ``data`` is what the client has sent already."""
        context = self.context
        client = context.session.side
        close_timeout = context.environment.settings.close_timeout
        if server.closing:
            client.close(close_timeout)
            self._ended(None)
            return
        if client.closing:
            server.close(close_timeout)
            self._ended(None)
            return
        self._server = server
        upward, downward = self._relays(client, server)
        early, server.early = server.early, b""
        self._joining = True
        client.use(upward, data)
        server.reading.resume(SETUP)
        server.use(downward, early)
        self._joining = False
        self._change_relays()

    def _relays(self, client: Side, server: ServerSide) -> tuple[Relay, Relay]:
        """Make what stands on the client's side, and what stands on the server's."""
        settings = self.context.environment.settings
        timeouts = (settings.tunnel_idle_timeout, settings.close_timeout)
        kinds = self._kinds()
        upward, downward = kinds[0](server, *timeouts), kinds[1](client, *timeouts)
        for relay, from_client in ((upward, True), (downward, False)):
            if isinstance(relay, WatchedRelay):
                relay.belong_to(self, from_client, self._watch)
        self._upward = upward
        return upward, downward

    def _kinds(self) -> tuple[type[Relay], type[Relay]]:
        """What it takes to see what is watched for, and no more."""
        watch = self._watch
        if watch is None and self._binding is None:
            return Relay, Relay
        if watch is not None and watch.waits_for_hello and not self._closely:
            return HelloRelay, AnswerRelay
        return JointRelay, JointRelay

    # What arrives

    def received(self, relay: JointRelay, data: bytes | None) -> None:
        """Take what arrived, or the end of it."""
        if data is None:
            self._gave_up(relay)
            relay.pass_end()
            return
        try:
            data = self._admit(relay.from_client, data)
        except InterceptorError as error:
            self._stop(error)
            return
        if data:
            relay.forward(data)
        self._follow()

    def _admit(self, from_client: bool, data: bytes) -> bytes:
        """Let the watches see what arrived; return what may be passed on. Raises."""
        if self._watch is not None:
            return (self._watch.client_sent if from_client else self._watch.server_sent)(data)
        binding = self._binding
        if binding is not None:
            mechanism = binding.client_sent(data) if from_client else None
            if mechanism is not None:
                self._bound(mechanism)
        return data

    def _gave_up(self, relay: JointRelay) -> bool:
        """Wait no longer for the rest of what seemed to be a hello; return whether one was due."""
        watch = self._watch
        if relay.from_client and watch is not None and watch.phase is Phase.HELLO:
            watch.give_up()
            self._follow()
            return True
        return False

    def _pass(self, data: bytes) -> None:
        """Pass on what was held back of the client's, and see what that leads to."""
        upward = self._upward
        assert isinstance(upward, JointRelay)
        upward.forward(data)
        self._follow()

    def _follow(self, *, dropped: bool = False) -> None:
        """Act on what the watches made of what has been passed on, or was ``dropped`` instead."""
        watch = self._watch
        if watch is None:
            if self._binding is not None and self._binding.over:
                self._binding = None
                self._change_relays()
            return
        if dropped and watch.phase in (Phase.ASKED, Phase.AGREED):
            # The other one has never heard of it.
            watch.withdraw()
        client = self.context.session.side
        match watch.phase:
            case Phase.AGREED:
                self._begin_tls(watch)
            case Phase.ASKED:
                client.reading.pause(ANSWER)
            case Phase.HELLO:
                client.deadline.set(self.context.environment.settings.tls_timeout)
            case _:
                held = watch.release()
                if watch.phase is Phase.OVER:
                    self._watch = None
                if held:
                    self._pass(held)
                elif self._watch is None or watch.waits_for_hello:
                    self._closely = False
                    self._change_relays()
                if watch.phase in (Phase.PLAIN, Phase.OVER):
                    client.reading.resume(ANSWER)

    def _change_relays(self, data: bytes = b"") -> None:
        """Watch as closely as it takes now. ``data`` has just come from the client."""
        client, server = self.context.session.side, self._server
        if server is None or client.closing or server.closing or self._joining:
            return
        if type(self._upward) is not self._kinds()[0]:
            upward, downward = self._relays(client, server)
            server.use(downward)
            client.use(upward, data)

    def look_closely(self, data: bytes) -> None:
        """The client has sent what may be a hello."""
        self._closely = True
        self._change_relays(data)

    def stalled(self, relay: JointRelay) -> bool:
        """Nothing has come for a while; return whether that has been dealt with."""
        return self._gave_up(relay)

    # TLS

    def _begin_tls(self, watch: StartTLSWatch) -> None:
        """Shake hands with the server, and then with the client; neither has to speak before."""
        self._watch = None
        context, server = self.context, self._server
        assert server is not None
        # Whatever they were paused for had to do with what is over.
        context.session.side.reading.resume(PEER | HOOK | ANSWER)
        server.reading.resume(PEER | HOOK | ANSWER)
        server.hold(b"")
        rules = context.environment.rules
        layer = rules.starttls_layer(context, server, self._destination, self, watch.protocol)
        context.layers.append(layer)
        layer.start(watch.hello)

    def secured(self, server: ServerSide, protocol: str) -> None:
        """Both legs are encrypted: go on inside of TLS."""
        self._binding = binding_watch(self.context, server, protocol)
        self._join(server, b"")

    def left_alone(self, server: ServerSide, reason: str, hello: bytes) -> None:
        """TLS begins, but not with us: go on with what it looks like from outside."""
        self._join(server, hello)

    def tls_failed(self, error: Exception) -> None:
        """There is no TLS; both connections are being closed, and the log has been told why."""

    def _bound(self, mechanism: str) -> None:
        """The client ties its authentication to a certificate that is not the server's."""
        binding = self._binding
        assert binding is not None
        error = ChannelBoundError(mechanism)
        if binding.postgresql:
            raise error
        # The server will refuse it in its own words.
        self._log(error)

    # The end

    def lost(self, relay: WatchedRelay, reason: Failure) -> None:
        """One of the connections is gone, and the other with it."""

    def _stop(self, error: Exception) -> None:
        """End both connections; tell the client why, where there is a way to."""
        client, server = self.context.session.side, self._server
        self._ended(error)
        answer = getattr(error, "answer", b"")
        if answer and not client.closing:
            client.write(answer)
            client.close(self.context.environment.settings.close_timeout, linger=True)
        else:
            client.abort()
        if server is not None:
            # Its end must not take the answer along.
            server.hold(b"")
            server.abort()

    def _not_opened(self, error: Exception) -> None:
        """There was no joining the two; who waits for it drops the client."""
        self._ended(error)

    def _ended(self, error: Exception | None) -> None:
        """It is over, and ``error`` is why, unless one of the two has just closed."""
        if error is not None:
            self._log(error)

    def _log(self, error: Exception) -> None:
        code, _, message = describe(error)
        server = self._server
        self.log.info(
            "{client} {server}: {code}: {message}",
            client=format_address(self.context.client_conn.address),
            server=format_address(None if server is None else server.server_conn.address),
            code=code,
            message=message,
            proxy=self.context.environment.proxy,
        )


class WatchedRelay(Relay):
    """A relay of which a joint hears something."""

    from_client = False
    _joint: Joint

    def belong_to(self, joint: Joint, from_client: bool, watch: StartTLSWatch | None) -> None:
        """Say whose bytes these are, before the first comes."""
        self._joint = joint
        self.from_client = from_client

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._joint.lost(self, reason)


class JointRelay(WatchedRelay):
    """A relay whose bytes the joint sees before they are passed on."""

    def dataReceived(self, data: bytes) -> None:
        self._touch(self._idle_timeout)
        self._joint.received(self, data)

    def forward(self, data: bytes) -> None:
        """Pass on bytes."""
        if data and not self._other.closing:
            self._write(data)

    def read_closed(self) -> None:
        self._joint.received(self, None)

    def pass_end(self) -> None:
        """Pass on the end of the bytes."""
        super().read_closed()

    def timed_out(self) -> None:
        if self._joint.stalled(self):
            self._touch(self._idle_timeout)
        else:
            super().timed_out()


class NotingRelay(WatchedRelay):
    """A relay that keeps up to date whose turn it is to speak."""

    _watch: StartTLSWatch

    def belong_to(self, joint: Joint, from_client: bool, watch: StartTLSWatch | None) -> None:
        super().belong_to(joint, from_client, watch)
        assert watch is not None
        self._watch = watch


class HelloRelay(NotingRelay):
    """Passes on what a client sends, unless it begins like a hello that might be due."""

    def dataReceived(self, data: bytes) -> None:
        # Written out, here and below, because it is paid for all that passes.
        watch = self._watch
        if watch.answered:
            if data[0] == HANDSHAKE:
                self._joint.look_closely(data)
                return
            watch.answered = False
        self._write(data)
        self._touch(self._idle_timeout)


class AnswerRelay(NotingRelay):
    """Passes on what a server sends, and notes that it has."""

    def dataReceived(self, data: bytes) -> None:
        self._watch.answered = True
        self._write(data)
        self._touch(self._idle_timeout)

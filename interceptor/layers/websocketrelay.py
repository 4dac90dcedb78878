"""Two peers of a WebSocket joined: messages pulled, shown to hooks, and passed on in order."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, InterceptorError, UpstreamError
from interceptor.layers.buffermemory import Account
from interceptor.layers.failures import ClientGoneError, client_gone
from interceptor.layers.flowcontrol import Holding, note_failure
from interceptor.layers.hooking import run_hook
from interceptor.layers.websocketpeer import WebSocketPeer
from interceptor.model.connections import format_address
from interceptor.model.secrets import mask_url
from interceptor.model.websocket import ABNORMAL, CLOSE, DATA_TYPES, PONG, WebSocketData
from interceptor.net.gate import BACKLOG, SETUP
from interceptor.wire.websocket import WebSocketError, WebSocketLimits, WebSocketReader
from interceptor.wire.websocketwrite import MessageEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from interceptor.layers.context import Context
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.websocket import WebSocketMessage
    from interceptor.net.sides import Side
    from interceptor.wire.websocketdeflate import Deflate

GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011

_MOST_IN_A_ROW: Final = 256
"""Messages that are passed on before everybody else has a turn."""


class WebSocketRelay(Holding):
    """Joins a client and a server that speak WebSocket, and tells of it.

    It is the `FlowControl` of its flow from ``websocket_start`` to ``websocket_end``, and the
    `WebSocketControl` of ``flow.websocket``. One message after the other is taken from the peers
    and through the hooks, both directions included; what has not been taken stays where it is, and
    above a bound its peer is not read from. `busy` says that a message is being dealt with.
    """

    log = Logger()

    def __init__(
        self,
        context: Context,
        flow: HTTPFlow,
        with_client: Deflate | None,
        with_server: Deflate | None,
    ) -> None:
        environment = context.environment
        self.context = context
        self.flow = flow
        self.settings = settings = environment.settings
        self._strain = environment.turns.strain
        self._hooks: Any = environment.hooks
        if flow.websocket is None:
            flow.websocket = WebSocketData()
        self.data: WebSocketData = flow.websocket
        self.busy = True
        self._resumed = None
        self._todo: deque[WebSocketPeer] = deque()
        self._injected: deque[WebSocketMessage] = deque()
        self._injected_size = 0
        # How much is kept of the messages, each and all.
        self._sizes: deque[int] = deque()
        self._kept = self._room = 0
        self._holding = Account(environment.buffer_memory)
        self._firing = False
        message, decode = settings.websocket_message_limit, settings.decode_limits
        limits = WebSocketLimits(
            message,
            settings.websocket_frame_limit,
            min(message, decode.size),
            decode.seconds,
            decode.strain,
        )

        def peer(from_client: bool, own: Deflate | None, other: Deflate | None) -> WebSocketPeer:
            reader = WebSocketReader(from_client, limits, own)
            encoder = MessageEncoder(not from_client, other, own)
            interval = settings.websocket_ping_interval
            return WebSocketPeer(self, from_client, reader, encoder, interval)

        self._client = peer(True, with_client, with_server)
        self._server = peer(False, with_server, with_client)
        self._client.other, self._server.other = self._server, self._client

    def start(self, client: Side, server: ServerSide, data: bytes) -> None:
        """Fire ``websocket_start``, and pass on what comes; ``data`` has come from the client."""
        self.flow._control = self
        self.data.attach(self)
        early, server.early = server.early, b""
        self._todo.extend((self._client, self._server))
        self._client.side, self._server.side = client, server
        client.use(self._client, data)
        if server.closing:
            self._server.ended = True
        else:
            server.use(self._server, early)
            server.reading.resume(SETUP)
        self._begin()

    # The turn

    def pump(self, peer: WebSocketPeer) -> None:
        """Pass on what has come from a peer, as far as hooks and the other peer let it."""
        self.busy = True
        self._todo.append(peer)
        self._go_on()

    def postpone(self, peer: WebSocketPeer) -> None:
        """Look at a peer when its turn comes."""
        if peer not in self._todo:
            self._todo.append(peer)

    def room(self, peer: WebSocketPeer) -> None:
        """A peer takes more again."""
        if self.busy:
            self.postpone(peer.other)
        elif not self._over:
            self.pump(peer.other)

    def _go_on(self) -> None:
        todo = self._todo
        in_a_row = 0
        while not self._over:
            if self._injected:
                in_a_row += 1
                if in_a_row > _MOST_IN_A_ROW:
                    self._put_off()
                    return
                if self._next_injected():
                    if self._waiting is not None:
                        return
                    continue
            if not todo:
                break
            if not self._take_from(todo.popleft()):
                return
        self._flush()
        self.busy = False

    def _take_from(self, peer: WebSocketPeer) -> bool:
        """Pass on what one peer has sent; False where a hook or others are waited for."""
        reader, other = peer.reader, peer.other
        in_a_row = 0
        while not other.full:
            in_a_row += 1
            if in_a_row > _MOST_IN_A_ROW or (self._strain.crowded and reader.inflates):
                self.postpone(peer)
                self._put_off()
                return False
            try:
                message = reader.next_message(time.time())
            except WebSocketError as error:
                self._broke_rules(peer, error)
                return True
            if message is None:
                if peer.ended:
                    self._peer_ended(peer)
                else:
                    peer.side.reading.resume(BACKLOG)
                break
            if not self._handle(peer, message):
                self.postpone(peer)
                return False
            if self._over:
                return True
            if self._injected:
                self.postpone(peer)
                break
        other.flush()
        return True

    def _put_off(self) -> None:
        """Go on when everybody else has had a turn."""
        self._flush()
        if self._strain.crowded:
            self.context.environment.turns.wait().addCallback(lambda result: self._go_on())
        else:
            self.context.environment.clock.callLater(0, self._go_on)

    def _flush(self) -> None:
        self._client.flush()
        self._server.flush()

    def _handle(self, peer: WebSocketPeer, message: WebSocketMessage) -> bool:
        """Show a message to hooks, and pass it on; False where that has to wait."""
        data = self.data
        if message.type in DATA_TYPES:
            if message.from_client:
                data.messages_from_client += 1
            else:
                data.messages_from_server += 1
            fire = self._hooks.websocket_message
        elif message.type == PONG and peer.answers_ping(message.content):
            return True
        else:
            fire = self._hooks.websocket_control
            if message.type == CLOSE and data.close_code is None:
                data.close_code, data.close_reason = message.close_code, message.text
                data.closed_by_client = peer.from_client
        data.messages.append(message)
        if fire is not None:
            waiting = self._fire(fire)
            if waiting is not None or self._held:

                def go_on() -> None:
                    self._pass_on(peer, message)
                    self._go_on()

                if not self._wait(waiting, go_on):
                    return False
        if not self._over:
            self._pass_on(peer, message)
        return True

    def _pass_on(self, peer: WebSocketPeer, message: WebSocketMessage) -> None:
        other = peer.other
        if message.type == CLOSE and not message.injected:
            self._closed(peer, message)
        elif other.close_sent or other.side.closing:
            message.dropped = True
        elif message.dropped:
            other.encoder.dropped(message)
        else:
            other.send(other.encoder.encode(message))
        self._keep(message)

    def _keep(self, message: WebSocketMessage) -> None:
        """Bound what is kept of the messages, all that came before included."""
        message.settle()
        size = message.kept_size
        self._sizes.append(size)
        self._kept += size
        if self._kept > self._room:
            self._make_room()

    def _make_room(self) -> None:
        """Have more room for what is kept, or keep less: the latest message in any case."""
        most_ever = self.settings.websocket_kept_size
        limit = self._room = self._holding.room(self._kept, most_ever)
        if self._kept <= limit:
            return
        messages, sizes = self.data.messages, self._sizes
        if len(messages) != len(sizes):
            # A hook has taken some away.
            sizes.clear()
            sizes.extend(each.kept_size for each in messages)
            self._kept = sum(sizes)
        # Down to three quarters, so that it is not the whole list that moves for each message.
        most, count = limit - limit // 4, 0
        while self._kept > most and len(sizes) > 1:
            self._kept -= sizes.popleft()
            count += 1
        del messages[:count]
        self.data.forgotten += count
        if self._kept > limit:
            # Larger than what may be kept, for as long as it is the latest.
            self._holding.update(self._kept)
            self._room = 0
        else:
            self._room = self._holding.room(self._kept, most_ever)

    # Hooks that do not answer at once

    def _begin(self) -> None:
        """Fire ``websocket_start``, and pass on nothing before it is answered."""
        fire = self._hooks.websocket_start
        waiting = None if fire is None else self._fire(fire)
        must_wait = waiting is not None or self._held
        if not must_wait or self._wait(waiting, self._go_on):
            self._go_on()

    def _fire(self, fire: Any) -> Deferred[Any] | None:
        """Run an event's hooks; what they asked for takes effect when all have been called."""
        self._firing = True
        try:
            waiting: Deferred[Any] | None = fire(self.flow)
        except HookFailed as error:
            self._fail(error)
            return None
        finally:
            self._firing = False
        if self.flow.killed and not self._over:
            self._waiting = waiting
            self._kill(self._kill_error())
            return None
        return waiting

    def _wait(self, waiting: Deferred[Any] | None, go_on: Callable[[], object]) -> bool:
        self._flush()
        return super()._wait(waiting, go_on)

    # Messages that no peer sent

    def inject(self, message: WebSocketMessage) -> None:
        """Implement `WebSocketControl.inject`."""
        target = self._server if message.from_client else self._client
        if self._over or target.close_sent or target.side.closing:
            raise InterceptorError("the WebSocket has been closed", "websocket-not-open")
        size = message.kept_size
        if self._injected_size + size > self.settings.websocket_message_limit:
            raise InterceptorError(
                f"the {target.name} does not take what is injected as fast as it comes",
                "websocket-inject-full",
            )
        self._injected_size += size
        self._injected.append(message)
        if not self.busy:
            self.busy = True
            self._go_on()

    def _next_injected(self) -> bool:
        """Send the first injected message; False where there is no room for it yet."""
        message = self._injected[0]
        peer = self._client if message.from_client else self._server
        if peer.other.full:
            return False
        self._injected.popleft()
        self._injected_size -= message.kept_size
        self._handle(peer, message)
        return True

    # The closing handshake

    def _closed(self, peer: WebSocketPeer, message: WebSocketMessage) -> None:
        """A peer has sent a close: pass it on, or see that it is the answer to one."""
        other = peer.other
        peer.close_received = True
        if not other.close_sent and not other.side.closing:
            other.send(other.encoder.encode(message))
            other.wait_for_close()
        self._flush()
        if peer.close_sent and (other.close_received or other.ended):
            self._retire()

    def close(self, code: int, reason: str) -> None:
        """Implement `WebSocketControl.close`."""
        if self._over:
            return
        if self.data.close_code is None:
            self.data.close_code, self.data.close_reason = code, reason
        for peer in (self._client, self._server):
            peer.send_close(code, reason)
            peer.flush()

    def shut_down(self) -> None:
        """The proxy stops: tell both, and wait for their answers."""
        self.close(GOING_AWAY, "the proxy is shutting down")

    def close_overdue(self, peer: WebSocketPeer) -> None:
        """A peer does not answer a close."""
        self.log.debug(
            "{flow}: no answer to a close from the {peer}",
            flow=self.flow,
            peer=peer.name,
            proxy=self.context.environment.proxy,
        )
        other = peer.other
        if other.close_received:
            # It has waited long enough: it gets the answer that it is due.
            other.send_close(self.data.close_code or GOING_AWAY, self.data.close_reason or "")
        self._flush()
        self._retire(linger=peer)

    def _retire(self, linger: WebSocketPeer | None = None) -> None:
        """Both have said all: close the connections."""
        for peer in (self._client, self._server):
            peer.retire(peer is linger)
        self._end(None)

    # What goes wrong

    def _broke_rules(self, peer: WebSocketPeer, error: WebSocketError) -> None:
        """A peer has broken the protocol: tell it with which code, and let the other go."""
        data = self.data
        if data.close_code is None:
            data.close_code, data.close_reason = error.close_code, str(error)
        other = peer.other
        self._flush()
        peer.send_close(error.close_code, str(error))
        other.send_close(
            GOING_AWAY if peer.from_client else INTERNAL_ERROR,
            f"the {peer.name} broke the protocol ({error.code})",
        )
        self._flush()
        peer.retire(True)
        other.retire(True)
        self._end(InterceptorError(f"the {peer.name} broke the protocol: {error}", error.code))

    def no_room(self, peer: WebSocketPeer) -> None:
        """There is no memory for what a peer has not completed yet."""
        if not self._over:
            error = self.context.environment.buffer_memory.error("a message was too large")
            self._broke_rules(peer, WebSocketError(1009, str(error), error.code))

    def gone(self, peer: WebSocketPeer) -> None:
        """A connection has ended while a hook is busy: only a reset makes what waits pointless."""
        lost = peer.lost
        if lost is not None and not lost.check(ConnectionDone):
            self._peer_ended(peer)

    def _peer_ended(self, peer: WebSocketPeer) -> None:
        """All that a peer has sent was passed on, and nothing more will come."""
        if self._over:
            return
        other, lost = peer.other, peer.lost
        if peer.close_received or self.data.close_code is not None:
            # It does not wait for the other's answer, or was the one to answer.
            self._flush()
            self._retire()
            return
        self.data.close_code, self.data.close_reason = ABNORMAL, ""
        self.data.closed_by_client = peer.from_client
        self._flush()
        if lost is None or lost.check(ConnectionDone):
            peer.side.close(self.settings.close_timeout)
            other.side.close(self.settings.close_timeout)
            self._end(None)
            return
        other.side.abort()
        self._end(self._reset(peer))

    def _reset(self, peer: WebSocketPeer) -> InterceptorError:
        if peer.from_client:
            return client_gone(self.context.environment, "reset")
        address = format_address(self.flow.server_conn.address)
        return UpstreamError(f"the connection to {address} was reset", "server-reset")

    def silent(self, peer: WebSocketPeer) -> None:
        """A peer does not answer a ping: its end of the connection is dead."""
        seconds = self.settings.websocket_ping_interval
        message = f"the {peer.name} has answered no ping in {seconds:g} s"
        self._give_up(peer, message, InterceptorError(message, "websocket-ping-timeout"))

    def not_reading(self, peer: WebSocketPeer) -> None:
        """A peer does not take what it is sent."""
        if peer.from_client:
            error: InterceptorError = ClientGoneError(
                "the client stopped reading", "client-not-reading"
            )
        else:
            error = UpstreamError("the server stopped reading", "write-timeout")
        self._give_up(peer, str(error), error)

    def _give_up(self, peer: WebSocketPeer, reason: str, error: InterceptorError) -> None:
        if self._over:
            return
        if self.data.close_code is None:
            self.data.close_code, self.data.close_reason = ABNORMAL, reason
        other = peer.other
        other.send_close(GOING_AWAY if peer.from_client else INTERNAL_ERROR, reason)
        other.flush()
        peer.side.abort()
        other.retire(True)
        self._end(error)

    def idle(self, peer: WebSocketPeer) -> None:
        """Nothing has moved for long."""
        self.close(GOING_AWAY, "nothing was sent for too long")

    def _fail(self, error: Exception) -> None:
        self._end(error)
        for peer in (self._client, self._server):
            peer.side.abort()

    # The flow's control

    def killed(self, flow: HTTPFlow) -> None:
        if self._waiting is not None:
            # It may be that very hook that calls: let it come to rest before it is cancelled.
            self.context.environment.clock.callLater(0, super().killed, flow)
        elif not self._firing:
            super().killed(flow)

    # The end

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        flow, data = self.flow, self.data
        data.timestamp_end = time.time()
        if data.close_code is None:
            data.close_code, data.close_reason = ABNORMAL, ""
        if error is not None:
            note_failure(
                self.log,
                flow,
                error,
                self.context.environment.proxy,
                url=mask_url(flow.request.pretty_url),
            )
        self._todo.clear()
        self._injected.clear()
        self._holding.close()
        for peer in (self._client, self._server):
            # Its connection may take a while to close.
            peer.reader.close()
            peer.holding.close()
        self._stop_waiting()
        flow.detach()
        data.attach(None)
        fire = self._hooks.websocket_end
        if fire is not None:
            run_hook(fire, flow)

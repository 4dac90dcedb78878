"""Passing messages on between a client and a server, one after another, as a codec reads them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater

from interceptor.errors import InterceptorError, RemoteProtocolError, UpstreamError
from interceptor.layers.buffermemory import FREE, Account
from interceptor.layers.conversation import Conversation
from interceptor.layers.destinations import RAW
from interceptor.layers.detect import Tunnel, switch
from interceptor.layers.failures import KilledError, client_gone
from interceptor.layers.serverside import ServerSide, start
from interceptor.layers.task import Task, Wakeup
from interceptor.layers.tcp import TCPLayer
from interceptor.layers.tls import TLSLayer
from interceptor.model.connections import format_address
from interceptor.net.gate import BACKLOG, SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.context import Layer
    from interceptor.layers.messages import MessageLayer
    from interceptor.model.messageflow import Message
    from interceptor.wire.messagecodec import MessageCodec

_HIGH_WATER: Final = 65536
"""Bytes of messages that wait for their turn, from which on their sender is not read."""

_MOST_IN_A_ROW: Final = 256
"""Messages that are passed on before everybody else has a turn."""


class MessageExchange:
    """One conversation: reads messages, shows them to hooks, and passes them on.

    One task does all of it, so that no two messages are under way at the same time. A direction
    whose receiver is slow is left alone until it has caught up; the other one goes on.
    """

    def __init__(self, layer: MessageLayer, codec: MessageCodec) -> None:
        context = layer.context
        self._layer = layer
        self._context = context
        self._settings = context.environment.settings
        self._talk = Conversation(layer, self._stop, self._inject, self._flush)
        self.codec = codec
        codec.limit = self._settings.message_size_limit
        self._client = _Intake(self, True)
        self._server: _Intake | None = None
        self._held = layer.server
        self._injected: deque[Message] = deque()
        self._turn = True
        self._wakeup: Wakeup | None = None
        self._replaced = False
        self._task = Task(self._run(), self._finished)

    def start(self, data: bytes) -> None:
        """Take over the client's side, on which ``data`` has come."""
        if self._held is not None:
            self._talk.flow.server_conn = self._held.server_conn
            self._held.hold(b"")
        self._context.session.side.use(self._client, data)
        self._task.start()

    # The task

    async def _run(self) -> None:
        await self._talk.begin()
        if self._held is not None or self._layer.server_first:
            await self._open()
        in_a_row = 0
        while True:
            await self._send_injected()
            message = self._next()
            if message is not None:
                await self._pass_on(message)
                if self.codec.next_layer is not None:
                    self._replaced = True
                    return
                in_a_row += 1
                if in_a_row == _MOST_IN_A_ROW:
                    in_a_row = 0
                    self._flush()
                    await deferLater(self._context.environment.clock, 0)
                continue
            in_a_row = 0
            self._flush()
            if self._pass_ends():
                return
            if not self._injected:
                await self._more()

    def _next(self) -> Message | None:
        """Take a message that can be passed on, from either peer in turn."""
        for from_client in (self._turn, not self._turn):
            if not self._is_full(self._server if from_client else self._client):
                message = self.codec.next_message(from_client)
                if message is not None:
                    self._turn = not from_client
                    flow = self._talk.flow
                    if from_client:
                        flow.messages_from_client += 1
                    else:
                        flow.messages_from_server += 1
                    return message
        return None

    async def _pass_on(self, message: Message) -> None:
        talk, codec = self._talk, self.codec
        data = message.raw
        if talk.listens(message):
            before = codec.encode(message) if data and talk.changes(message) else None
            await talk.tell(message)
            if before is not None and not message.dropped:
                # What nobody changed is passed on as it came, even if we would write it otherwise.
                after = codec.encode(message)
                data = data if after == before else after
        if not data and not message.dropped:
            data = codec.encode(message)
        await self._send_injected(before=True)
        if message.dropped:
            codec.dropped(message)
        else:
            await self._send(message, data)

    async def _send(self, message: Message, data: bytes) -> None:
        receiver = self._client
        if message.from_client:
            receiver = self._server or await self._open()
        receiver.queue(data)
        self.codec.sent(message)

    def _flush(self) -> None:
        """Write what was passed on: all that came at once leaves at once."""
        self._client.flush()
        if self._server is not None:
            self._server.flush()

    async def _send_injected(self, *, before: bool = False) -> None:
        """Send what hooks have injected; with ``before``, in front of the latest message."""
        while self._injected:
            message = self._injected.popleft()
            message.raw = self.codec.encode(message)
            self._talk.keep(message, before_latest=before)
            await self._send(message, message.raw)

    async def _open(self) -> _Intake:
        """Begin to speak with the server, connecting where nobody has."""
        side, self._held = self._held, None
        if side is None:
            self._flush()
            destination = self._layer.destination
            if destination is None:
                raise UpstreamError("there is no server to connect to", "no-destination")
            side = await self._context.session.servers.open(destination, self._talk.flow)
        intake = self._server = _Intake(self, False)
        if side.closing:
            raise self._server_gone()
        start(side, intake)
        return intake

    def _pass_ends(self) -> bool:
        """Pass on that a peer has nothing more to say; return whether all is said."""
        client, server = self._client, self._server
        if server is None:
            return client.ended
        for sender, receiver in ((client, server), (server, client)):
            if sender.ended and not sender.end_passed and not self._is_full(receiver):
                sender.end_passed = True
                receiver.side.half_close()
        if server.lost:
            return server.end_passed
        return client.end_passed and server.end_passed

    async def _more(self) -> None:
        """Wait until something has come, or there is room again for what has."""
        wakeup = self._wakeup = Wakeup(self._forget)
        for intake in (self._client, self._server):
            if intake is not None:
                intake.expect(self._is_full(self._server if intake.from_client else self._client))
        await wakeup

    def _forget(self) -> None:
        self._wakeup = None

    def wake(self) -> None:
        """Something has changed: let the task look, unless it is busy."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.wake()

    @property
    def busy(self) -> bool:
        """Whether the task is with an earlier message, or not there yet."""
        return self._wakeup is None

    def _is_full(self, receiver: _Intake | None) -> bool:
        if receiver is None or receiver.lost:
            return False
        side = receiver.side
        if not side.writing.paused:
            return False
        if not receiver.slow:
            receiver.slow = True
            side.when_writable(self._settings.write_timeout).addBoth(receiver.caught_up)
        return True

    # What the peers do

    def received(self, intake: _Intake, data: bytes) -> None:
        """Bytes have come."""
        if self._task.done:
            return
        self._talk.count(intake.from_client, len(data))
        if not intake.from_client and self._client.held:
            self._client.side.deadline.set(self._settings.read_timeout)
        self.codec.receive(data, intake.from_client)
        intake.count_held()
        if self.busy and len(self.codec.buffer(intake.from_client)) > _HIGH_WATER:
            intake.side.reading.pause(BACKLOG)
        self.wake()

    def ended(self, intake: _Intake) -> None:
        """A peer will say no more."""
        if self._task.done:
            return
        intake.ended = True
        self.codec.receive_end(intake.from_client)
        self.wake()

    def lost(self, intake: _Intake, reason: Failure) -> None:
        """A connection is gone. What its peer has said before is still passed on."""
        if self._task.done:
            return
        clean = intake.ended or reason.check(ConnectionDone) is not None
        if intake.from_client:
            if clean and self._pass_ends_reached():
                self._stop(None)
            else:
                self._stop(client_gone(self._context.environment))
        elif clean:
            self.ended(intake)
        else:
            self._stop(self._server_gone())

    def _pass_ends_reached(self) -> bool:
        return self._client.ended and not len(self.codec.buffer(True))

    def timed_out(self, intake: _Intake) -> None:
        """A peer has sent nothing for as long as it may."""
        if self._task.done:
            return
        if intake.held:
            address = format_address(self._talk.flow.server_conn.address)
            self._stop(UpstreamError(f"no answer from {address} in time", "read-timeout", 504))
            return
        if intake.partial:
            who = "client" if intake.from_client else "server"
            self._stop(
                RemoteProtocolError(f"the {who} did not end its message in time", "message-timeout")
            )
            return
        other = self._server if intake.from_client else self._client
        left = None if other is None or other.lost else other.side.deadline.remaining
        if self.busy or left:
            # Idle is when neither moves, and no hook is being waited for.
            intake.side.deadline.set(left or self._settings.tunnel_idle_timeout)
        else:
            self._stop(None)

    def write_timed_out(self, intake: _Intake) -> None:
        """A peer does not take what it is sent."""
        who = "client" if intake.from_client else "server"
        self._stop(UpstreamError(f"the {who} stopped reading", "write-timeout"))

    def _server_gone(self) -> InterceptorError:
        address = format_address(self._talk.flow.server_conn.address)
        return UpstreamError(f"the connection to {address} was reset", "server-reset")

    # Ends

    def _inject(self, message: Message) -> None:
        self._injected.append(message)
        self.wake()

    def _stop(self, error: Exception | None) -> None:
        """End it all, from outside of the task."""
        if not self._task.done:
            self._task.abort(_Over() if error is None else error)

    def _finished(self, error: BaseException | None) -> None:
        for intake in (self._client, self._server):
            if intake is not None:
                intake.holding.close()
        if not isinstance(error, KilledError):
            self._flush()
        if self._replaced and error is None:
            self._hand_over()
            return
        timeout = self._settings.close_timeout
        client = self._context.session.side
        server = self._held if self._server is None else self._server.side
        if error is None or isinstance(error, _Over):
            client.close(timeout)
            if server is not None:
                server.close(timeout)
            self._end(None)
            return
        if isinstance(error, KilledError) or not isinstance(error, InterceptorError):
            client.abort()
            if server is not None:
                server.abort()
        elif not client.closing:
            words = self.codec.refusal(error)
            if words:
                client.reading.resume(SETUP)
                client.write(words)
                client.close(timeout, linger=True)
            else:
                client.abort()
        if server is not None:
            # It gets what was passed on before: whole messages.
            server.close(timeout)
        self._end(error if isinstance(error, Exception) else None)

    def _end(self, error: Exception | None) -> None:
        # The connections may take a while to close, and what is left here waits for the garbage
        # collector: that is not to be all that was said.
        self.codec.close()
        talk = self._talk
        del self._talk
        talk.end(error)

    def _hand_over(self) -> None:
        """Let another layer have the connections."""
        self._talk.end(None)
        context, destination = self._context, self._layer.destination
        data = self.codec.buffer(True).take_rest()
        server: Side | None = self._held
        if self._server is not None and not self._server.lost:
            server = self._server.side
        if not isinstance(server, ServerSide) or destination is None:
            context.session.side.abort()
            return
        server.hold(self.codec.buffer(False).take_rest())
        if self.codec.next_layer == "detect":
            Tunnel(context, server, destination).start(data)
            return
        layer: Layer = TCPLayer(context, server, destination)
        if self.codec.next_layer == "tls":
            # The scheme says that both speak TLS, whatever was spoken before.
            scheme = b"tls" if destination[0] in RAW else b"https"
            layer = TLSLayer(context, (scheme, *destination[1:]), server)
        switch(context, layer, data)


class _Over(Exception):  # noqa: N818 - it is no error
    """Everything is said: it ends without a fault."""


class _Intake(SideProtocol):
    """Stands on a side, and hands to the exchange what comes."""

    def __init__(self, exchange: MessageExchange, from_client: bool) -> None:
        self._exchange = exchange
        self.from_client = from_client
        self.ended = self.end_passed = self.lost = False
        self.slow = False
        """Whether the peer has not yet taken what it was sent."""
        self.partial = False
        """Whether a part of a message has come, so that the rest is due."""
        self.held = False
        """Whether no more is read from the client before the server has answered."""
        self._queued: list[bytes] = []
        self._queued_size = 0
        self.holding = Account(exchange._context.environment.buffer_memory)
        settings = exchange._settings
        self._idle_timeout = settings.tunnel_idle_timeout
        self._due_timeout = settings.body_timeout if from_client else settings.read_timeout

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self._idle_timeout)

    def queue(self, data: bytes) -> None:
        """Send the peer ``data``, at once or with what follows."""
        self._queued.append(data)
        self._queued_size += len(data)
        if self._queued_size > _HIGH_WATER:
            self.flush()

    def flush(self) -> None:
        """Send what is queued."""
        if self._queued:
            data = b"".join(self._queued)
            self._queued.clear()
            self._queued_size = 0
            if not self.side.closing:
                self.side.write(data)

    def dataReceived(self, data: bytes) -> None:
        self.side.deadline.set(self._due_timeout if self.partial else self._idle_timeout)
        self._exchange.received(self, data)

    def count_held(self) -> None:
        """Count what has come and was not passed on yet; end it all where there is no room."""
        held = len(self._exchange.codec.buffer(self.from_client))
        if (held > FREE or self.holding.counted) and not self.holding.update(held):
            memory = self._exchange._context.environment.buffer_memory
            self._exchange._stop(memory.error("a message was too large"))

    def expect(self, receiver_is_full: bool) -> None:
        """Read on, unless what has come already finds no room."""
        if self.holding.counted:
            self.count_held()
        if self.lost:
            return
        codec = self._exchange.codec
        waiting = len(codec.buffer(self.from_client))
        holds = codec.holds(self.from_client)
        full = waiting > (_HIGH_WATER if receiver_is_full or holds else codec.limit)
        if full:
            self.side.reading.pause(BACKLOG)
        else:
            self.side.reading.resume(BACKLOG)
        held = full and holds
        partial = self.partial
        if not receiver_is_full:
            partial = not holds and codec.buffer(self.from_client).pending > 0
        if held is self.held and partial is self.partial:
            return
        self.held, self.partial = held, partial
        if held:
            self.side.deadline.set(self._exchange._settings.read_timeout)
        else:
            self.side.deadline.set(self._due_timeout if partial else self._idle_timeout)

    def caught_up(self, result: object) -> None:
        """The peer has taken what it was sent, or is gone."""
        self.slow = False
        self._exchange.wake()

    def read_closed(self) -> None:
        if not self.ended:
            self._exchange.ended(self)

    def timed_out(self) -> None:
        self._exchange.timed_out(self)

    def write_timed_out(self) -> None:
        self._exchange.write_timed_out(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._exchange.lost(self, reason)

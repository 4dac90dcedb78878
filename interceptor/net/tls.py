"""TLS on a side: a protocol to the connection below, a transport to the side above."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.errors import TLSError
from interceptor.net.gate import PEER
from interceptor.net.overtcp import OverTCP
from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tlsfailures import TruncatedError, closed_error, failure_error, timeout_error
from interceptor.net.tlsrecords import RecordCounter
from interceptor.net.transports import IStreamTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

ABOVE: Final = 32
"""A reason for a `ReadGate`: who reads what TLS decrypts does not want any more now."""

_RECORD: Final = 16384
_READ: Final = 65536
_WRITE: Final = 65536
# A record's header, nonce, padding, authentication tag and content type, and an empty record before
# it: never more than this.
_OVERHEAD: Final = 256
_UNSENT_LIMIT: Final = 1 << 20

_HANDSHAKE, _OPEN, _LOST = range(3)


Established = Callable[["TLSTransport"], object]
Failed = Callable[["TLSTransport", TLSError], object]


@implementer(ITCPTransport, IStreamTransport)
class TLSTransport(SideProtocol, OverTCP):
    """TLS over one `Side`, and the transport of the protocol above, usually another `Side`.

    Put it on the side below with ``below.use(transport, data)``: that starts the handshake, and
    what was received before goes into it. Then one of three things happens:

    - ``on_established(transport)`` is called, after ``above.makeConnection``. It has to put a
      protocol on the side above, or to pause its reading, before it returns.
    - ``on_failed(transport, error)`` is called with a `TLSError`; the side above hears nothing. The
      side below still stands, so that something else may be sent: close or abort it.
    - The owner drops the side below itself, and is not called.

    Ends are kept apart. The peer's ``close_notify`` is the end of what can be read, and what is
    written still leaves. `loseWriteConnection` sends ours and goes on reading. Once both have been
    sent the connection below is closed. An end of the connection below without ``close_notify``
    sets `truncated` and loses the connection above with `TruncatedError`, after what came before
    it, because whatever was to come may be missing (RFC 8446, section 6.1). `truncate` ends it in
    the same way for the peer.

    Nothing is gathered: a write becomes records, and one write below, at once. While the gate below
    is full the producer above is paused; while the reader above is paused, so is the side below.
    """

    log = Logger()

    truncated = False
    """Whether the peer's bytes ended without a ``close_notify``."""

    bytes_sent = False
    """Whether any byte of TLS has been sent, so that a plain text alert makes no sense any more."""

    error: TLSError | None = None
    """Why the handshake failed, or TLS broke down later."""

    def __init__(
        self,
        connection: SSL.Connection,
        above: IProtocol,
        *,
        peer: str,
        on_established: Established,
        on_failed: Failed,
        on_session: Callable[[SSL.Connection], object] | None = None,
        handshake_timeout: float | None = None,
        close_timeout: float = 5.0,
    ) -> None:
        """Make a transport of a connection with memory buffers, in its accept or connect state.

        ``peer`` is "client" or "server", for messages. ``on_session`` is called whenever the
        connection holds a session that is worth keeping. After ``handshake_timeout`` seconds the
        handshake fails with ``tls-timeout``; None leaves the deadline of the side below to others.
        """
        self.connection = connection
        """OpenSSL's connection, for questions about what was negotiated."""
        self.peer = peer
        self._above: Any = above
        self._on_established: Established | None = on_established
        self._on_failed: Failed | None = on_failed
        self._on_session = on_session
        self._handshake_timeout = handshake_timeout
        self._close_timeout = close_timeout
        self._state = _HANDSHAKE
        self._records = RecordCounter()
        # How many records may hold plaintext that has not been read.
        self._due = 0
        # The first and the last bytes of the handshake that were received, for messages.
        self._beginning = self._latest = b""
        self._paused = False
        self._reading = False
        self._resuming: IDelayedCall | None = None
        # The peer's end: close_notify, or a FIN that is only acted on when all has been read.
        self._read_ended = False
        self._fin = False
        # Our end: whether close_notify has been sent, and whether everything is over after it.
        self._write_ended = False
        self._disconnecting = False
        self._telling_write_end = False
        self._session_kept = False
        # Plaintext that OpenSSL does not take during a handshake, and whether it is to end then.
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._end_after_unsent = False
        self._producer: Any = None
        self._producer_paused = False
        self._below: IStreamTransport
        self._write_below: Callable[[bytes], None] = _ignore

    @property
    def below(self) -> IStreamTransport:
        """The transport that carries the records."""
        return self._below

    # What the side below tells

    def attach(self, side: Side) -> None:
        super().attach(side)
        self._below = side.transport
        self._write_below = side.write
        side.writing.on_change = self._below_full
        if self._handshake_timeout is not None:
            side.deadline.set(self._handshake_timeout)
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        if self._state == _LOST or self._read_ended:
            return
        self.connection.bio_write(data)
        self._due += self._records.feed(data)
        if self._state == _OPEN:
            if self._due and not self._paused:
                self._receive()
        else:
            if len(self._beginning) < 8:
                self._beginning += data[:8]
            self._latest = data
            self._shake_hands()

    def read_closed(self) -> None:
        if self._state == _HANDSHAKE:
            self._handshake_failed(closed_error(self.peer))
        elif self._state == _OPEN:
            self._fin = True
            if self._read_ended:
                if self._write_ended:
                    self._close_below()
            elif not self._due or self._disconnecting:
                self._truncate()

    def timed_out(self) -> None:
        if self._state == _HANDSHAKE:
            self._handshake_failed(timeout_error(self.peer))
        else:
            self.side.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state == _HANDSHAKE:
            if reason.check(ConnectionAborted, ConnectionDone):
                # We did that: an end that the peer makes is reported by `read_closed`.
                self._forget()
            else:
                self._handshake_failed(closed_error(self.peer))
        elif self._state == _OPEN:
            self._lose(reason)
        # The side below refers to us: without this only the collector would free the two.
        del self.side

    def _below_full(self, full: bool) -> None:
        if not full:
            self.side.reading.resume(PEER)
            if self._telling_write_end:
                self._tell_write_end()
        producer = self._producer
        if producer is None:
            return
        if full:
            if not self._producer_paused:
                self._producer_paused = True
                producer.pauseProducing()
        elif self._producer_paused and not self._unsent:
            self._producer_paused = False
            producer.resumeProducing()

    # The handshake

    def _shake_hands(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
        except SSL.Error as error:
            self._handshake_failed(self._failure(error))
        except Exception:
            # A callback raised: pyOpenSSL has told OpenSSL to fail, and hands on why.
            self.log.failure("a callback of TLS with the {peer} failed", peer=self.peer)
            self._flush()
            text = f"TLS with the {self.peer} failed because of a fault of the proxy's own"
            self._handshake_failed(TLSError(text, "internal-error", peer=self.peer))
        else:
            self._flush()
            self._handshake_done()

    def _handshake_done(self) -> None:
        above, established = self._above, self._on_established
        assert above is not None
        assert established is not None
        self._state = _OPEN
        self._latest = b""
        self._on_established = self._on_failed = None
        self.side.deadline.clear()
        above.makeConnection(self)
        if self._state == _OPEN:
            established(self)
        if self._state == _OPEN and self._unsent:
            self._send_unsent()
        if self._due and not self._paused:
            self._receive()

    def _handshake_failed(self, error: TLSError) -> None:
        failed = self._on_failed
        self._forget()
        self.error = error
        if failed is not None:
            failed(self, error)

    def _failure(self, error: SSL.Error) -> TLSError:
        """Send what OpenSSL wants to say about its error, and turn it into ours."""
        return failure_error(
            error,
            self.peer,
            beginning=self._beginning,
            latest=self._latest,
            output=self._flush(),
            established=self._state == _OPEN,
        )

    # Reading

    def _receive(self) -> None:
        """Pass on what can be decrypted, until nothing is left or the reader has had enough."""
        if self._reading:
            return
        self._reading = True
        try:
            while self._due and not self._paused and self._state == _OPEN:
                self._decrypt()
        finally:
            self._reading = False
        if self._state != _OPEN or self._paused:
            return
        if self._fin and not self._read_ended:
            self._truncate()
        else:
            self.side.reading.resume(ABOVE)

    def _decrypt(self) -> None:
        """Decrypt at most `_READ` bytes, and what stands in front of them; deliver them."""
        recv = self.connection.recv
        pieces: list[bytes] = []
        size = 0
        failure: SSL.Error | None = None
        ended = False
        try:
            while self._due and size < _READ:
                piece = recv(_RECORD)
                self._due -= 1
                size += len(piece)
                pieces.append(piece)
        except SSL.WantReadError:
            self._due = 0
            # Whatever was no plaintext may have asked for an answer: a new key, a new handshake.
            if self._flush() and self.side.writing.paused:
                # Who does not listen is not listened to.
                self.side.reading.pause(PEER)
            if self._unsent:
                self._send_unsent()
        except SSL.ZeroReturnError:
            self._due = 0
            ended = True
        except SSL.Error as error:
            self._due = 0
            failure = error
        if pieces and not self._disconnecting:
            if not self._session_kept:
                self._session_kept = True
                self._keep_session()
            self._above.dataReceived(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._state != _OPEN:
            return
        if ended:
            self._end_of_input()
        elif failure is not None:
            self._broken(failure)

    def _end_of_input(self) -> None:
        """The peer's ``close_notify`` has come."""
        self._read_ended = True
        if self._disconnecting:
            return
        above = self._above
        if IHalfCloseableProtocol.providedBy(above):
            above.readConnectionLost()
            if self._state == _OPEN and self._write_ended:
                self._close_below()
        else:
            self.loseConnection()

    def _truncate(self) -> None:
        """The connection below has ended, TLS has not."""
        self.truncated = True
        if not self._disconnecting:
            error = closed_error(self.peer, established=True)
            self._lose(Failure(TruncatedError(str(error))))
            self.side.close(self._close_timeout)

    def _broken(self, error: SSL.Error) -> None:
        """OpenSSL cannot go on."""
        self.error = self._failure(error)
        self.truncated = True
        self._lose(Failure(self.error))
        self.side.close(self._close_timeout)

    # ITransport

    def write(self, data: bytes) -> None:
        if self._state != _OPEN or self._write_ended or self._unsent or self._end_after_unsent:
            self._write_slowly(data)
            return
        size = len(data)
        if size > _WRITE:
            self._write_pieces(data)
            return
        if not size:
            return
        try:
            sent = self.connection.send(data)
        except SSL.Error as error:
            self._not_sent(data, error)
            return
        # A record holds 16 KiB, so this is room for `_OVERHEAD` with each.
        room = size + _OVERHEAD + (size >> 6)
        output = self.connection.bio_read(room)
        self._write_below(output)
        if len(output) == room:
            self._flush()
        if sent != size:
            self.write(data[sent:])

    def _write_pieces(self, data: bytes) -> None:
        """Encrypt in pieces, so that OpenSSL's buffers do not grow to the size of a body."""
        view = memoryview(data)
        for start in range(0, len(data), _WRITE):
            # A loss or a handshake in between: `write` sees to that.
            self.write(bytes(view[start : start + _WRITE]))

    def _write_slowly(self, data: bytes) -> None:
        """Write where not everything is as usual: before and after the time, or in a handshake."""
        if self._state == _LOST or self._write_ended or self._end_after_unsent or not data:
            return
        self._unsent.append(bytes(data))
        self._unsent_size += len(data)
        if self._unsent_size > _UNSENT_LIMIT:
            self.abortConnection()
        elif self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _not_sent(self, data: bytes, error: SSL.Error) -> None:
        self._flush()
        if isinstance(error, SSL.WantReadError):
            # The peer wants a new handshake first (TLS 1.2).
            self._write_slowly(data)
        elif self._state == _OPEN:
            self._broken(error)

    def _send_unsent(self) -> None:
        """A handshake is over: send what waited for it."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_size = 0
        ending, self._end_after_unsent = self._end_after_unsent, False
        self.write(data)
        if self._unsent:
            self._end_after_unsent = ending
        elif self._state == _OPEN:
            if ending:
                self._end_output()
            self._below_full(self.side.writing.paused)

    def _flush(self) -> bytes:
        """Send what OpenSSL wants sent; return the last of it."""
        output = b""
        try:
            while True:
                output = self.connection.bio_read(_RECORD)
                self.bytes_sent = True
                self._write_below(output)
                if len(output) < _RECORD:
                    return output
        except SSL.WantReadError:
            return output

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Send ``close_notify``, and go on reading."""
        if self._state != _OPEN or self._write_ended or self._end_after_unsent:
            return
        if self._unsent:
            self._end_after_unsent = True
        else:
            self._end_output()

    def _end_output(self) -> None:
        self._write_ended = True
        self._shut_down()
        if self._disconnecting:
            self._close_below()
            return
        if self._read_ended:
            self._close_below()
        elif self.side.writing.paused:
            # Too much is in front of it to say that it has been sent.
            self._telling_write_end = True
        else:
            self._tell_write_end()

    def _tell_write_end(self) -> None:
        self._telling_write_end = False
        if IHalfCloseableProtocol.providedBy(self._above):
            self._above.writeConnectionLost()

    def _shut_down(self) -> None:
        try:
            self.connection.shutdown()
        except SSL.Error:
            # Its state allows no alert now, as within a handshake: then the end comes without.
            pass
        self._flush()

    def loseConnection(self, *ignored: object) -> None:
        """Send what was written and ``close_notify``; close without waiting for the peer's."""
        if self._disconnecting:
            return
        self._disconnecting = True
        if self._state == _HANDSHAKE:
            self.side.close(self._close_timeout)
        elif self._state == _OPEN:
            if self._unsent:
                self._end_after_unsent = True
                self.side.deadline.set(self._close_timeout)
            elif self._write_ended:
                self._close_below()
            else:
                self._end_output()

    def truncate(self) -> None:
        """Send what was written, and close the connection below without ``close_notify``."""
        if self._state != _LOST:
            self._close_below()

    def _close_below(self) -> None:
        self._disconnecting = True
        self.side.close(self._close_timeout)

    def abortConnection(self) -> None:
        if self._state != _LOST:
            self._disconnecting = True
            self.side.abort()

    def getPeer(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return self._below.getPeer()

    def getHost(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return self._below.getHost()

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer}: {self._producer} is registered")
        if not streaming:
            raise ValueError("only streaming producers can be told when TLS is written to")
        if self._state == _LOST:
            producer.stopProducing()
            return
        self._producer = producer
        self._producer_paused = False
        if self._unsent or self.side.writing.paused:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._producer_paused = False

    # IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True
        if self._state == _OPEN:
            self.side.reading.pause(ABOVE)

    def resumeProducing(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._state != _OPEN:
            return
        if not self._due and not self._fin:
            self.side.reading.resume(ABOVE)
        elif not self._reading and self._resuming is None:
            # Not from within this call: who resumes a transport does not expect to be called.
            self._resuming = self.side._clock.callLater(0, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        if self._state == _OPEN and not self._paused:
            self._receive()

    def stopProducing(self) -> None:
        self.loseConnection()

    # The end

    def _keep_session(self) -> None:
        if self._on_session is not None:
            self._on_session(self.connection)

    def _lose(self, reason: Failure) -> None:
        """Tell the side above, once."""
        above = self._above
        if self.error is None:
            if self._session_kept or self._read_ended:
                self._keep_session()
            # Without this OpenSSL takes the session for a bad one when the connection is freed.
            self.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        self._forget()
        if above is not None:
            above.connectionLost(reason)

    def _forget(self) -> None:
        """Let go of what would keep a lost connection alive."""
        self._state = _LOST
        self._above = self._producer = self._on_session = None
        self._on_established = self._on_failed = None
        self._unsent.clear()
        self._write_below = _ignore
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None


def _ignore(data: bytes) -> None:
    """Take the place of the write of a connection that is gone."""

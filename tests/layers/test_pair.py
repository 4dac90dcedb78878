"""Layers that are made of a pair of Twisted protocols."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols import amp
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols import irc
from zope.interface import implementer

from interceptor import layers
from interceptor.net.memory import RecorderFactory
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import PROXY_ADDRESS, EventRecorder, MemoryProxy
from tests.layers.linecontract import LineContract
from tests.net.producers import NotingProducer


class Half(LineReceiver):
    """One half of a line-oriented proxy: shows hooks each line, and passes it on."""

    delimiter = b"\n"
    layer: Any = None
    peer: Any = None
    from_client = False
    lost: Failure | None = None

    def lineReceived(self, line: bytes) -> None:
        told = self.layer.tell(layers.BytesMessage(self.from_client, line))
        told.addCallback(self.pass_on)

    def pass_on(self, message: Any) -> None:
        if not message.dropped:
            self.peer.sendLine(message.content)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


def factory(protocol: Any) -> Any:
    made: Any = Factory.forProtocol(protocol)
    made.noisy = False
    return made


class HalvesLayer(layers.PairLayer):
    """Two halves."""

    name = "halves"
    port = 7
    half: ClassVar[Any] = Half
    made: ClassVar[list[Any]] = []

    def server_factory(self) -> Any:
        return factory(self.half)

    def client_factory(self) -> Any:
        return factory(self.half)

    def join(self, downstream: Any, upstream: Any) -> None:
        super().join(downstream, upstream)
        downstream.layer = upstream.layer = self
        downstream.from_client = True
        self.made.append(self)

    def injected(self, message: Any) -> None:
        receiver = self.upstream if message.from_client else self.downstream
        receiver.sendLine(message.content)


class Declares:
    def __init__(self, *kinds: Any) -> None:
        self.kinds = kinds

    def load(self, loader: Any) -> None:
        for each in self.kinds:
            loader.add_layer(each)


class PairTestCase(SynchronousTestCase):
    kind: Any = HalvesLayer

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        self.patch(HalvesLayer, "made", [])
        options.setdefault("mode", f"reverse:{self.kind.name}://pairs.test")
        proxy = MemoryProxy(Declares(self.kind), *addons, **options)
        self.addCleanup(proxy.close)
        self.origin = proxy.origin("pairs.test", 7)
        self.client = proxy.client()
        return proxy

    @property
    def layer(self) -> Any:
        """The layer of the newest connection."""
        return HalvesLayer.made[-1]


class PairTests(LineContract, PairTestCase):
    word = "halves"

    def test_lines_are_passed_on(self) -> None:
        recorder = EventRecorder("halves_start", "serverconnect", "halves_message", "halves_end")
        self.proxy(recorder)
        self.client.send(b"one\ntw")
        self.origin.send(b"three\n")
        self.assertEqual((self.origin.received, self.client.received), (b"one\n", b"three\n"))
        self.client.close()
        self.assertEqual(
            recorder.names,
            ["halves_start", "serverconnect", "halves_message", "halves_message", "halves_end"],
        )
        (flow,) = recorder.arguments("halves_end")
        self.assertEqual((flow.messages_from_client, flow.messages_from_server), (1, 1))
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (6, 6))

    def test_a_server_that_speaks_first(self) -> None:
        proxy = self.proxy()
        proxy.advance(1)
        self.origin.send(b"hello\n")
        self.assertEqual(self.client.received, b"hello\n")

    def test_hooks_change_and_drop(self) -> None:
        def change(flow: Any) -> None:
            flow.message.content = flow.message.content.upper()
            if flow.message.content == b"TWO":
                flow.message.drop()

        self.proxy(EventRecorder(halves_message=change))
        self.client.send(b"one\ntwo\nthree\n")
        self.assertEqual(self.origin.received, b"ONE\nTHREE\n")

    def test_one_after_another(self) -> None:
        waiting: list[Deferred[None]] = []

        def wait(flow: Any) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        proxy = self.proxy(EventRecorder(halves_message=wait))
        self.client.send(b"one\ntwo\n")
        self.assertEqual((len(waiting), self.origin.received), (1, b""))
        before = self.client.link.server.bytes_read
        self.client.send(b"three\n")
        self.assertEqual(self.client.link.server.bytes_read, before)
        for _ in range(3):
            waiting.pop().callback(None)
            proxy.flush()
        self.assertEqual(self.origin.received, b"one\ntwo\nthree\n")

    def test_killing(self) -> None:
        recorder = EventRecorder("halves_error", halves_message=lambda flow: flow.kill())
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(recorder.arguments("halves_error")[0].error.code, "killed")
        self.assertTrue(self.client.closed)
        self.assertEqual(self.origin.received, b"")

    def test_injecting(self) -> None:
        recorder = EventRecorder("halves_message")
        proxy = self.proxy(recorder)
        self.client.send(b"one\n")
        (flow,) = recorder.arguments("halves_message")
        flow.inject(True, layers.BytesMessage(False, b"mine"))
        flow.inject(False, layers.BytesMessage(False, b"too"))
        proxy.flush()
        self.assertEqual((self.client.received, self.origin.received), (b"mine\n", b"one\ntoo\n"))

    def test_the_end_of_the_server_is_the_end_of_both(self) -> None:
        self.proxy()
        self.client.send(b"one\n")
        self.origin.send(b"last\n")
        self.origin.close()
        self.assertEqual((self.client.received, self.client.closed), (b"last\n", True))
        self.assertIsNotNone(self.layer.upstream.lost)
        self.assertIsNotNone(self.layer.downstream.lost)

    def test_no_server(self) -> None:
        recorder = EventRecorder("halves_error", "halves_end")
        proxy = self.proxy(recorder)
        proxy.network.refuse(("pairs.test", 7))
        self.client.send(b"one\n")
        self.assertEqual(recorder.names, ["halves_error", "halves_end"])
        self.assertEqual(recorder.arguments("halves_end")[0].error.code, "connect-refused")
        self.assertTrue(self.client.closed)

    def test_a_protocol_that_raises(self) -> None:
        class Broken(Half):
            def lineReceived(self, line: bytes) -> None:
                raise ValueError("no")

        self.patch(HalvesLayer, "half", Broken)
        recorder = EventRecorder("halves_error")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(recorder.arguments("halves_error")[0].error.code, "internal-error")
        self.assertTrue(self.client.closed)

    def test_a_factory_that_makes_nothing(self) -> None:
        self.patch(HalvesLayer, "half", lambda: None)
        self.patch(HalvesLayer, "server_factory", lambda layer: Nothing())
        recorder = EventRecorder("halves_error")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(recorder.arguments("halves_error")[0].error.code, "no-protocol")

    def test_tls_on_both_legs(self) -> None:
        recorder = EventRecorder("halves_message", "tls_established")
        proxy = self.proxy(recorder, mode="reverse:halvess://secure.test:70")
        origin = proxy.tls_origin("secure.test", 70, alpn=())
        self.client.start_tls("secure.test", alpn=()).send(b"one\n")
        self.assertEqual(origin.received, b"one\n")
        origin.send(b"two\n")
        self.assertEqual(self.client.received, b"two\n")
        self.assertEqual(recorder.names.count("tls_established"), 2)

    def test_in_a_tunnel_by_a_hook(self) -> None:
        recorder = EventRecorder(
            "halves_message",
            next_layer=lambda layer: HalvesLayer.instead_of(layer) if layer.address else None,
        )
        self.proxy(recorder, mode="regular")
        self.client.connect("pairs.test", 7).send(b"one\n")
        self.assertEqual(self.origin.received, b"one\n")
        self.assertEqual(len(recorder.arguments("halves_message")), 1)


class Nothing(Factory):
    noisy = False

    def buildProtocol(self, addr: Any) -> None:
        return None


class LazyLayer(HalvesLayer):
    """Answers by itself, and connects when it is asked to."""

    name = "lazy"
    lazy = True

    def server_factory(self) -> Any:
        class Answering(Half):
            def lineReceived(half, line: bytes) -> None:
                if line == b"connect":
                    self.connect().addCallback(lambda upstream: upstream.sendLine(b"hello"))
                else:
                    half.sendLine(b"you said " + line)

        return factory(Answering)

    def connection_failed(self, error: Any) -> None:
        self.downstream.sendLine(error.code.encode())


class LazyTests(PairTestCase):
    kind = LazyLayer

    def test_nobody_is_connected_to_before(self) -> None:
        self.proxy()
        self.client.send(b"one\n")
        self.assertEqual((self.client.received, self.origin.connections), (b"you said one\n", []))
        self.client.send(b"connect\n")
        self.assertEqual(self.origin.received, b"hello\n")
        self.origin.send(b"back\n")
        self.assertTrue(self.client.received.endswith(b"\nback\n"))

    def test_a_failure_can_be_told(self) -> None:
        recorder = EventRecorder("lazy_error")
        proxy = self.proxy(recorder)
        proxy.network.refuse(("pairs.test", 7))
        self.client.send(b"connect\n")
        self.assertEqual((self.client.received, self.client.closed), (b"connect-refused\n", True))
        self.assertEqual(len(recorder.events), 1)

    def test_a_client_that_leaves_meanwhile(self) -> None:
        recorder = EventRecorder("lazy_error", "lazy_end", "serverconnect_failed")
        proxy = self.proxy(recorder)
        proxy.network.stall(("pairs.test", 7))
        self.client.send(b"connect\n")
        self.client.abort()
        self.assertEqual(sorted(recorder.names), ["lazy_end", "lazy_error", "serverconnect_failed"])


@implementer(IHalfCloseableProtocol)
class Bare(Protocol):
    """Passes bytes on, ends included."""

    peer: Any = None
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def readConnectionLost(self) -> None:
        self.peer.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass


class BareLayer(HalvesLayer):
    name = "bare"
    half = Bare


class Pieces:
    """A producer that waits to be asked, and has so many pieces of 1000 bytes."""

    def __init__(self, transport: Any, count: int) -> None:
        self.transport = transport
        self.count = count
        self.stopped = False

    def resumeProducing(self) -> None:
        if not self.count:
            self.transport.unregisterProducer()
            return
        self.count -= 1
        self.transport.write(b"x" * 1000)

    def stopProducing(self) -> None:
        self.stopped = True


class TransportTests(PairTestCase):
    kind = BareLayer

    def start(self, **options: Any) -> MemoryProxy:
        proxy = self.proxy(**options)
        self.client.send(b"one")
        self.down: Any = self.layer.downstream.transport
        self.up: Any = self.layer.upstream.transport
        return proxy

    def test_it_is_a_transport(self) -> None:
        proxy = self.start()
        self.assertTrue(ITCPTransport.providedBy(self.up))
        own: Any = self.client.link.client.getHost()
        self.assertEqual(self.down.getPeer().port, own.port)
        self.assertEqual(self.down.getHost().host, PROXY_ADDRESS[0])
        self.assertEqual(self.up.getPeer().host, "pairs.test")
        self.up.setTcpNoDelay(False)
        self.assertFalse(self.up.getTcpNoDelay())
        self.up.setTcpKeepAlive(True)
        self.assertTrue(self.up.getTcpKeepAlive())
        self.up.writeSequence([b"t", b"wo"])
        proxy.flush()
        self.assertEqual(self.origin.received, b"onetwo")
        self.assertRaises(TypeError, self.up.write, "text")

    def test_half_closes(self) -> None:
        self.start()
        self.client.end()
        self.assertTrue(self.origin.connections[0].ended)
        self.origin.send(b"still")
        self.assertEqual(self.client.received, b"still")
        self.origin.close()
        self.assertTrue(self.client.closed)

    def test_a_slow_reader_slows_the_writer(self) -> None:
        proxy = self.start()
        self.origin.connections[0].transport.pauseProducing()
        self.client.send(bytes(1_000_000))
        self.assertLess(self.client.link.server.bytes_read, 400_000)
        self.origin.connections[0].transport.resumeProducing()
        proxy.flush()
        self.assertEqual(len(self.origin.received), 1_000_003)

    def test_a_reader_that_never_reads(self) -> None:
        recorder = EventRecorder("bare_error")
        proxy = self.proxy(recorder, write_timeout=10)
        self.client.send(b"one")
        self.origin.connections[0].transport.pauseProducing()
        self.client.send(bytes(1_000_000))
        proxy.advance(11)
        self.assertEqual(recorder.arguments("bare_error")[0].error.code, "write-timeout")

    def test_push_producers(self) -> None:
        proxy = self.start()
        producer = NotingProducer()
        self.up.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.up.registerProducer, producer, True)
        self.origin.connections[0].transport.pauseProducing()
        self.up.write(bytes(500_000))
        proxy.flush()
        self.assertEqual(producer.calls, ["pause"])
        self.up.loseConnection()
        proxy.flush()
        self.assertFalse(self.origin.connections[0].ended)
        self.origin.connections[0].transport.resumeProducing()
        proxy.flush()
        self.assertEqual(producer.calls[:2], ["pause", "resume"])
        self.up.unregisterProducer()
        proxy.flush()
        self.assertEqual(len(self.origin.received), 500_003)
        self.assertTrue(self.origin.connections[0].ended)

    def test_pull_producers(self) -> None:
        proxy = self.start()
        self.origin.connections[0].transport.pauseProducing()
        producer = Pieces(self.up, 500)
        self.up.registerProducer(producer, False)
        for _ in range(300):
            proxy.advance(0)
        self.assertGreater(producer.count, 300)
        self.origin.connections[0].transport.resumeProducing()
        for _ in range(600):
            proxy.advance(0)
        self.assertEqual((producer.count, len(self.origin.received)), (0, 500_003))

    def test_producers_are_stopped(self) -> None:
        proxy = self.start()
        producer = Pieces(self.up, 500)
        self.up.registerProducer(producer, False)
        self.origin.abort()
        proxy.flush()
        self.assertTrue(producer.stopped)

    def test_pausing(self) -> None:
        proxy = self.start()
        self.down.pauseProducing()
        self.client.send(b"two")
        self.assertEqual(self.origin.received, b"one")
        self.down.resumeProducing()
        proxy.flush()
        self.assertEqual(self.origin.received, b"onetwo")

    def test_aborting(self) -> None:
        proxy = self.start()
        self.down.abortConnection()
        proxy.flush()
        self.assertTrue(self.client.closed)
        self.assertTrue(self.origin.connections[0].ended)


class StartTLSLayer(HalvesLayer):
    """Speaks TLS with the client from the line ``STARTTLS`` on, and with the server never."""

    name = "starttls"

    def server_factory(self) -> Any:
        class Upgrading(Half):
            transport: Any

            def lineReceived(self, line: bytes) -> None:
                if line == b"STARTTLS":
                    path = origin_authority().certify("pairs.test")
                    self.transport.startTLS(DefaultOpenSSLContextFactory(path, path))
                else:
                    super().lineReceived(line)

        return factory(Upgrading)


class StartTLSTests(PairTestCase):
    kind = StartTLSLayer

    def test_one_leg_turns_to_tls(self) -> None:
        proxy = self.proxy()
        self.client.send(b"one\nSTARTTLS\n")
        context = client_context(origin_authority().path)
        self.client.start_tls("pairs.test", context=context).send(b"two\n")
        self.assertEqual(self.origin.received, b"one\ntwo\n")
        self.origin.send(b"three\n")
        self.assertEqual(self.client.received, b"three\n")
        self.client.send(bytes(300_000) + b"\n")
        self.origin.close()
        proxy.flush()
        self.assertTrue(self.client.closed)


class Sum(amp.Command):
    arguments: ClassVar[Any] = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response: ClassVar[Any] = [(b"total", amp.Integer())]


class AMPDownstream(amp.AMP):
    peer: Any = None

    @Sum.responder
    def sum(self, a: int, b: int) -> Any:
        return self.peer.callRemote(Sum, a=a * 10, b=b)


class AMPLayer(HalvesLayer):
    name = "amp"

    def server_factory(self) -> Any:
        return factory(AMPDownstream)

    def client_factory(self) -> Any:
        return factory(amp.AMP)


class IRCDownstream(irc.IRC):
    """A server of IRC to the client, of which only what the test needs is there."""

    peer: Any = None

    def irc_NICK(self, prefix: str, params: Any) -> None:
        self.peer.setNick(params[0] + "_")

    def irc_PRIVMSG(self, prefix: str, params: Any) -> None:
        self.peer.msg(params[0], params[1].replace("secret", "*****"))


class IRCUpstream(irc.IRCClient):
    peer: Any = None
    performLogin = False

    def privmsg(self, user: str, channel: str, message: str) -> None:
        self.peer.privmsg(user, channel, message.upper())


class IRCLayer(HalvesLayer):
    name = "irc"
    port = 6667

    def server_factory(self) -> Any:
        return factory(IRCDownstream)

    def client_factory(self) -> Any:
        return factory(IRCUpstream)


class ProtocolsOfTwistedTests(SynchronousTestCase):
    def test_amp(self) -> None:
        proxy = MemoryProxy(Declares(AMPLayer), mode="reverse:amp://amp.test")
        self.addCleanup(proxy.close)

        class Server(amp.AMP):
            @Sum.responder
            def sum(self, a: int, b: int) -> Any:
                return {"total": a + b}

        proxy.network.listen(("amp.test", 7), RecorderFactory(Server))
        client = amp.AMP()
        proxy.network.dial(PROXY_ADDRESS, client)
        proxy.flush()
        answer = client.callRemote(Sum, a=4, b=2)
        proxy.flush()
        self.assertEqual(self.successResultOf(answer), {"total": 42})

    def test_irc(self) -> None:
        proxy = MemoryProxy(Declares(IRCLayer), mode="reverse:irc://irc.test")
        self.addCleanup(proxy.close)
        origin = proxy.origin("irc.test", 6667)
        client = proxy.client()
        client.send(b"NICK anna\r\nPRIVMSG #c :the secret word\r\n")
        self.assertEqual(origin.received, b"NICK anna_\r\nPRIVMSG #c :the ***** word\r\n")
        origin.send(b":bob!b@host PRIVMSG #c :hello\r\n")
        self.assertEqual(client.received, b":bob!b@host PRIVMSG #c :HELLO\r\n")

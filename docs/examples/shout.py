"""Lines between a client and a server, by two protocols of Twisted."""

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from interceptor import layers


class Half(LineReceiver):
    """One of the two. The layer has made them each other's ``peer``."""

    def __init__(self, layer, from_client):
        self.layer = layer
        self.from_client = from_client

    def lineReceived(self, line):
        message = layers.BytesMessage(self.from_client, line)
        self.layer.tell(message).addCallback(self.pass_on)

    def pass_on(self, message):
        if not message.dropped:
            self.peer.sendLine(message.content)


class ShoutLayer(layers.PairLayer):
    name = "shout"

    def server_factory(self):
        return Factory.forProtocol(lambda: Half(self, True))

    def client_factory(self):
        return Factory.forProtocol(lambda: Half(self, False))

    def injected(self, message):
        receiver = self.upstream if message.from_client else self.downstream
        receiver.sendLine(message.content)


def load(loader):
    loader.add_layer(ShoutLayer)


def shout_message(flow):
    if flow.message.from_client:
        flow.message.content = flow.message.content.upper()

"""The protocol of memcached, as far as its simplest commands go: one layer, made of a codec."""

from interceptor import layers
from interceptor.exceptions import RemoteProtocolError

# The word that says how many bytes of data come behind the line.
SIZED = {b"set": 4, b"add": 4, b"VALUE": 3}


class Line(layers.Message):
    """A line, and the data that may come with it."""

    def __init__(self, from_client, line, data=None):
        super().__init__(from_client)
        self.line = line
        self.data = data

    @property
    def words(self):
        return self.line.split()


class MemoCodec(layers.MessageCodec):
    message_type = Line

    def __init__(self):
        super().__init__()
        self.unfinished = {}

    def read(self, buffer, from_client):
        line = self.unfinished.pop(from_client, None) or buffer.take_line(2048)
        if line is None:
            return None
        message = Line(from_client, line.rstrip(b"\r\n"))
        words = message.words
        if not words:
            raise RemoteProtocolError("an empty line", "memo-malformed")
        if words[0] in SIZED:
            size = words[SIZED[words[0]]] if len(words) > SIZED[words[0]] else b""
            if not size.isdigit():
                raise RemoteProtocolError("a line without a size", "memo-malformed")
            message.data = buffer.take(int(size) + 2)
            if message.data is None:
                self.unfinished[from_client] = line
                return None
            message.data = message.data[:-2]
        return message

    def encode(self, message):
        if message.data is None:
            return message.line + b"\r\n"
        words = message.words
        words[SIZED[words[0]]] = b"%d" % len(message.data)
        return b" ".join(words) + b"\r\n" + message.data + b"\r\n"

    def refusal(self, error):
        return b"SERVER_ERROR %b\r\n" % error.code.encode()


class MemoLayer(layers.MessageLayer):
    name = "memo"
    title = "memcached"
    port = 11211
    codec = MemoCodec


def load(loader):
    loader.add_layer(MemoLayer)


def memo_message(flow):
    message = flow.message
    if message.from_client and message.words[0] == b"flush_all":
        message.drop()
        flow.inject(True, Line(False, b"ERROR not through this proxy"))

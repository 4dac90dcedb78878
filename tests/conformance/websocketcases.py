"""What a WebSocket peer that echoes has to do: a list of cases, each sent to it frame by frame.

The cases go along the lines of RFC 6455 and RFC 7692: framing, pings and pongs, reserved bits,
opcodes, fragmentation, UTF-8, closing, limits, compression. They know neither codec nor network.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

Message = tuple[str, bytes]
"""The type of what comes back, and its payload."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, however wrong; ``rsv`` are the three reserved bits as a number."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    wrong_mask: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent and what has to come back.

    ``chop`` sends so many bytes at a time, 0 each frame at once. ``closes`` are the codes that the
    peer may close with, the first of which is the best; where it is empty, the one who sends
    closes in the end. ``messages`` have to come back before, in that order. ``offer`` and
    ``agreed`` are of permessage-deflate, as a client writes it and a server.
    """

    name: str
    frames: tuple[Frame, ...]
    messages: tuple[Message, ...] = ()
    closes: tuple[int | None, ...] = ()
    chop: int = 0
    offer: str = ""
    agreed: str = ""
    takeover: bool = True
    bits: int = 15
    inflated: bool = field(default=False)


PROTOCOL: Final = (1002,)
NOT_TEXT: Final = (1007,)
_CLOSE: Final = (1000).to_bytes(2, "big")


def all_cases() -> list[Case]:
    """Every case, in order; their names are unique."""
    return [
        *framing(),
        *pings(),
        *reserved_bits(),
        *opcodes(),
        *masks(),
        *fragmentation(),
        *utf8(),
        *closing(),
        *sizes(),
        *compression(),
    ]


def framing() -> Iterator[Case]:
    """Messages of each way to write a length."""
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for length in (0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537):
            payload = (b"*" if opcode == TEXT else b"\xfe") * length
            yield Case(f"1.{kind}.{length}", (Frame(opcode, payload),), ((kind, payload),))
        payload = b"*" * 65536
        yield Case(f"1.{kind}.chopped", (Frame(opcode, payload),), ((kind, payload),), chop=997)
        payload = b"*" * 300
        yield Case(f"1.{kind}.bytewise", (Frame(opcode, payload),), ((kind, payload),), chop=1)
        many = tuple(Frame(opcode, b"%d" % number) for number in range(100))
        yield Case(f"1.{kind}.many", many, tuple((kind, each.payload) for each in many))


def pings() -> Iterator[Case]:
    """Pings are answered with what they have; pongs are not answered."""
    payloads = (b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125)
    for number, payload in enumerate(payloads):
        yield Case(f"2.ping.{number}", (Frame(PING, payload),), (("pong", payload),))
    yield Case("2.ping.long", (Frame(PING, b"\xfe" * 126),), (), PROTOCOL)
    yield Case("2.ping.bytewise", (Frame(PING, b"\xfe" * 125),), (("pong", b"\xfe" * 125),), chop=1)
    yield Case("2.pong.empty", (Frame(PONG),))
    yield Case("2.pong.payload", (Frame(PONG, b"unsolicited"),))
    yield Case("2.pong.ping", (Frame(PONG, b"unsolicited"), Frame(PING, b"hi")), (("pong", b"hi"),))
    ten = tuple(Frame(PING, b"payload-%d" % number) for number in range(10))
    pongs = tuple(("pong", each.payload) for each in ten)
    yield Case("2.ten", ten, pongs)
    yield Case("2.ten.bytewise", ten, pongs, chop=1)
    yield Case("2.pong.long", (Frame(PONG, b"x" * 126),), (), PROTOCOL)
    yield Case("2.pong.fragmented", (Frame(PONG, b"x", fin=False),), (), PROTOCOL)


def reserved_bits() -> Iterator[Case]:
    """Bits that nobody has agreed on."""
    hello = Frame(TEXT, b"hello")
    for rsv in range(1, 8):
        yield Case(f"3.text.{rsv}", (Frame(TEXT, b"hello", rsv=rsv),), (), PROTOCOL)
        for chop in (0, 1):
            yield Case(
                f"3.second.{rsv}.{chop}",
                (hello, Frame(BINARY, b"hello", rsv=rsv), Frame(PING)),
                (("text", b"hello"),),
                PROTOCOL,
                chop,
            )
    for rsv in (1, 4, 7):
        yield Case(f"3.ping.{rsv}", (Frame(PING, b"x", rsv=rsv),), (), PROTOCOL)
        yield Case(f"3.close.{rsv}", (Frame(CLOSE, _CLOSE, rsv=rsv),), (), PROTOCOL)
        yield Case(
            f"3.fragment.{rsv}",
            (Frame(TEXT, b"a", fin=False), Frame(CONT, b"b", rsv=rsv)),
            (),
            PROTOCOL,
        )


def opcodes() -> Iterator[Case]:
    """Opcodes that there are not."""
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"4.{opcode}.empty", (Frame(opcode),), (), PROTOCOL)
        yield Case(f"4.{opcode}.payload", (Frame(opcode, b"reserved"),), (), PROTOCOL)
        yield Case(
            f"4.{opcode}.second",
            (Frame(TEXT, b"hello"), Frame(opcode, b"reserved"), Frame(PING)),
            (("text", b"hello"),),
            PROTOCOL,
            1,
        )


def masks() -> Iterator[Case]:
    """Frames of clients are masked, those of servers are not."""
    for opcode, name in ((TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (CLOSE, "close")):
        payload = _CLOSE if opcode == CLOSE else b"hello"
        yield Case(f"4.mask.{name}", (Frame(opcode, payload, wrong_mask=True),), (), PROTOCOL)
    yield Case(
        "4.mask.second",
        (Frame(TEXT, b"hello"), Frame(TEXT, b"hello", wrong_mask=True)),
        (("text", b"hello"),),
        PROTOCOL,
    )


def fragmentation() -> Iterator[Case]:
    """Messages in parts, and what may come between them."""
    whole = (("text", b"fragment1fragment2"),)
    one, two = Frame(TEXT, b"fragment1", fin=False), Frame(CONT, b"fragment2")
    yield Case("5.ping", (Frame(PING, b"x", fin=False), Frame(CONT, b"y")), (), PROTOCOL)
    yield Case("5.pong", (Frame(PONG, b"x", fin=False), Frame(CONT, b"y")), (), PROTOCOL)
    yield Case("5.close", (Frame(CLOSE, _CLOSE, fin=False),), (), PROTOCOL)
    for chop in (0, 1, 3):
        yield Case(f"5.two.{chop}", (one, two), whole, chop=chop)
        pong = (("pong", b"ping"),)
        yield Case(f"5.two.ping.{chop}", (one, Frame(PING, b"ping"), two), pong + whole, chop=chop)
        yield Case(
            f"5.five.{chop}",
            (
                Frame(TEXT, b"1", fin=False),
                Frame(CONT, b"2", fin=False),
                Frame(PING, b"a"),
                Frame(CONT, b"3", fin=False),
                Frame(PONG, b"b"),
                Frame(CONT, b"4", fin=False),
                Frame(PING, b"c"),
                Frame(CONT, b"5"),
            ),
            (("pong", b"a"), ("pong", b"c"), ("text", b"12345")),
            chop=chop,
        )
        for fin in (False, True):
            yield Case(
                f"5.continues.nothing.{chop}.{fin}",
                (Frame(CONT, b"non-continuation", fin=fin), Frame(TEXT, b"hello")),
                (),
                PROTOCOL,
                chop,
            )
        for opcode in (TEXT, BINARY):
            yield Case(
                f"5.inside.{chop}.{opcode}",
                (one, Frame(opcode, b"fragment2")),
                (),
                PROTOCOL,
                chop,
            )
    yield Case(
        "5.continues.after",
        (one, two, Frame(CONT, b"fragment3", fin=False), Frame(CONT, b"fragment4")),
        whole,
        PROTOCOL,
    )
    yield Case(
        "5.empty", (Frame(TEXT, fin=False), Frame(CONT, fin=False), Frame(CONT)), (("text", b""),)
    )
    yield Case(
        "5.empty.middle",
        (Frame(TEXT, fin=False), Frame(CONT, b"middle", fin=False), Frame(CONT)),
        (("text", b"middle"),),
    )
    parts = [Frame(BINARY, b"\xff", fin=False)]
    parts += [Frame(CONT, bytes((number % 256,)), fin=False) for number in range(500)]
    payload = b"".join(each.payload for each in parts)
    yield Case("5.many", (*parts, Frame(CONT)), (("binary", payload),))
    yield Case(
        "5.two.messages",
        (one, two, Frame(BINARY, b"\x00", fin=False), Frame(CONT, b"\x01")),
        (*whole, ("binary", b"\x00\x01")),
    )


_GOOD_TEXTS: Final = (
    b"",
    b"hello",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
    "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    b"\x00",
    b"\xc2\x80",
    b"\xdf\xbf",
    b"\xe0\xa0\x80",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbe",
    b"\xef\xbf\xbf",
    b"\xef\xbb\xbf",
    b"\xf0\x90\x80\x80",
    b"\xf0\x9f\x98\x80",
    b"\xf3\xa0\x80\x81",
    b"\xf4\x8f\xbf\xbf",
)

_BAD_TEXTS: Final = (
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf",
    b"\xc0",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xc2",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    b"\xc3 ",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xe1\xbd",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"hello\xffworld",
)


def _bytewise(payload: bytes) -> tuple[Frame, ...]:
    frames = [
        Frame(TEXT if not i else CONT, payload[i : i + 1], False) for i in range(len(payload))
    ]
    return (*frames, Frame(CONT if frames else TEXT))


def utf8() -> Iterator[Case]:
    """Text is UTF-8, in one frame, in frames of a byte, and in pieces of a byte."""
    for number, text in enumerate(_GOOD_TEXTS):
        back = (("text", text),)
        yield Case(f"6.good.{number}", (Frame(TEXT, text),), back)
        yield Case(f"6.good.{number}.fragments", _bytewise(text), back)
        yield Case(f"6.good.{number}.chopped", (Frame(TEXT, text),), back, chop=1)
    for number, text in enumerate(_BAD_TEXTS):
        yield Case(f"6.bad.{number}", (Frame(TEXT, text),), (), NOT_TEXT)
        yield Case(f"6.bad.{number}.fragments", _bytewise(text), (), NOT_TEXT)
        yield Case(f"6.bad.{number}.chopped", (Frame(TEXT, text),), (), NOT_TEXT, 1)
    # Nothing may wait for the end of a message that is lost already.
    begun = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90"
    yield Case("6.early.fragments", (Frame(TEXT, begun, fin=False),), (), NOT_TEXT)
    yield Case("6.binary", (Frame(BINARY, b"\xff\xfe\x80"),), (("binary", b"\xff\xfe\x80"),))


def _closing(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def closing() -> Iterator[Case]:
    """Closes are answered in kind, and end everything."""
    yield Case("7.after", (Frame(CLOSE, _CLOSE), Frame(TEXT, b"late")), (), (1000,))
    yield Case("7.ping.after", (Frame(CLOSE, _CLOSE), Frame(PING)), (), (1000,))
    yield Case("7.twice", (Frame(CLOSE, _CLOSE), Frame(CLOSE, _CLOSE)), (), (1000,))
    yield Case(
        "7.text.before", (Frame(TEXT, b"hi"), Frame(CLOSE, _CLOSE)), (("text", b"hi"),), (1000,)
    )
    yield Case(
        "7.inside",
        (Frame(TEXT, b"fragment", fin=False), Frame(CLOSE, _CLOSE), Frame(CONT, b"fragment")),
        (),
        (1000,),
    )
    large = b"*" * 262_144
    yield Case(
        "7.large.before", (Frame(TEXT, large), Frame(CLOSE, _CLOSE)), (("text", large),), (1000,)
    )
    yield Case("7.empty", (Frame(CLOSE),), (), (1005, 1000))
    yield Case("7.one.byte", (Frame(CLOSE, b"a"),), (), PROTOCOL)
    yield Case("7.reason", (Frame(CLOSE, _closing(1000, b"bye")),), (), (1000,))
    yield Case("7.reason.123", (Frame(CLOSE, _closing(1000, b"*" * 123)),), (), (1000,))
    yield Case("7.reason.124", (Frame(CLOSE, _closing(1000, b"*" * 124)),), (), PROTOCOL)
    yield Case("7.reason.bad", (Frame(CLOSE, _closing(1000, b"\xce\xba\xff")),), (), NOT_TEXT)
    yield Case("7.reason.good", (Frame(CLOSE, _closing(1000, "κόσμε".encode())),), (), (1000,))
    yield Case("7.bytewise", (Frame(CLOSE, _closing(1001, b"bye")),), (), (1001, 1000), 1)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"7.code.{code}", (Frame(CLOSE, _closing(code)),), (), (code, 1000))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"7.code.{code}", (Frame(CLOSE, _closing(code)),), (), PROTOCOL)
        reason = _closing(code, b"reason")
        yield Case(f"7.code.{code}.reason", (Frame(CLOSE, reason),), (), PROTOCOL)


def sizes() -> Iterator[Case]:
    """Large messages, whole, in parts and in pieces."""
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for size in (262_144, 1_048_576):
            payload = b"BAsd7&jh23" * (size // 10)
            yield Case(f"9.{kind}.{size}", (Frame(opcode, payload),), ((kind, payload),))
            for part in (4096, 65536):
                pieces = [payload[at : at + part] for at in range(0, len(payload), part)]
                frames = [
                    Frame(CONT if number else opcode, piece, number == len(pieces) - 1)
                    for number, piece in enumerate(pieces)
                ]
                yield Case(f"9.{kind}.{size}.{part}", tuple(frames), ((kind, payload),))
        payload = b"BAsd7&jh23" * 26_214
        for chop in (1000, 5000, 65536):
            yield Case(
                f"9.{kind}.chopped.{chop}", (Frame(opcode, payload),), ((kind, payload),), chop=chop
            )


class _Compressor:
    """Compresses as a sender that has agreed on some parameters."""

    def __init__(self, bits: int = 15, takeover: bool = True) -> None:
        self._bits, self._takeover = bits, takeover
        self._deflate = self._new()

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(6, zlib.DEFLATED, -max(9, self._bits))

    def __call__(self, payload: bytes) -> bytes:
        out = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        if not self._takeover:
            self._deflate = self._new()
        return out[:-4]


_NO_TAKEOVER = "; server_no_context_takeover; client_no_context_takeover"
_AGREEMENTS: Final = (
    ("plain", "permessage-deflate", True, 15),
    ("no.takeover", "permessage-deflate" + _NO_TAKEOVER, False, 15),
    (
        "bits.9",
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
        True,
        9,
    ),
    (
        "bits.12.no.takeover",
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12" + _NO_TAKEOVER,
        False,
        12,
    ),
)


def compression() -> Iterator[Case]:
    """permessage-deflate."""
    text = b"".join(b'{"number": %d, "name": "something"}' % number for number in range(8000))
    for name, agreed, takeover, bits in _AGREEMENTS:
        for size in (0, 16, 64, 256, 1024, 4096, 8192, 65536, 131_072):
            for kind, opcode in (("text", TEXT), ("binary", BINARY)):
                pack = _Compressor(bits, takeover)
                payloads = [text[at : at + size] for at in range(5)]
                yield Case(
                    f"12.{name}.{size}.{kind}",
                    tuple(Frame(opcode, pack(each), rsv=4) for each in payloads),
                    tuple((kind, each) for each in payloads),
                    offer=agreed,
                    agreed=agreed,
                    takeover=takeover,
                    bits=bits,
                )
    agreed = "permessage-deflate"
    pack = _Compressor()
    packed = pack(text[:5000])
    parts = (
        Frame(TEXT, packed[:100], fin=False, rsv=4),
        Frame(PING, b"between"),
        Frame(CONT, packed[100:101], fin=False),
        Frame(CONT, packed[101:]),
    )
    back = (("pong", b"between"), ("text", text[:5000]))
    for chop in (0, 1, 7):
        yield Case(f"13.fragments.{chop}", parts, back, chop=chop, offer=agreed, agreed=agreed)
    mixed = _Compressor()
    yield Case(
        "13.mixed",
        (
            Frame(TEXT, mixed(b"one " * 50), rsv=4),
            Frame(TEXT, b"two"),
            Frame(TEXT, mixed(b"one " * 60), rsv=4),
        ),
        (("text", b"one " * 50), ("text", b"two"), ("text", b"one " * 60)),
        offer=agreed,
        agreed=agreed,
    )
    for rsv in (1, 2, 3, 5, 6, 7):
        yield Case(
            f"13.reserved.{rsv}",
            (Frame(TEXT, _Compressor()(b"hello"), rsv=rsv),),
            (),
            PROTOCOL,
            offer=agreed,
            agreed=agreed,
        )
    yield Case(
        "13.later.bit",
        (Frame(TEXT, packed[:100], fin=False, rsv=4), Frame(CONT, packed[100:], rsv=4)),
        (),
        PROTOCOL,
        offer=agreed,
        agreed=agreed,
    )
    yield Case(
        "13.damaged",
        (Frame(TEXT, b"\xff\xff\xff\xff", rsv=4),),
        (),
        (1007, 1002),
        offer=agreed,
        agreed=agreed,
    )
    yield Case(
        "13.no.text",
        (Frame(TEXT, _Compressor()(b"a\xffb"), rsv=4),),
        (),
        NOT_TEXT,
        offer=agreed,
        agreed=agreed,
    )
    yield Case(
        "13.ping.compressed", (Frame(PING, b"x", rsv=4),), (), PROTOCOL, offer=agreed, agreed=agreed
    )

"""What RFC 7541 has in its appendices: the static table, and the Huffman code of strings."""

from __future__ import annotations

from typing import Final

Field = tuple[bytes, bytes]


class HPACKError(Exception):
    """A header block that cannot be decoded: the connection's compression state is lost."""


_STATIC: Final = """\
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate"""


def _split(line: str) -> Field:
    name, _, value = line.partition(" ")
    return name.encode(), value.encode()


STATIC_FIELDS: Final[tuple[Field, ...]] = tuple(map(_split, _STATIC.splitlines()))
"""RFC 7541 appendix A; the first has index 1."""

# RFC 7541 appendix B. The code is canonical, so that the lengths of its words, in bits, are all
# there is to it; the last is that of the end-of-string symbol.
_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
    "1e"
)
_END_OF_STRING: Final = 256


def _make_words() -> list[str]:
    """Return the words of the code as text of ones and zeros, by symbol."""
    words = [""] * len(_LENGTHS)
    word = last = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        word <<= length - last
        last = length
        words[symbol] = format(word, f"0{length}b")
        word += 1
    return words


_WORDS: Final = _make_words()


def huffman_encode(data: bytes) -> bytes:
    """Return a string's Huffman code, padded with ones to whole bytes (RFC 7541 section 5.2)."""
    bits = "".join([_WORDS[byte] for byte in data])
    padding = -len(bits) % 8
    return int(bits + "1" * padding or "0", 2).to_bytes((len(bits) + padding) // 8, "big")


class _State(dict[int, tuple[bytes, "_State"]]):
    """Where a decoder stands between two bytes: what each next byte yields, and where it leads.

    There is one for each inner node of the code's tree. Transitions are worked out as they are met:
    text needs a few thousand of the 65,536.
    """

    __slots__ = ("accepts", "prefix")

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        # RFC 7541 section 5.2: what is left must be ones, and less than a byte.
        self.accepts = len(prefix) < 8 and "0" not in prefix

    def __missing__(self, byte: int) -> tuple[bytes, _State]:
        bits = self.prefix + format(byte, "08b")
        symbols = bytearray()
        result: tuple[bytes, _State]
        begin = 0
        for end in range(len(self.prefix) + 1, len(bits) + 1):
            symbol = _SYMBOLS.get(bits[begin:end])
            if symbol == _END_OF_STRING:
                result = (b"", _DEAD)
                break
            if symbol is not None:
                symbols.append(symbol)
                begin = end
        else:
            result = (bytes(symbols), _state(bits[begin:]))
        self[byte] = result
        return result


_SYMBOLS: Final = {word: symbol for symbol, word in enumerate(_WORDS)}
_STATES: Final[dict[str, _State]] = {}


def _state(prefix: str) -> _State:
    state = _STATES.get(prefix)
    if state is None:
        state = _STATES[prefix] = _State(prefix)
    return state


_START: Final = _state("")


class _Dead(_State):
    """Where the end-of-string symbol leads, which must not be met."""

    def __missing__(self, byte: int) -> tuple[bytes, _State]:
        return b"", self


_DEAD: Final = _Dead("0")


def huffman_decode(data: bytes) -> bytes:
    """Return the string that a Huffman code stands for. Raises `HPACKError`."""
    state = _START
    pieces: list[bytes] = []
    add = pieces.append
    for byte in data:
        piece, state = state[byte]
        add(piece)
    if not state.accepts:
        raise HPACKError("a string's Huffman code does not end as it must")
    return b"".join(pieces)

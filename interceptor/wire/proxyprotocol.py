"""The PROXY protocol, versions 1 and 2: whom a connection was really made by, told before it.

Its specification is HAProxy's ``doc/proxy-protocol.txt``; the sections named here are its.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from interceptor.errors import RemoteProtocolError

Address = tuple[str, int]
"""The text of an IP address and a port, or the path of a UNIX socket and 0."""

LONGEST_V2: Final = 4096
"""Bytes that a header of version 2 may have behind its first 16: addresses, and what is skipped."""

_V1_START: Final = b"PROXY "
_V1_LONGEST: Final = 107  # section 2.1: "a 108-byte buffer is always enough", with its final zero
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _INET, _INET6, _UNIX = 0, 1, 2, 3
_STREAM, _DATAGRAM = 1, 2
_SIZES: Final = {_INET: 12, _INET6: 36, _UNIX: 216}
_PATH: Final = 108

# Section 2.1 shows one way to write them: one space between words, numbers without zeros in front.
_V1 = re.compile(rb"PROXY (TCP[46])((?: [0-9A-Fa-f.:]{2,45}){2})((?: (?:0|[1-9]\d{0,4})){2})")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says: who connected (``source``), and to what (``destination``).

    Both are None where it names nobody: the peer speaks for itself (LOCAL), or does not know
    (UNKNOWN, AF_UNSPEC). A UNIX socket without a name is ``("", 0)``.
    """

    version: int
    source: Address | None = None
    destination: Address | None = None


class ProxyHeaderReader:
    """Reads one header, however it is split. What follows it is ``rest``."""

    __slots__ = ("_buffer", "rest")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rest = b""

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> ProxyHeader | None:
        """Take what the peer sent; return the header once it is complete.

        Raises `RemoteProtocolError` as soon as it cannot become one: ``proxy-header-missing``,
        ``proxy-header-malformed`` or ``proxy-header-too-large``.
        """
        buffer = self._buffer
        buffer += data
        if buffer.startswith(_V1_START):
            size, parse = self._size_1(), _parse_1
        elif buffer.startswith(_SIGNATURE):
            size, parse = self._size_2(), _parse_2
        elif _V1_START.startswith(buffer) or _SIGNATURE.startswith(buffer):
            return None
        else:
            raise RemoteProtocolError(
                "what came is no header of the PROXY protocol", "proxy-header-missing"
            )
        if size is None or len(buffer) < size:
            return None
        header = parse(bytes(buffer[:size]))
        self.rest = bytes(buffer[size:])
        return header

    def receive_eof(self) -> None:
        """The peer will send no more. Raises `RemoteProtocolError`: ``proxy-header-truncated``."""
        raise RemoteProtocolError(
            "the connection ended before its PROXY header did", "proxy-header-truncated"
        )

    def _size_1(self) -> int | None:
        end = self._buffer.find(b"\n", 0, _V1_LONGEST)
        if end >= 0:
            return end + 1
        if len(self._buffer) >= _V1_LONGEST:
            raise RemoteProtocolError(
                f"the line of a PROXY header is longer than {_V1_LONGEST} bytes",
                "proxy-header-too-large",
            )
        return None

    def _size_2(self) -> int | None:
        if len(self._buffer) < _FIXED:
            return None
        length = int.from_bytes(self._buffer[14:_FIXED], "big")
        if length > LONGEST_V2:
            raise RemoteProtocolError(
                f"a PROXY header of {length} bytes; {LONGEST_V2} are the most",
                "proxy-header-too-large",
            )
        return _FIXED + length


def _malformed(problem: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"PROXY header: {problem}", "proxy-header-malformed")


def _parse_1(data: bytes) -> ProxyHeader:
    if not data.endswith(b"\r\n"):
        raise _malformed("its line does not end in CR LF")
    line = data[:-2]
    # Section 2.1: what follows UNKNOWN is to be ignored.
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(1)
    match = _V1.fullmatch(line)
    if match is None:
        raise _malformed("its line cannot be understood")
    family, hosts, numbers = (words.decode("ascii") for words in match.groups())
    make = IPv4Address if family == "TCP4" else IPv6Address
    try:
        source, destination = (_text(make(host)) for host in hosts.split())
    except AddressValueError:
        raise _malformed(f"an address is not one of {family}") from None
    ports = [int(number) for number in numbers.split()]
    if max(ports) > 65535:
        raise _malformed("a port is larger than 65535")
    return ProxyHeader(1, (source, ports[0]), (destination, ports[1]))


def _parse_2(data: bytes) -> ProxyHeader:
    command, kind = data[12], data[13]
    if command == _LOCAL:
        # Section 2.2: the addresses are those of the connection itself, whatever is said here.
        return ProxyHeader(2)
    if command != _PROXY:
        raise _malformed(f"unknown version and command 0x{command:02x}")
    family, transport = kind >> 4, kind & 15
    if family > _UNIX or transport > _DATAGRAM:
        raise _malformed(f"unknown family and transport 0x{kind:02x}")
    if family == _UNSPECIFIED or transport == _UNSPECIFIED:
        return ProxyHeader(2)
    if transport == _DATAGRAM:
        raise _malformed("it is about datagrams, on a connection")
    addresses = data[_FIXED : _FIXED + _SIZES[family]]
    if len(addresses) < _SIZES[family]:
        raise _malformed("it has no room for its addresses")
    # What follows the addresses, type-length-values, is skipped.
    if family == _UNIX:
        return ProxyHeader(2, _path(addresses[:_PATH]), _path(addresses[_PATH:]))
    size = 4 if family == _INET else 16
    source, destination = (
        _text(ip_address(part)) for part in (addresses[:size], addresses[size : 2 * size])
    )
    ports = addresses[2 * size :]
    return ProxyHeader(
        2,
        (source, int.from_bytes(ports[:2], "big")),
        (destination, int.from_bytes(ports[2:], "big")),
    )


def _text(address: IPv4Address | IPv6Address) -> str:
    """Return the text; an IPv4 address in IPv6 form is the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _path(field: bytes) -> Address:
    # A zero in front is the mark of Linux's abstract names, which are no paths.
    return (field.partition(b"\0")[0].decode("utf-8", "surrogateescape"), 0)


def encode_header(version: int, source: Address | None, destination: Address | None) -> bytes:
    """Return the header that says that ``source`` connected to ``destination``.

    Where one of them is no IP address it says that this is not known. Addresses of different
    families are both told as IPv6.
    """
    addresses = [_ip(address) for address in (source, destination)]
    ports = [0 if address is None else address[1] for address in (source, destination)]
    known = [address for address in addresses if address is not None]
    if len(known) < 2:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _SIGNATURE + b"\x21\0\0\0"
    if len({address.version for address in known}) > 1:
        known = [_as_ipv6(address) for address in known]
    inet = known[0].version == 4
    if version == 1:
        words = ["PROXY", "TCP4" if inet else "TCP6", *map(str, known), *map(str, ports)]
        return " ".join(words).encode("ascii") + b"\r\n"
    kind = (_INET if inet else _INET6) << 4 | _STREAM
    body = b"".join(address.packed for address in known)
    body += b"".join(port.to_bytes(2, "big") for port in ports)
    return _SIGNATURE + bytes((_PROXY, kind)) + len(body).to_bytes(2, "big") + body


def _ip(address: Address | None) -> IPv4Address | IPv6Address | None:
    if address is None:
        return None
    try:
        return ip_address(address[0].partition("%")[0])
    except ValueError:
        return None


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)

"""The header of the PROXY protocol, read and written."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.wire.proxyprotocol import (
    LONGEST_V2,
    ProxyHeader,
    ProxyHeaderReader,
    encode_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REST = b"PROXY \r\n\r\n\0\r\nQUIT\n and more"

SOURCE = ("192.0.2.7", 51000)
DESTINATION = ("198.51.100.1", 443)
SOURCE_6 = ("2001:db8::7", 51000)
DESTINATION_6 = ("2001:db8::1", 443)

Outcome = ProxyHeader | str | None


def version_2(command: int, kind: int, body: bytes = b"") -> bytes:
    """Build a header of version 2."""
    return SIGNATURE + bytes((command, kind)) + len(body).to_bytes(2, "big") + body


def read(pieces: list[bytes], eof: bool = False) -> tuple[Outcome, bytes]:
    """Return the header, or the code of the error, and the rest."""
    reader = ProxyHeaderReader()
    taken = 0
    try:
        for piece in pieces:
            taken += len(piece)
            header = reader.receive(piece)
            if header is not None:
                return header, reader.rest + b"".join(pieces)[taken:]
        if eof:
            reader.receive_eof()
    except RemoteProtocolError as error:
        return error.code, b""
    return None, b""


class ReadingTestCase(SynchronousTestCase):
    """Reads headers in every way."""

    def read_every_way(self, data: bytes, eof: bool = False) -> tuple[Outcome, bytes]:
        """Return what came of ``data``, having checked that no way of splitting it matters."""
        whole = read([data], eof)
        self.assertEqual(read([data[i : i + 1] for i in range(len(data))], eof), whole)
        for cut in range(1, len(data)):
            self.assertEqual(read([data[:cut], data[cut:]], eof), whole, cut)
        return whole

    def check_header(self, data: bytes, *expected: Any) -> None:
        """What is read is ``expected``, the fields of a header, and what follows is untouched."""
        self.assertEqual(self.read_every_way(data + REST), (ProxyHeader(*expected), REST))
        self.assertEqual(self.read_every_way(data), (ProxyHeader(*expected), b""))
        for end in range(len(data)):
            self.assertEqual(read([data[:end]]), (None, b""), end)
            self.assertEqual(read([data[:end]], eof=True), ("proxy-header-truncated", b""), end)

    def check_code(self, data: bytes, code: str) -> None:
        """However it is split, ``data`` is refused with ``code``."""
        self.assertEqual(self.read_every_way(data), (code, b""), data)


class Version1Tests(ReadingTestCase):
    def test_ipv4(self):
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
        self.check_header(line, 1, SOURCE, DESTINATION)

    def test_ipv6(self):
        line = b"PROXY TCP6 2001:DB8::7 2001:db8:0:0:0:0:0:1 51000 443\r\n"
        self.check_header(line, 1, SOURCE_6, DESTINATION_6)

    def test_ipv4_in_ipv6_form_is_ipv4(self):
        line = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 51000 443\r\n"
        self.check_header(line, 1, SOURCE, DESTINATION)

    def test_the_longest(self):
        group = b":".join([b"ffff"] * 8)
        line = b"PROXY TCP6 %b %b 65535 65535\r\n" % (group, group)
        address = (group.decode(), 65535)
        self.check_header(line, 1, address, address)

    def test_unknown(self):
        group = b":".join([b"ffff"] * 8)
        self.check_header(b"PROXY UNKNOWN\r\n", 1)
        self.check_header(b"PROXY UNKNOWN what ever\r\n", 1)
        longest = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (group, group)
        self.assertEqual(len(longest), 107)
        self.check_header(longest, 1)

    def test_malformed(self):
        for line in (
            b"PROXY ",
            b"PROXY TCP4",
            b"PROXY TCP5 192.0.2.7 198.51.100.1 51000 443",
            b"PROXY tcp4 192.0.2.7 198.51.100.1 51000 443",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 51000 443",
            b"PROXY UNKNOWNS",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51000",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 1",
            b"PROXY TCP4  192.0.2.7 198.51.100.1 51000 443",
            b"PROXY TCP4\t192.0.2.7 198.51.100.1 51000 443",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 ",
            b"PROXY TCP4 192.0.2.256 198.51.100.1 51000 443",
            b"PROXY TCP4 192.0.2 198.51.100.1 51000 443",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 51000 443",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 51000 443",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 51000 443",
            b"PROXY TCP6 2001:db8::7::1 2001:db8::1 51000 443",
            b"PROXY TCP6 fe80::1%eth0 2001:db8::1 51000 443",
            b"PROXY TCP4 example.test 198.51.100.1 51000 443",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 -1",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 051000 443",
            "PROXY TCP4 192.0.2.7 198.51.100.1 ٥ 443".encode(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\rX",
            b"PROXY \xff\xfe\x00",
        ):
            self.check_code(line + b"\r\n", "proxy-header-malformed")

    def test_line_that_ends_in_lf_alone(self):
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\n"
        self.check_code(line, "proxy-header-malformed")

    def test_too_long(self):
        self.check_code(b"PROXY UNKNOWN " + b"x" * 93, "proxy-header-too-large")
        self.check_code(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "proxy-header-too-large")


class Version2Tests(ReadingTestCase):
    ADDRESSES = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + b"\xc7\x38\x01\xbb"

    def test_ipv4(self):
        self.check_header(version_2(0x21, 0x11, self.ADDRESSES), 2, SOURCE, DESTINATION)

    def test_ipv6(self):
        data = encode_header(2, SOURCE_6, DESTINATION_6)
        self.check_header(data, 2, SOURCE_6, DESTINATION_6)

    def test_unix(self):
        source, destination = (name.ljust(108, b"\0") for name in (b"/run/a", b""))
        data = version_2(0x21, 0x31, source + destination)
        self.check_header(data, 2, ("/run/a", 0), ("", 0))

    def test_what_follows_the_addresses_is_skipped(self):
        values = b"\x01\0\x08http/1.1" + b"\xff" * 60
        data = version_2(0x21, 0x11, self.ADDRESSES + values)
        self.check_header(data, 2, SOURCE, DESTINATION)

    def test_local(self):
        for kind in (0x00, 0x11, 0x21, 0xFF):
            self.check_header(version_2(0x20, kind), 2)
        self.check_header(version_2(0x20, 0x11, self.ADDRESSES), 2)

    def test_unspecified(self):
        for kind in (0x00, 0x01, 0x10):
            self.check_header(version_2(0x21, kind), 2)
            self.check_header(version_2(0x21, kind, b"any"), 2)

    def test_malformed(self):
        for command, kind in (
            (0x11, 0x11),
            (0x31, 0x11),
            (0x22, 0x11),
            (0x00, 0x11),
            (0x21, 0x12),
            (0x21, 0x22),
            (0x21, 0x13),
            (0x21, 0x41),
            (0x21, 0xF1),
        ):
            self.check_code(version_2(command, kind, self.ADDRESSES), "proxy-header-malformed")

    def test_no_room_for_the_addresses(self):
        for kind, size in ((0x11, 12), (0x21, 36), (0x31, 216)):
            for length in (0, size - 1):
                data = version_2(0x21, kind, bytes(length))
                self.assertEqual(read([data]), ("proxy-header-malformed", b""))

    def test_bounds(self):
        body = self.ADDRESSES.ljust(LONGEST_V2, b"\x04")
        data = version_2(0x21, 0x11, body)
        self.assertEqual(read([data + REST]), (ProxyHeader(2, SOURCE, DESTINATION), REST))
        too_long = SIGNATURE + b"\x21\x11" + (LONGEST_V2 + 1).to_bytes(2, "big")
        self.check_code(too_long, "proxy-header-too-large")
        self.check_code(SIGNATURE + b"\x20\x00\xff\xff", "proxy-header-too-large")


class MissingTests(ReadingTestCase):
    def test_other_protocols(self):
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"\x05\x01\x00",
            b"proxy TCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
            b" PROXY UNKNOWN\r\n",
            b"PROXY\r\n",
            b"PROXYUNKNOWN\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\r\n",
            b"\0",
        ):
            self.check_code(data, "proxy-header-missing")

    def test_it_is_told_by_the_first_byte_that_is_wrong(self):
        for start in (b"PROXY ", SIGNATURE):
            for position in range(len(start)):
                data = start[:position]
                self.assertEqual(read([data]), (None, b""))
                self.assertEqual(read([data, b"\x01"]), ("proxy-header-missing", b""))


class EncodeTests(ReadingTestCase):
    """What is written is understood by Twisted, and here."""

    def test_addresses(self):
        for version in (1, 2):
            for source, destination in ((SOURCE, DESTINATION), (SOURCE_6, DESTINATION_6)):
                data = encode_header(version, source, destination)
                self.check_header(data, version, source, destination)
                if version == 1:
                    info = V1Parser.parse(data.removesuffix(b"\r\n"))
                else:
                    info = V2Parser.parse(data)
                ends: Any = ((info.source, source), (info.destination, destination))
                for told, address in ends:
                    self.assertEqual((str(ip_address(told.host)), told.port), address)

    def test_version_1_is_the_line_of_the_specification(self):
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
        self.assertEqual(encode_header(1, SOURCE, DESTINATION), line)

    def test_different_families_are_both_told_as_ipv6(self):
        line = b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 51000 443\r\n"
        self.assertEqual(
            encode_header(1, SOURCE_6, DESTINATION).replace(b"c633:6401", b"198.51.100.1"), line
        )
        for version in (1, 2):
            data = encode_header(version, SOURCE_6, DESTINATION)
            self.check_header(data, version, SOURCE_6, DESTINATION)

    def test_zones_are_left_out(self):
        data = encode_header(1, ("fe80::1%eth0", 1), ("fe80::2%eth0", 2))
        self.assertEqual(data, b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n")

    def test_what_is_no_ip_address_is_unknown(self):
        for source, destination in (
            (None, DESTINATION),
            (SOURCE, None),
            (("", 0), ("/run/x", 0)),
            (("example.test", 1), DESTINATION),
        ):
            self.assertEqual(encode_header(1, source, destination), b"PROXY UNKNOWN\r\n")
            data = encode_header(2, source, destination)
            self.assertEqual(data, version_2(0x21, 0))

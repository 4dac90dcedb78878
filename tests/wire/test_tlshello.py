"""The ClientHello: from real clients, made to measure, damaged, and split in every way."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.wire.tlshello import (
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    TLS_1_3,
    ClientHello,
    ClientHelloReader,
    looks_like_tls,
)
from tests.wire.hellos import (
    body,
    by_pyopenssl,
    by_ssl,
    extension,
    hello,
    in_records,
    message,
    numbers,
    record,
    server_name,
    vector,
)

_FEW = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.differing_executors],
)

MALFORMED, TOO_LARGE, NOT_TLS = "tls-hello-malformed", "tls-hello-too-large", "tls-not-tls"

Result = ClientHello | str | None


def feed(pieces: list[bytes], limit: int = 65536) -> Result:
    """The hello, the code of the error, or None where more is needed."""
    reader = ClientHelloReader(limit)
    result: Result = None
    for piece in pieces:
        try:
            result = reader.feed(piece)
        except RemoteProtocolError as error:
            return error.code
        if result is not None:
            return result
    return result


def split(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def read(data: bytes, limit: int = 65536) -> Result:
    """Feed ``data`` whole, byte by byte and in pieces, which makes no difference."""
    whole = feed([data], limit)
    for size in (1, 3, 7, 100):
        other = feed(split(data, size), limit)
        if other != whole:
            raise AssertionError(f"{size} bytes at a time: {other}\nwhole: {whole}")
    if isinstance(whole, ClientHello):
        if feed([data + b"\x16\x03"], limit) != whole:
            raise AssertionError("what follows makes a difference")
        if any(feed([data[:end]], limit) is not None for end in range(0, len(data), 7)):
            raise AssertionError("it is read before it is complete")
    return whole


def read_hello(data: bytes) -> ClientHello:
    result = read(data)
    assert isinstance(result, ClientHello), result
    return result


class RecordedTests(SynchronousTestCase):
    """The hellos of OpenSSL, of the several libraries that are installed."""

    def test_pyopenssl(self):
        data = by_pyopenssl(alpn=[b"h2", b"http/1.1"])
        found = read_hello(data)
        self.assertEqual((found.sni, found.alpn), ("example.com", (b"h2", b"http/1.1")))
        self.assertEqual(set(found.versions), {TLS_1_2, TLS_1_3})
        self.assertEqual((found.legacy_version, len(found.session_id)), (TLS_1_2, 32))
        self.assertIn(0x1301, found.cipher_suites)
        self.assertIn(0x0403, found.signature_algorithms)
        self.assertIn(29, found.groups)
        self.assertIn(51, found.extensions)
        self.assertEqual((found.has_ech, found.grease), (False, False))
        self.assertTrue(found.supports_ecdsa and found.supports_rsa)
        self.assertEqual(found.raw, data)

    def test_ssl(self):
        data = by_ssl(alpn=["http/1.1"])
        found = read_hello(data)
        self.assertEqual((found.sni, found.alpn), ("example.com", (b"http/1.1",)))
        self.assertIn(TLS_1_3, found.versions)
        self.assertTrue(found.supports_ecdsa and found.supports_rsa)

    def test_without_a_name_or_protocols(self):
        for data in (by_pyopenssl(sni=None), by_ssl(sni=None)):
            found = read_hello(data)
            self.assertEqual((found.sni, found.alpn), (None, ()))

    def test_each_version_alone(self):
        for version, number in (
            (SSL.TLS1_VERSION, TLS_1_0),
            (SSL.TLS1_1_VERSION, TLS_1_1),
            (SSL.TLS1_2_VERSION, TLS_1_2),
            (SSL.TLS1_3_VERSION, TLS_1_3),
        ):
            data = by_pyopenssl(low=version, high=version, ciphers=b"ALL:@SECLEVEL=0")
            found = read_hello(data)
            self.assertEqual(found.versions, (number,))
            self.assertEqual(found.sni, "example.com")
            self.assertTrue(found.supports_ecdsa and found.supports_rsa, number)

    def test_the_highest_of_old_versions_stands_for_all(self):
        data = by_pyopenssl(
            low=SSL.TLS1_VERSION, high=SSL.TLS1_2_VERSION, ciphers=b"ALL:@SECLEVEL=0"
        )
        self.assertEqual(read_hello(data).versions, (TLS_1_2,))

    def test_clients_of_one_kind_of_key(self):
        for ciphers, ecdsa, rsa in ((b"aECDSA", True, False), (b"aRSA", False, True)):
            data = by_pyopenssl(high=SSL.TLS1_2_VERSION, ciphers=ciphers)
            found = read_hello(data)
            self.assertEqual((found.supports_ecdsa, found.supports_rsa), (ecdsa, rsa), ciphers)

    def test_split_over_records(self):
        data = by_pyopenssl(alpn=[b"h2"])
        whole = read_hello(data)
        for size in (1, 2, 3, 5, 64, 200):
            parts = in_records(data, size)
            found = read_hello(parts)
            self.assertEqual((found.raw, found.sni), (parts, whole.sni))
            self.assertEqual(found.cipher_suites, whole.cipher_suites)

    def test_openssl_reads_the_same_name(self):
        names: list[bytes | None] = []
        context = SSL.Context(SSL.TLS_SERVER_METHOD)

        def note(connection: SSL.Connection) -> None:
            names.append(connection.get_servername())

        context.set_tlsext_servername_callback(note)
        server = SSL.Connection(context, None)
        server.set_accept_state()
        data = in_records(by_pyopenssl(sni=b"a.b.example"), 90)
        server.bio_write(data)
        self.assertRaises(SSL.Error, server.do_handshake)
        self.assertEqual(names, [b"a.b.example"])
        self.assertEqual(read_hello(data).sni, "a.b.example")


class MadeTests(SynchronousTestCase):
    """What OpenSSL does not send."""

    def test_no_extensions(self):
        found = read_hello(hello(version=0x0301, suites=numbers(0x002F)))
        self.assertEqual((found.sni, found.alpn, found.extensions), (None, (), ()))
        self.assertEqual(found.versions, (TLS_1_0,))
        self.assertEqual((found.supports_ecdsa, found.supports_rsa), (False, True))

    def test_grease_is_left_out_and_told(self):
        found = read_hello(
            hello(
                extension(0x1A1A),
                server_name(b"example.com"),
                extension(10, vector(numbers(0x2A2A, 29, 23))),
                extension(13, vector(numbers(0x3A3A, 0x0403))),
                extension(16, vector(vector(b"\x4a\x4a", 1) + vector(b"h2", 1))),
                extension(43, vector(numbers(0x5A5A, 0x0304, 0x0303), 1)),
                extension(0xFAFA, b"\0"),
                suites=numbers(0x0A0A, 0x1301, 0xC02B),
            )
        )
        self.assertEqual(found.groups, (29, 23))
        self.assertEqual(found.signature_algorithms, (0x0403,))
        self.assertEqual(found.alpn, (b"h2",))
        self.assertEqual(found.versions, (TLS_1_3, TLS_1_2))
        self.assertEqual(found.cipher_suites, (0x1301, 0xC02B))
        self.assertEqual(found.extensions, (0, 10, 13, 16, 43))
        self.assertTrue(found.grease)

    def test_grease_in_any_one_place_is_told(self):
        for data in (
            hello(extension(0x0A0A)),
            hello(suites=numbers(0xDADA, 0xC02B)),
            hello(extension(16, vector(vector(b"\x0a\x0a", 1)))),
            hello(extension(10, vector(numbers(0xCACA)))),
        ):
            self.assertTrue(read_hello(data).grease)
        self.assertFalse(read_hello(hello(extension(0x0A1A))).grease)

    def test_encrypted_hello(self):
        found = read_hello(hello(server_name(b"front.example"), extension(0xFE0D, b"\0" * 200)))
        self.assertEqual((found.has_ech, found.sni), (True, "front.example"))

    def test_a_key_share_larger_than_a_segment(self):
        share = extension(51, vector(numbers(0x11EC) + vector(bytes(1216))))
        data = hello(share, extension(21, bytes(300)), server_name(b"pq.example"))
        self.assertGreater(len(data), 1460)
        self.assertEqual(read_hello(data).sni, "pq.example")

    def test_other_kinds_of_names_are_passed_over(self):
        found = read_hello(hello(server_name(b"x", kind=7)))
        self.assertIsNone(found.sni)

    def test_names_stay_as_sent(self):
        for name in (b"EXAMPLE.com", b"_a.example", b"example.com.", b"127.0.0.1", b"[::1]"):
            self.assertEqual(read_hello(hello(server_name(name))).sni, name.decode())

    def test_ports_are_left_out(self):
        for name, wanted in (
            (b"a.example:8443", "a.example"),
            (b"127.0.0.1:80", "127.0.0.1"),
            (b"a.example:", "a.example:"),
            (b":80", ":80"),
            (b"::1", "::1"),
            (b"a:b", "a:b"),
        ):
            self.assertEqual(read_hello(hello(server_name(name))).sni, wanted)

    def test_unknown_versions_are_kept(self):
        found = read_hello(hello(extension(43, vector(numbers(0x7F1C, 0x0304), 1))))
        self.assertEqual(found.versions, (0x7F1C, TLS_1_3))
        self.assertEqual(read_hello(hello(version=0x0999)).versions, (TLS_1_2,))

    def test_the_reader_keeps_everything_that_was_fed(self):
        reader = ClientHelloReader()
        data = hello(server_name(b"a"))
        reader.feed(data[:9])
        found = reader.feed(data[9:] + b"more")
        assert found is not None
        self.assertEqual((reader.data, found.raw), (data + b"more", data))
        self.assertIs(reader.feed(b" and more"), found)
        self.assertEqual(reader.data, data + b"more and more")


class KeyTypeTests(SynchronousTestCase):
    """Which certificate a client can do something with."""

    def kinds(self, *extensions: bytes, suites: tuple[int, ...]) -> tuple[bool, bool]:
        found = read_hello(hello(*extensions, suites=numbers(*suites)))
        return found.supports_ecdsa, found.supports_rsa

    def signatures(self, *values: int) -> bytes:
        return extension(13, vector(numbers(*values)))

    def test_by_suites(self):
        self.assertEqual(self.kinds(suites=(0xC02B,)), (True, False))
        self.assertEqual(self.kinds(suites=(0xC02F,)), (False, True))
        self.assertEqual(self.kinds(suites=(0xCCA9, 0xCCA8)), (True, True))
        self.assertEqual(self.kinds(suites=(0x002F,)), (False, True))
        self.assertEqual(self.kinds(suites=(0x00FF,)), (False, False))

    def test_by_signatures(self):
        both = (0xC02B, 0xC02F)
        self.assertEqual(self.kinds(self.signatures(0x0403), suites=both), (True, False))
        self.assertEqual(self.kinds(self.signatures(0x0401), suites=both), (False, True))
        self.assertEqual(self.kinds(self.signatures(0x0804), suites=both), (False, True))
        self.assertEqual(self.kinds(self.signatures(0x0807), suites=both), (False, False))

    def test_curves_bind_certificates_before_tls_1_3(self):
        curves = extension(10, vector(numbers(29, 24)))
        self.assertEqual(self.kinds(curves, suites=(0xC02B, 0xC02F)), (False, True))
        versions = extension(43, vector(numbers(0x0304), 1))
        found = self.kinds(curves, versions, self.signatures(0x0403), suites=(0x1301,))
        self.assertEqual(found, (True, False))

    def test_tls_1_3_goes_by_signatures_alone(self):
        versions = extension(43, vector(numbers(0x0304, 0x0303), 1))
        suites = (0x1301, 0xC02F)
        old = self.signatures(0x0401)
        self.assertEqual(self.kinds(versions, old, suites=suites), (False, False))
        new = self.signatures(0x0403)
        self.assertEqual(self.kinds(versions, new, suites=suites), (True, False))
        found = read_hello(hello(versions, new, suites=numbers(*suites)))
        self.assertFalse(found.accepts("ecdsa", TLS_1_2))


class DamagedTests(SynchronousTestCase):
    """Each fault has its code."""

    def test_malformed(self):
        good = body(server_name(b"a"))
        for data in (
            record(message(good, kind=2)),
            record(b""),
            b"\x16\x03\x01\x40\x01",
            record(message(good) + b"x"),
            record(message(good)[:20]) + record(b"\x02\x28", kind=21),
            record(message(good)[:20]) + b"\x16\x03\x01\x00\x00",
            record(message(b"")),
            record(message(good[:34])),
            record(message(good[:-1])),
            record(message(good + b"x")),
            hello(session_id=bytes(33)),
            hello(suites=b""),
            hello(suites=b"\x13"),
            hello(suites=b"\x13\x01\x13"),
            hello(compression=b""),
            hello(after=b"\0"),
            hello(after=b"\0\1\0"),
            hello(extension(23), extension(23)),
            hello(extension(10)),
            hello(extension(10, vector(b""))),
            hello(extension(10, vector(b"\0"))),
            hello(extension(10, vector(numbers(29)) + b"x")),
            hello(extension(43, vector(b"", 1))),
            hello(extension(13, vector(b"\4\3\4"))),
            hello(extension(16)),
            hello(extension(16, vector(b""))),
            hello(extension(16, vector(vector(b"", 1)))),
            hello(extension(16, vector(b"\5http"))),
            hello(extension(16, vector(vector(b"h2", 1)) + b"x")),
        ):
            self.assertEqual(read(data), MALFORMED, data)

    def test_malformed_names(self):
        for data in (
            extension(0),
            extension(0, vector(b"")),
            extension(0, vector(b"\0\0")),
            extension(0, vector(b"\0" + vector(b"a")) + b"x"),
            server_name(b""),
            server_name(b"a", b"b"),
            server_name(b"a\0.example"),
            server_name(b"a b\n"),
            server_name("é".encode()),
            server_name(b"a" * 256),
        ):
            self.assertEqual(read(hello(data)), MALFORMED, data)

    def test_not_tls(self):
        for data in (b"GET / HTTP/1.1\r\n", b"\x80\x2e\x01\x03\x01", b"\x15\x03\x01", b"\x16\x02"):
            self.assertEqual(read(data), NOT_TLS)
        self.assertEqual(read(b"\x16\x03\x09"), NOT_TLS)

    def test_too_large(self):
        self.assertEqual(read(record(b"\x01\x01\x00\x00")), TOO_LARGE)
        large = in_records(hello(extension(21, bytes(60_000))), 16384)
        self.assertIsInstance(feed([large]), ClientHello)
        self.assertEqual(feed([large], limit=60_000), TOO_LARGE)
        # The bytes of a hello in records of one byte each are mostly headers.
        self.assertEqual(feed([in_records(large, 1)]), TOO_LARGE)

    def test_an_error_stays(self):
        reader = ClientHelloReader()
        self.assertRaises(RemoteProtocolError, reader.feed, record(message(b"", kind=2)))
        error = self.assertRaises(RemoteProtocolError, reader.feed, hello())
        self.assertEqual((error.code, error.status), (MALFORMED, 400))

    def test_a_truncated_hello_is_waited_for(self):
        data = by_pyopenssl()
        self.assertIsNone(read(data[:-1]))
        self.assertIsNone(read(b""))


class FuzzedTests(SynchronousTestCase):
    """Nothing but a hello, a wish for more and our own error comes out."""

    RECORDED = by_pyopenssl(alpn=[b"h2", b"http/1.1"])

    @_FEW
    @given(st.binary(max_size=300))
    def test_anything(self, data):
        read(data)

    @_FEW
    @given(st.binary(max_size=300))
    def test_anything_as_a_message(self, data):
        read(record(message(data)) if data else b"")

    @_FEW
    @given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=40)), max_size=6))
    def test_anything_as_extensions(self, pairs):
        read(hello(*[extension(number, content) for number, content in pairs]))

    @_FEW
    @given(
        st.lists(st.tuples(st.integers(0, len(RECORDED) - 1), st.integers(0, 255)), max_size=4),
        st.integers(0, len(RECORDED)),
    )
    def test_damaged_recordings(self, changes, end):
        data = bytearray(self.RECORDED)
        for at, value in changes:
            data[at] = value
        read(bytes(data[:end]))

    def test_split_at_random(self):
        chance = random.Random(7)
        whole = read_hello(self.RECORDED)
        for _ in range(50):
            cuts = sorted(chance.sample(range(len(self.RECORDED)), 5))
            ends = [*cuts[1:], len(self.RECORDED)]
            pieces = [self.RECORDED[a:b] for a, b in zip([0, *cuts[1:]], ends, strict=True)]
            self.assertEqual(feed(pieces), whole)


class LooksTests(SynchronousTestCase):
    """Telling TLS from anything else by the first bytes."""

    def test_prefixes_are_undecided(self):
        self.assertEqual([looks_like_tls(b"\x16\x03"[:n]) for n in range(3)], [None] * 3)

    def test_three_bytes_decide(self):
        self.assertEqual(
            [looks_like_tls(bytes((22, 3, n))) for n in (0, 1, 4, 5)], [True] * 3 + [False]
        )

    def test_others(self):
        for data in (b"G", b"\x16G", b"\x17\x03\x03", b"\x05\x01\x00", b"SSH-2.0"):
            self.assertIs(looks_like_tls(data), False)
        self.assertIs(looks_like_tls(by_ssl()), True)

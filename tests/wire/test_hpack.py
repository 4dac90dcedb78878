"""Header compression: RFC 7541's own examples, hpack as the oracle, and what must be refused."""

from __future__ import annotations

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.hpack import (
    HeaderListTooLargeError,
    HPACKBombError,
    HPACKDecoder,
    HPACKEncoder,
    SensitiveField,
    _integer,
    static_entries,
)
from interceptor.wire.hpacktables import (
    STATIC_FIELDS,
    HPACKError,
    huffman_decode,
    huffman_encode,
)

EVERYTHING = 1 << 30


def classify(name: bytes, value: bytes) -> int:
    return 7 if name == b"seven" else 0


STATIC = static_entries(classify)


def new_decoder(limit: int = 4096) -> HPACKDecoder:
    return HPACKDecoder(STATIC, classify, limit)


def decode(decoder: HPACKDecoder, block: bytes) -> list[tuple[bytes, bytes]]:
    return [entry[0] for entry in decoder.decode(block, EVERYTHING, EVERYTHING)]


REQUESTS = [
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]
DATE = b"Mon, 21 Oct 2013 20:13:2%d GMT"
RESPONSES = [
    [
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", DATE % 1),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"307"),
        (b"cache-control", b"private"),
        (b"date", DATE % 1),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        (b"date", DATE % 2),
        (b"location", b"https://www.example.com"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]
TABLE_OF_256 = "3fe101"


class AppendixCTests(SynchronousTestCase):
    """RFC 7541 appendix C."""

    def check(self, blocks: list[str], lists: list[list[tuple[bytes, bytes]]]) -> None:
        decoder = new_decoder()
        for block, fields in zip(blocks, lists, strict=True):
            self.assertEqual(decode(decoder, bytes.fromhex(block)), fields)

    def test_integers(self):
        self.assertEqual(_integer(10, 5, 0), b"\x0a")
        self.assertEqual(_integer(1337, 5, 0), b"\x1f\x9a\x0a")
        self.assertEqual(_integer(42, 8, 0), b"\x2a")

    def test_single_fields(self):
        self.check(
            [
                "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
                "040c2f73616d706c652f70617468",
                "100870617373776f726406736563726574",
                "82",
            ],
            [
                [(b"custom-key", b"custom-header")],
                [(b":path", b"/sample/path")],
                [(b"password", b"secret")],
                [(b":method", b"GET")],
            ],
        )

    def test_requests_without_huffman_code(self):
        self.check(
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            REQUESTS,
        )

    def test_requests_with_huffman_code(self):
        self.check(
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            REQUESTS,
        )

    def test_responses_without_huffman_code(self):
        self.check(
            [
                TABLE_OF_256
                + "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a"
                "323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a6970"
                "7738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d61"
                "67653d333630303b2076657273696f6e3d31",
            ],
            RESPONSES,
        )

    def test_responses_with_huffman_code(self):
        self.check(
            [
                TABLE_OF_256
                + "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29"
                "ad171863c78f0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2"
                "e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
            RESPONSES,
        )


class HuffmanTests(SynchronousTestCase):
    def test_every_byte(self):
        for byte in range(256):
            for data in (bytes((byte,)), bytes((byte, 65, byte))):
                self.assertEqual(huffman_decode(huffman_encode(data)), data)

    def test_nothing(self):
        self.assertEqual(huffman_encode(b""), b"")
        self.assertEqual(huffman_decode(b""), b"")

    def test_padding_longer_than_seven_bits(self):
        with self.assertRaises(HPACKError):
            huffman_decode(huffman_encode(b"a") + b"\xff")

    def test_padding_that_is_not_ones(self):
        # "a" is 00011, and then three bits that are not all ones.
        with self.assertRaises(HPACKError):
            huffman_decode(b"\x18")

    def test_end_of_string_symbol(self):
        for tail in (b"", b"\x00", b"aaaa"):
            with self.assertRaises(HPACKError):
                huffman_decode(b"\xff\xff\xff\xff" + tail)

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_round_trip(self, data):
        self.assertEqual(huffman_decode(huffman_encode(data)), data)

    @settings(deadline=None)
    @given(st.binary(max_size=12))
    def test_agrees_with_the_oracle(self, data):
        from hpack.huffman_table import decode_huffman

        try:
            expected = decode_huffman(data)
        except hpack.HPACKDecodingError:
            expected = None
        try:
            found = huffman_decode(data)
        except HPACKError:
            found = None
        self.assertEqual(found, expected)


NAMES = st.sampled_from(
    [name for name, _ in STATIC_FIELDS] + [b"x-one", b"x-two", b"seven", b"grpc-status"]
)
VALUES = st.one_of(
    st.sampled_from([value for _, value in STATIC_FIELDS if value]),
    st.sampled_from([b"", b"1", b"a" * 150, b"b" * 1500, b"\xff" * 20]),
    st.binary(max_size=40),
)
LISTS = st.lists(
    st.one_of(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.integers(0, 4096)), max_size=12
)


class OracleTests(SynchronousTestCase):
    """hpack reads what we write, and the other way round."""

    @settings(deadline=None)
    @given(LISTS)
    def test_hpack_reads_what_we_write(self, steps):
        encoder, oracle, own = HPACKEncoder(), hpack.Decoder(), new_decoder()
        oracle.max_header_list_size = EVERYTHING
        for step in steps:
            if isinstance(step, int):
                encoder.set_limit(step)
                continue
            block = encoder.encode(step)
            self.assertEqual([tuple(field) for field in oracle.decode(block, raw=True)], step)
            self.assertEqual(decode(own, block), step)

    @settings(deadline=None)
    @given(LISTS)
    def test_we_read_what_hpack_writes(self, steps):
        oracle, own = hpack.Encoder(), new_decoder()
        for step in steps:
            if not isinstance(step, int):
                self.assertEqual(decode(own, oracle.encode(step)), step)
            elif step != oracle.header_table_size:
                # Told the same size again, hpack forgets to write the changes until a later block,
                # where they empty the table of whoever reads it.
                oracle.header_table_size = step

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.binary(max_size=60), max_size=4))
    def test_anything_is_read_or_refused_alike(self, blocks):
        oracle, own = hpack.Decoder(), new_decoder()
        for block in blocks:
            try:
                expected = [tuple(field) for field in oracle.decode(block, raw=True)]
            except hpack.HPACKError:
                with self.assertRaises(HPACKError):
                    decode(own, block)
                return
            self.assertEqual(decode(own, block), expected)


class DecoderTests(SynchronousTestCase):
    def refuse(self, block: bytes) -> None:
        with self.assertRaises(HPACKError):
            decode(new_decoder(), block)

    def test_index_zero(self):
        self.refuse(b"\x80")

    def test_index_beyond_the_tables(self):
        self.refuse(b"\xbe")
        self.refuse(b"\xff\x00")
        self.refuse(b"\x7f\x00\x01a")

    def test_truncated(self):
        block = hpack.Encoder().encode([(b"x-name", b"value")])
        for length in range(1, len(block)):
            self.refuse(block[:length])

    def test_string_longer_than_its_block(self):
        self.refuse(b"\x40\x7f\xff\xff\xff\x07")

    def test_endless_number(self):
        self.refuse(b"\xff" + b"\x80" * 20 + b"\x01")

    def test_table_larger_than_allowed(self):
        self.refuse(_integer(4097, 5, 0x20))

    def test_table_size_amid_a_block(self):
        self.refuse(b"\x82\x20")

    def test_table_size_that_changes_without_end(self):
        self.assertEqual(decode(new_decoder(), b"\x20\x3f\xe1\x1f\x82"), [(b":method", b"GET")])
        self.refuse(b"\x20" * 9)

    def test_larger_table_by_setting(self):
        self.assertEqual(
            decode(new_decoder(65536), _integer(65536, 5, 0x20) + b"\x82"), REQUESTS[0][:1]
        )

    def test_a_smaller_setting_has_to_be_obeyed_at_once(self):
        decoder = new_decoder()
        decoder.set_limit(100)
        with self.assertRaises(HPACKError):
            decode(decoder, b"\x82")
        decoder = new_decoder()
        decoder.set_limit(100)
        self.assertEqual(decode(decoder, _integer(100, 5, 0x20) + b"\x82"), REQUESTS[0][:1])
        self.assertEqual(decode(decoder, b"\x82"), REQUESTS[0][:1])

    def test_fields_are_judged_when_they_are_first_met(self):
        decoder = new_decoder()
        block = b"\x40\x05seven\x011"
        self.assertEqual(decoder.decode(block, 100, 9), [((b"seven", b"1"), 7, 38)])
        self.assertEqual(decoder.decode(b"\xbe", 100, 9), [((b"seven", b"1"), 7, 38)])

    def test_a_list_that_is_too_large_leaves_the_table_as_it_should_be(self):
        decoder = new_decoder()
        oracle = hpack.Encoder()
        fields = [(b"x-%d" % n, b"v" * 20) for n in range(10)]
        with self.assertRaises(HeaderListTooLargeError) as caught:
            decoder.decode(oracle.encode(fields), 200, 100)
        self.assertFalse(caught.exception.too_many)
        self.assertEqual(decode(decoder, oracle.encode(fields)), fields)

    def test_a_list_with_too_many_fields(self):
        decoder = new_decoder()
        decoder.decode(b"\x82" * 5, 1000, 5)
        with self.assertRaises(HeaderListTooLargeError) as caught:
            decoder.decode(b"\x82" * 6, 1000, 5)
        self.assertTrue(caught.exception.too_many)

    def test_a_bomb_is_not_decoded_to_its_end(self):
        decoder = new_decoder()
        decoder.decode(b"\x40\x01a" + _integer(4000, 7, 0) + b"v" * 4000, 8192, 9)
        with self.assertRaises(HPACKBombError):
            decoder.decode(b"\xbe" * 16384, 8192, 100)

    def test_what_may_not_be_indexed_stays_that(self):
        ((field, _, _),) = new_decoder().decode(b"\x10\x01a\x01b", 100, 9)
        self.assertIsInstance(field, SensitiveField)
        block = HPACKEncoder().encode([field])
        self.assertEqual(block[0] & 0xF0, 0x10)

    def test_the_memo_lives_as_long_as_the_table_stays(self):
        decoder = new_decoder()
        decode(decoder, b"\x82")
        self.assertFalse(decoder.changed)
        decoder.memo[b"\x82"] = "known"
        decode(decoder, b"\x00\x01a\x01b")
        self.assertEqual(decoder.memo, {b"\x82": "known"})
        decode(decoder, b"\x40\x01a\x01b")
        self.assertTrue(decoder.changed)
        self.assertEqual(decoder.memo, {})
        decoder.memo[b"\x82"] = "known"
        decode(decoder, b"\x20")
        self.assertEqual(decoder.memo, {})

    def test_the_table_is_bounded(self):
        decoder = new_decoder()
        for number in range(1000):
            decode(decoder, b"\x40\x04%04d\x01v" % number)
        self.assertEqual(len(decoder._entries), 4096 // 37)
        self.assertEqual(decoder._size, 4096 // 37 * 37)


class EncoderTests(SynchronousTestCase):
    def test_repeated_fields_take_a_byte_each(self):
        encoder = HPACKEncoder()
        fields = [(b":method", b"GET"), (b"x-name", b"value"), (b"user-agent", b"me")]
        encoder.encode(fields)
        self.assertEqual(len(encoder.encode(fields)), 3)

    def test_what_changes_always_does_not_push_out_the_rest(self):
        encoder = HPACKEncoder()
        encoder.encode([(b"x-name", b"value")])
        for number in range(1000):
            encoder.encode([(b":path", b"/%d" % number), (b"content-length", b"%d" % number)])
        self.assertEqual(encoder.encode([(b"x-name", b"value")]), b"\xbe")

    def test_secrets_are_never_indexed(self):
        for field in (
            (b"authorization", b"Bearer x"),
            (b"cookie", b"a=short"),
            (b"set-cookie", b"a=b"),
        ):
            encoder = HPACKEncoder()
            first = encoder.encode([field])
            self.assertEqual(first[0] & 0xF0, 0x10)
            self.assertEqual(encoder.encode([field]), first)

    def test_long_cookies_are_indexed(self):
        encoder = HPACKEncoder()
        field = (b"cookie", b"session=" + b"0123456789" * 3)
        encoder.encode([field])
        self.assertEqual(encoder.encode([field]), b"\xbe")

    def test_smallest_table_size_is_told_before_the_last(self):
        encoder = HPACKEncoder()
        encoder.encode([(b"x-name", b"value")])
        encoder.set_limit(0)
        encoder.set_limit(1000)
        block = encoder.encode([(b":method", b"GET")])
        self.assertEqual(block, b"\x20" + _integer(1000, 5, 0x20) + b"\x82")
        self.assertEqual(encoder.encode([(b":method", b"GET")]), b"\x82")

    def test_a_larger_table_is_not_made_use_of(self):
        encoder = HPACKEncoder()
        encoder.set_limit(65536)
        self.assertEqual(encoder.encode([(b":method", b"GET")]), b"\x82")

    def test_its_memory_is_bounded(self):
        encoder = HPACKEncoder()
        for number in range(10000):
            encoder.encode([(b"x-%d" % number, b"v")])
        self.assertLess(len(encoder._fields), 120)
        self.assertEqual(len(encoder._names), len(encoder._fields))

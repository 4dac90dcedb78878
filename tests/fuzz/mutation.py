"""Byte strings made out of others: whatever may happen to them between a sane peer and us."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST = 4096
"""Bytes that what is made has at most."""

_NUMBERS = (b"0", b"1", b"5", b"-1", b"+1", b"00", b"0x10", b"65536", b"4294967296", b"9" * 20)
_BYTES = (b"\0", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\x7f", b"\x80", b"\xff", b":", b";", b",")


class Mutator:
    """Makes inputs of ``seeds`` and of the ``words`` that mean something to what is tried."""

    def __init__(
        self, source: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()
    ) -> None:
        self._random = source
        self._seeds = list(seeds)
        self._words = [*words, *_NUMBERS, *_BYTES]
        self._ways: tuple[Callable[[bytearray], object], ...] = (
            self._flip_a_bit,
            self._change_a_byte,
            self._insert_a_word,
            self._insert_a_word,
            self._replace_by_a_word,
            self._delete,
            self._repeat,
            self._move,
            self._cut,
            self._splice,
            self._change_a_number,
        )

    def add(self, seed: bytes) -> None:
        """Use one more input as a seed."""
        self._seeds.append(seed)

    def make(self) -> bytes:
        """Return an input."""
        data = bytearray(self._random.choice(self._seeds))
        for _ in range(self._random.choice((1, 1, 2, 3, 5, 8))):
            self._random.choice(self._ways)(data)
        return bytes(data[:LONGEST])

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut an input as a network might."""
        if len(data) < 2:
            return [data]
        count = self._random.randint(1, min(6, len(data) - 1))
        cuts = sorted(self._random.sample(range(1, len(data)), count))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _place(self, data: bytearray) -> int:
        return self._random.randint(0, len(data))

    def _range(self, data: bytearray) -> tuple[int, int]:
        start = self._place(data)
        size = self._random.choice((1, 1, 2, 4, 8, 16, 64))
        return start, min(start + size, len(data))

    def _flip_a_bit(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _change_a_byte(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _insert_a_word(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.choice(self._words)

    def _replace_by_a_word(self, data: bytearray) -> None:
        start, end = self._range(data)
        data[start:end] = self._random.choice(self._words)

    def _delete(self, data: bytearray) -> None:
        start, end = self._range(data)
        del data[start:end]

    def _repeat(self, data: bytearray) -> None:
        start, end = self._range(data)
        data[start:start] = data[start:end] * self._random.choice((1, 1, 2, 10))

    def _move(self, data: bytearray) -> None:
        start, end = self._range(data)
        part = data[start:end]
        del data[start:end]
        place = self._place(data)
        data[place:place] = part

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._seeds)
        data[self._place(data) :] = other[self._random.randint(0, len(other)) :]

    def _change_a_number(self, data: bytearray) -> None:
        """Change one or two bytes as if they were a length."""
        if len(data) >= 2:
            place = self._random.randrange(len(data) - 1)
            number = int.from_bytes(data[place : place + 2], "big")
            number += self._random.choice((-256, -2, -1, 1, 2, 256))
            data[place : place + 2] = (number % 65536).to_bytes(2, "big")

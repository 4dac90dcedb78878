"""Values that are equal where what they hold is."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.keyed import Keyed


class Number(Keyed):
    """One kind."""

    def __init__(self, value: int, note: str = "") -> None:
        self.value = value
        self.note = note

    def _key(self) -> tuple[Any, ...]:
        return (self.value,)


class Size(Number):
    """Another kind."""


class KeyedTests(SynchronousTestCase):
    """`Keyed`."""

    def test_equal_where_the_key_is(self) -> None:
        self.assertEqual(Number(1, "a"), Number(1, "b"))
        self.assertEqual(hash(Number(1, "a")), hash(Number(1, "b")))
        self.assertNotEqual(Number(1), Number(2))

    def test_another_class_is_never_equal(self) -> None:
        self.assertNotEqual(Number(1), Size(1))
        self.assertNotEqual(Number(1), 1)
        self.assertNotEqual(Number(1), (1,))

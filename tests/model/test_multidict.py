"""Tests of `interceptor.model.multidict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.cookies import CookieAttributes
from interceptor.model.multidict import MultiDict, MultiDictView, MultiMap

PAIRS = (("a", 1), ("b", 2), ("a", 3))


if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    Base = object


class MultiMapMixin(Base):
    """What every multi-map does; ``make`` gives one of `PAIRS`."""

    def make(self) -> MultiMap[str, int]:
        raise NotImplementedError

    def test_reading(self) -> None:
        made = self.make()
        self.assertEqual(1, made["a"])
        self.assertEqual([1, 3], made.get_all("a"))
        self.assertEqual([], made.get_all("c"))
        self.assertRaises(KeyError, made.__getitem__, "c")
        self.assertEqual(["a", "b"], list(made))
        self.assertEqual(2, len(made))
        self.assertIn("b", made)

    def test_items(self) -> None:
        made = self.make()
        self.assertEqual(list(PAIRS), made.items(multi=True))
        self.assertEqual(["a", "b", "a"], made.keys(multi=True))
        self.assertEqual([1, 2, 3], made.values(multi=True))
        self.assertEqual([("a", 1), ("b", 2)], list(made.items()))
        self.assertEqual(["a", "b"], list(made.keys()))
        self.assertEqual([1, 2], list(made.values()))

    def test_changing(self) -> None:
        made = self.make()
        made["a"] = 4
        self.assertEqual((("a", 4), ("b", 2)), made.fields)
        made.add("a", 5)
        made.insert(0, "c", 6)
        self.assertEqual((("c", 6), ("a", 4), ("b", 2), ("a", 5)), made.fields)
        made.set_all("a", [7, 8, 9])
        self.assertEqual((("c", 6), ("a", 7), ("b", 2), ("a", 8), ("a", 9)), made.fields)
        del made["a"]
        self.assertEqual((("c", 6), ("b", 2)), made.fields)
        self.assertRaises(KeyError, made.__delitem__, "a")
        made.clear()
        self.assertEqual((), made.fields)

    def test_equality(self) -> None:
        self.assertEqual(self.make(), MultiDict(PAIRS))
        self.assertNotEqual(self.make(), MultiDict(PAIRS[:2]))
        self.assertEqual(self.make(), {"a": 1, "b": 2})
        self.assertNotEqual(self.make(), 3)

    def test_copy_is_independent(self) -> None:
        made = self.make()
        copied = made.copy()
        copied["a"] = 9
        self.assertEqual(PAIRS, made.fields)

    def test_repr(self) -> None:
        self.assertIn(repr(list(PAIRS)), repr(self.make()))


class MultiDictTests(MultiMapMixin, SynchronousTestCase):
    def make(self) -> MultiMap[str, int]:
        return MultiDict(PAIRS)

    def test_from_mappings(self) -> None:
        self.assertEqual((("a", 1),), MultiDict({"a": 1}).fields)
        self.assertEqual(PAIRS, MultiDict(self.make()).fields)


class MultiDictViewTests(MultiMapMixin, SynchronousTestCase):
    def make(self) -> MultiMap[str, int]:
        held: list[tuple[tuple[str, int], ...]] = [PAIRS]

        def write(pairs: tuple[tuple[str, int], ...]) -> None:
            held[0] = pairs

        return MultiDictView(lambda: held[0], write)


class CookieAttributesTests(SynchronousTestCase):
    def test_names_are_found_in_any_case(self) -> None:
        made = CookieAttributes([("Path", "/")])
        made["path"] = "/a"
        self.assertEqual((("Path", "/a"),), made.fields)

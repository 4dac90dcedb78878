"""What mappings with several values for a key offer besides those of one value each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    KeysView,
    MutableMapping,
    Sequence,
    ValuesView,
)
from typing import Any, Literal, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")


class MultiViews(MutableMapping[K, V]):
    """A mapping whose views may have every pair, by ``multi``, instead of every key once."""

    __slots__ = ()

    @abstractmethod
    def _pairs(self) -> Sequence[tuple[K, V]]:
        """Return all pairs, in order."""

    @overload
    def keys(self, multi: Literal[False] = False) -> KeysView[K]: ...

    @overload
    def keys(self, multi: Literal[True]) -> list[K]: ...

    def keys(self, multi: bool = False) -> KeysView[K] | list[K]:
        """Return the keys: each once, or with ``multi`` one for every pair."""
        if multi:
            return [key for key, _ in self._pairs()]
        return super().keys()

    @overload
    def values(self, multi: Literal[False] = False) -> ValuesView[V]: ...

    @overload
    def values(self, multi: Literal[True]) -> list[V]: ...

    def values(self, multi: bool = False) -> ValuesView[V] | list[V]:
        """Return the values: what each key reads as, or with ``multi`` one for every pair."""
        if multi:
            return [value for _, value in self._pairs()]
        return super().values()

    @overload
    def items(self, multi: Literal[False] = False) -> ItemsView[K, V]: ...

    @overload
    def items(self, multi: Literal[True]) -> list[tuple[K, V]]: ...

    def items(self, multi: bool = False) -> ItemsView[K, V] | list[tuple[K, V]]:
        """Return the pairs: each key with what it reads as, or with ``multi`` all of them."""
        if multi:
            return list(self._pairs())
        return super().items()


def put_values(
    pairs: Iterable[tuple[K, V]], fold: Callable[[Any], Any], key: Any, values: Iterable[V]
) -> tuple[list[tuple[K, V]], list[V]]:
    """Give the pairs of a key, which is folded already, these values.

    They keep their places and their keys as written; surplus pairs are left out. Returns what
    there is then, and the values for which there was no pair.
    """
    left = list(values)
    left.reverse()
    made = []
    for pair in pairs:
        if fold(pair[0]) != key:
            made.append(pair)
        elif left:
            made.append((pair[0], left.pop()))
    left.reverse()
    return made, left

"""Ordered multi-maps: several values per key, in the order in which they came."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from interceptor.model.multiviews import K, MultiViews, V, put_values

Pairs = Mapping[K, V] | Iterable[tuple[K, V]]
"""What a multi-map may be made from; a multi-map as well as any mapping counts as Mapping."""


def pairs_of(value: Pairs[K, V]) -> tuple[tuple[K, V], ...]:
    """Return (key, value) pairs; every value of a multi-map, a mapping's items, or pairs."""
    if isinstance(value, MultiMap):
        return tuple(value.fields)
    if isinstance(value, Mapping):
        return tuple(value.items())
    return tuple((key, item) for key, item in value)


class MultiMap(MultiViews[K, V]):
    """A mapping over ``fields``, a tuple of (key, value) pairs.

    Reading a key gives its first value; assigning to it replaces all of them by one.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def fields(self) -> tuple[tuple[K, V], ...]:
        """All pairs in order; may be assigned to."""

    @fields.setter
    @abstractmethod
    def fields(self, fields: tuple[tuple[K, V], ...]) -> None: ...

    def _fold(self, key: Any) -> Any:
        """Return what keys are compared by."""
        return key

    def get_all(self, key: K) -> list[V]:
        """Return all values of a key, in order; an empty list if none."""
        wanted = self._fold(key)
        return [value for name, value in self.fields if self._fold(name) == wanted]

    def __getitem__(self, key: K) -> V:
        wanted = self._fold(key)
        for name, value in self.fields:
            if self._fold(name) == wanted:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[K]:
        seen = set()
        for name, _ in self.fields:
            folded = self._fold(name)
            if folded not in seen:
                seen.add(folded)
                yield name

    def __len__(self) -> int:
        return len({self._fold(name) for name, _ in self.fields})

    def set_all(self, key: K, values: Iterable[V]) -> None:
        """Make these the values of a key.

        Pairs that are already there keep their places; surplus ones are removed and missing ones
        appended.
        """
        fields, left = put_values(self.fields, self._fold, self._fold(key), values)
        self.fields = (*fields, *[(key, value) for value in left])

    def __setitem__(self, key: K, value: V) -> None:
        self.set_all(key, [value])

    def __delitem__(self, key: K) -> None:
        wanted = self._fold(key)
        before = self.fields
        after = tuple(pair for pair in before if self._fold(pair[0]) != wanted)
        if len(after) == len(before):
            raise KeyError(key)
        self.fields = after

    def add(self, key: K, value: V) -> None:
        """Append a pair, whether or not there is one of that key."""
        self.fields = (*self.fields, (key, value))

    def insert(self, index: int, key: K, value: V) -> None:
        """Insert a pair before position ``index`` of ``fields``."""
        fields = self.fields
        self.fields = (*fields[:index], (key, value), *fields[index:])

    def clear(self) -> None:
        self.fields = ()

    def _pairs(self) -> tuple[tuple[K, V], ...]:
        return self.fields

    def copy(self) -> MultiDict[K, V]:
        """Return an independent copy, which is written back nowhere."""
        return MultiDict(self.fields)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiMap):
            return bool(self.fields == other.fields)
        if isinstance(other, Mapping):
            return dict(self.items()) == dict(other.items())
        return NotImplemented

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({list(self.fields)!r})"


class MultiDict(MultiMap[K, V]):
    """A multi-map that holds its pairs itself."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Pairs[K, V] = ()) -> None:
        self._fields = pairs_of(fields)

    @property
    def fields(self) -> tuple[tuple[K, V], ...]:
        """All pairs in order; may be assigned to."""
        return self._fields

    @fields.setter
    def fields(self, fields: Iterable[tuple[K, V]]) -> None:
        self._fields = tuple(fields)


class MultiDictView(MultiMap[K, V]):
    """A multi-map that is parsed from a message at each reading, and written back to it."""

    __slots__ = ("_get", "_set")

    def __init__(
        self,
        get: Callable[[], tuple[tuple[K, V], ...]],
        set: Callable[[tuple[tuple[K, V], ...]], None],
    ) -> None:
        self._get = get
        self._set = set

    @property
    def fields(self) -> tuple[tuple[K, V], ...]:
        """All pairs in order; may be assigned to."""
        return self._get()

    @fields.setter
    def fields(self, fields: Iterable[tuple[K, V]]) -> None:
        self._set(tuple(fields))

    def assign(self, value: Pairs[K, V]) -> None:
        """Replace everything by the pairs of ``value``."""
        self._set(pairs_of(value))

"""Values that are equal where what they hold is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Keyed(ABC):
    """Compares by `_key`, with others of its own class."""

    __slots__ = ()

    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """Return what tells one from another."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keyed) and type(other) is type(self):
            return self._key() == other._key()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

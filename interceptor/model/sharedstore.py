"""What the workers of one proxy share: named values that expire, counters, all of it bounded."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from interceptor.errors import SharedStateError

KEY_LIMIT: Final = 256
"""Characters that a key, or the name of a channel, may have."""

VALUE_LIMIT: Final = 1 << 16
"""Bytes that a value, or a message, may have as JSON."""

MOST_KEYS: Final = 100_000
"""How many keys there may be at once."""

MOST_BYTES: Final = 64 << 20
"""How much all keys and values together may take, in bytes of JSON."""


def encode(value: object) -> str:
    """Write a value as JSON. Raises `SharedStateError` where it is too large, or no such value."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SharedStateError(f"what is shared has to be JSON: {error}") from None
    if len(text) > VALUE_LIMIT:
        raise SharedStateError(
            f"what is shared may have {VALUE_LIMIT} bytes as JSON, this has {len(text)}"
        )
    return text


def check_key(key: object) -> str:
    """Return what can be a key or the name of a channel. Raises `SharedStateError`."""
    if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT:
        raise SharedStateError(f"a key is a text of 1 to {KEY_LIMIT} characters")
    return key


def check_expiry(seconds: object) -> float | None:
    """Return for how many seconds a value is kept; None is for good."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise SharedStateError("`expires` is a number of seconds")
    try:
        expires = float(seconds)
    except OverflowError:
        expires = math.inf
    if not 0 < expires < math.inf:
        raise SharedStateError("`expires` is a number of seconds, more than 0")
    return expires


class SharedStore:
    """Values by their keys. ``now`` gives the time in seconds.

    Values are kept as JSON, so that nobody can change what somebody else was given. Every method
    raises `SharedStateError`: ``shared-invalid`` for what cannot be kept, ``shared-full`` where
    there is no room for it.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        most_keys: int = MOST_KEYS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._now = now
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        self._entries: dict[str, tuple[str, float | None]] = {}
        self._ends: list[tuple[float, str]] = []
        self._bytes = 0

    def __len__(self) -> int:
        self._expire()
        return len(self._entries)

    def run(self, command: Mapping[str, Any]) -> object:
        """Do what a message from a worker asks for: ``do`` names the method."""
        do, key = command.get("do"), check_key(command.get("key"))
        if do == "get":
            return self.get(key)
        if do == "delete":
            return self.delete(key)
        expires = check_expiry(command.get("expires"))
        if do == "set":
            return self.set(key, command.get("value"), expires, bool(command.get("absent")))
        if do == "add":
            return self.add(key, command.get("amount"), expires)
        raise SharedStateError("there is no such operation")

    def get(self, key: str) -> object:
        """Return ``[value]``, or an empty list where there is none."""
        self._expire()
        entry = self._entries.get(key)
        return [] if entry is None else [json.loads(entry[0])]

    def set(self, key: str, value: object, expires: float | None, absent: bool) -> bool:
        """Keep a value; with ``absent`` only where there is none. Return whether it is kept."""
        text = encode(value)
        self._expire()
        if absent and key in self._entries:
            return False
        self._keep(key, text, None if expires is None else self._now() + expires)
        return True

    def add(self, key: str, amount: object, expires: float | None) -> int | float:
        """Add to a number, which is 0 at first, and return the sum.

        ``expires`` counts from when the number is made, and is not looked at later.
        """
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise SharedStateError("only a number can be added")
        self._expire()
        entry = self._entries.get(key)
        if entry is None:
            total = amount
            until = None if expires is None else self._now() + expires
        else:
            held, until = json.loads(entry[0]), entry[1]
            if isinstance(held, bool) or not isinstance(held, int | float):
                raise SharedStateError("the value of this key is not a number")
            total = held + amount
        self._keep(key, encode(total), until, renewed=entry is None)
        return total

    def delete(self, key: str) -> bool:
        """Forget a value; return whether there was one."""
        self._expire()
        return self._drop(key)

    def _keep(self, key: str, text: str, until: float | None, renewed: bool = True) -> None:
        old = self._entries.get(key)
        size = self._bytes + len(text)
        size += len(key) if old is None else -len(old[0])
        if size > self._most_bytes or (old is None and len(self._entries) >= self._most_keys):
            raise SharedStateError(
                f"no room: {len(self._entries)} keys with {self._bytes} bytes are kept already",
                "shared-full",
            )
        self._bytes = size
        self._entries[key] = (text, until)
        if until is not None and renewed:
            heapq.heappush(self._ends, (until, key))
            if len(self._ends) > 2 * len(self._entries) + 1024:
                # Most are of values that were replaced before their time.
                self._ends = [(e, k) for k, (_, e) in self._entries.items() if e is not None]
                heapq.heapify(self._ends)

    def _drop(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._bytes -= len(key) + len(entry[0])
        return True

    def _expire(self) -> None:
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            until, key = heapq.heappop(self._ends)
            entry = self._entries.get(key)
            if entry is not None and entry[1] == until:
                self._drop(key)

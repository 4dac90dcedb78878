"""What has an identity of its own, once somebody asks for it."""

from __future__ import annotations

import uuid


class Identified:
    """Has an ``id``. Whoever makes one sets ``_id`` to None."""

    __slots__ = ("_id",)

    _id: str | None

    @property
    def id(self) -> str:
        """A random UUID, made when first asked for."""
        found = self._id
        if found is None:
            found = self._id = str(uuid.uuid4())
        return found

"""How addons declare options of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from interceptor.model.options import Options


class Loader:
    """What the event ``load`` is given: how an addon declares options of its own."""

    def __init__(
        self,
        options: Options,
        shared: Collection[str] = (),
        replaceable: Collection[str] = (),
    ) -> None:
        """``shared`` are options of other addons, ``replaceable`` those that may be redeclared."""
        self._options = options
        self._shared = shared
        self._replaceable = replaceable
        self.names: list[str] = []

    def add_option(
        self,
        name: str,
        type: object,
        default: object,
        help: str,
        choices: Sequence[str] | None = None,
    ) -> None:
        """Declare the option ``name``; from then on it is ``ctx.options.name``.

        ``type`` is ``bool``, ``int``, ``float``, ``str``, each also ``| None``,
        ``Sequence[str]``, or one of ``"size"`` (bytes) and ``"duration"`` (seconds); ``choices``
        limits a text. Raises `OptionsError` when the name is taken, or when the default, or the
        value that the operator gave, does not fit.
        """
        replace = name in self._replaceable
        ours = replace or name in self._shared or name not in self._options
        self._options.add_option(name, type, default, help, choices, replace=replace)
        if ours and name not in self.names:
            self.names.append(name)

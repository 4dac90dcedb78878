"""How addons declare options, events and layers of their own."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from interceptor.errors import OptionsError
from interceptor.hooks.declarations import Declarations, LayerDeclaration, standard_events
from interceptor.model.options import Options
from interceptor.model.protocoloptions import hosts_option

if TYPE_CHECKING:
    from zope.interface.interface import InterfaceClass


class Loader:
    """What the event ``load`` is given: how an addon declares options, events and layers."""

    def __init__(
        self,
        options: Options,
        shared: Collection[str] = (),
        replaceable: Collection[str] = (),
        declared: Declarations | None = None,
        old: Loader | None = None,
    ) -> None:
        """``shared`` are options of other addons, ``replaceable`` those that may be redeclared.

        So may be the events and layers of ``old``.
        """
        self._options = options
        self._declared = Declarations() if declared is None else declared
        self._old = old
        self.events: list[str] = []
        self.layers: list[str] = []
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
        self._note(name)
        self._options.add_option(
            name, type, default, help, choices, replace=name in self._replaceable
        )

    def _note(self, name: str) -> None:
        """Remember an option as this addon's, unless it is the core's."""
        ours = name in self._replaceable or name in self._shared or name not in self._options
        if ours and name not in self.names:
            self.names.append(name)

    def add_events(self, interface: InterfaceClass) -> None:
        """Declare the events that are the methods of a zope interface, each with one argument.

        Other addons' hooks are checked against them, and called by `HookBus.get`. Raises
        `ScriptError` when an event of that name is there already.
        """
        self._declared.add_events(
            interface, replaceable=() if self._old is None else self._old.events
        )
        self.events += [name for name in interface.names() if name not in self.events]

    def add_layer(self, layer: Any) -> None:
        """Let operators choose a layer, by the name that it has in its attribute ``name``.

        ``layer`` is a class of layers, as a rule a subclass of `interceptor.layers.MessageLayer` or
        `interceptor.layers.PairLayer`. There is an option ``NAME_hosts`` from then on, and the mode
        ``reverse:NAME://HOST:PORT``. The events that it fires are declared as well: those of the
        interface in its attribute ``hooks``, else ``NAME_start``, ``NAME_message``, ``NAME_error``
        and ``NAME_end``. Raises `ScriptError` or `OptionsError`.
        """
        declaration = LayerDeclaration(layer.name, layer)
        self._declared.add_layer(
            declaration, replaceable=() if self._old is None else self._old.layers
        )
        self.layers.append(declaration.name)
        hooks = getattr(layer, "hooks", None)
        self.add_events(standard_events(declaration.name) if hooks is None else hooks)
        option = hosts_option(declaration.name, getattr(layer, "title", declaration.name))
        self._note(option.name)
        self._options.declare(option, replace=option.name in self._replaceable)
        for pattern in getattr(self._options, declaration.option):
            try:
                re.compile(pattern)
            except re.error as error:
                raise OptionsError(
                    f"option `{declaration.option}`: {pattern!r}: {error}"
                ) from error

"""What addons have declared: events of their own, and layers that operators choose by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from zope.interface import Interface
from zope.interface.interface import InterfaceClass, Method, fromFunction

from interceptor.errors import ScriptError
from interceptor.hooks.events import EVENTS, Event, read_events

_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,31}", re.ASCII)

_STANDARD: Final = {
    "start": "Called when a {name} connection has begun, before anything is passed on.",
    "message": "Called for every {name} message, before it is passed on: ``flow.messages[-1]``.",
    "error": "Called when a {name} connection failed or was killed; ``flow.error`` says why.",
    "end": "Called last and once for each `{name}_start`, after `{name}_error` too.",
}
"""The events of a layer that declares none, by what comes after its name."""


@dataclass(frozen=True, slots=True)
class LayerDeclaration:
    """A layer that operators choose by ``name``.

    They do that in a mode (``reverse:NAME://HOST:PORT``, or ``NAMEs`` for TLS with the server), or
    by the option ``NAME_hosts``. ``factory`` is called as the constructors of layers are: with the
    context, the connection to the server or None, and the destination.
    """

    name: str
    factory: Callable[..., Any]

    def port(self, encrypted: bool) -> int:
        """Return the port of servers that are named without one; 0 where they have to be."""
        found = getattr(self.factory, "tls_port" if encrypted else "port", None)
        return found or getattr(self.factory, "port", None) or 0

    @property
    def option(self) -> str:
        """The option that has the hosts with which it is spoken."""
        return f"{self.name}_hosts"


class Declarations:
    """The events and the layers of one chain: the core's, and those of its addons.

    ``events`` and ``layers`` are replaced when anything changes, never changed.
    """

    def __init__(self) -> None:
        self.events: dict[str, Event] = dict(EVENTS)
        self.layers: dict[str, LayerDeclaration] = {}

    def add_events(self, interface: InterfaceClass, *, replaceable: Iterable[str] = ()) -> None:
        """Declare the events of ``interface``.

        Raises `ScriptError` where one of them exists, unless it is ``replaceable`` or declared by
        this very interface. Every event has one argument.
        """
        new = {event.name: event for event in read_events(interface)}
        for name, event in new.items():
            old = self.events.get(name)
            if old is not None and old.interface is not interface and name not in replaceable:
                raise ScriptError(f"event `{name}`: there is one already")
            if len(event.arguments) != 1:
                raise ScriptError(f"event `{event.signature}`: it has to have one argument")
            if event.general and event.general not in EVENTS:
                raise ScriptError(f"event `{name}`: there is no general event `{event.general}`")
        self.events = {**self.events, **new}

    def add_layer(self, declaration: LayerDeclaration, *, replaceable: Iterable[str] = ()) -> None:
        """Let operators choose a layer. Raises `ScriptError` where the name is not free."""
        name = declaration.name
        if not _NAME.fullmatch(name):
            raise ScriptError(f"layer `{name}`: a name is lower-case letters and digits")
        if name in self.layers and name not in replaceable:
            raise ScriptError(f"layer `{name}`: there is one already")
        self.layers = {**self.layers, name: declaration}

    def remove(self, events: Iterable[str], layers: Iterable[str]) -> None:
        """Take declarations back."""
        gone, others = set(events), set(layers)
        self.events = {name: event for name, event in self.events.items() if name not in gone}
        self.layers = {name: layer for name, layer in self.layers.items() if name not in others}

    def snapshot(self) -> object:
        """Return what `restore` takes."""
        return self.events, self.layers

    def restore(self, snapshot: Any) -> None:
        """Go back to what `snapshot` gave."""
        self.events, self.layers = snapshot


def standard_events(name: str) -> InterfaceClass:
    """Make the interface of a layer that declares no events of its own.

    They are ``NAME_start``, ``NAME_message``, ``NAME_error`` and ``NAME_end``, and the general
    events stand in for them.
    """
    methods: dict[str, Any] = {}
    general = {}
    for kind, text in _STANDARD.items():
        event = f"{name}_{kind}"
        methods[event] = _method(event, text.format(name=name))
        general[event] = f"protocol_{kind}"
    interface = InterfaceClass(
        f"I{name.capitalize()}Hooks", (Interface,), methods, __doc__=f"Connections in {name}."
    )
    interface.setTaggedValue("title", f"{name.capitalize()} events")
    interface.setTaggedValue("general", general)
    return interface


def _method(name: str, documentation: str) -> Method:
    def event(flow: Any) -> None:
        """Is replaced by the event's own text."""

    event.__doc__ = documentation
    made: Method = fromFunction(event, name=name)
    return made

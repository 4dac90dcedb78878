"""The registry of events, read off the interfaces that declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Final

from zope.interface.interface import InterfaceClass, Method

from interceptor.hooks.interfaces import HOOK_INTERFACES

_LIKENESS: Final = 0.85
"""From which ratio of common letters on two names are taken for the same, misspelt."""

_OTHER_NAMES: Final = {
    "add_log": "log",
    "client_connected": "clientconnect",
    "client_disconnected": "clientdisconnect",
    "server_connect_error": "serverconnect_failed",
    "server_disconnected": "serverdisconnect",
}
"""Names that other proxies, or other versions of the event specification, give to our events."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its hook's name, its arguments' names, and how its hooks may answer.

    ``answers`` says what a value that the hook returns is, empty where it may return none.
    A ``synchronous`` event's hooks have to answer at once. ``general`` is the event whose hook is
    called in an addon that has none for this one.
    """

    name: str
    arguments: tuple[str, ...]
    interface: InterfaceClass
    documentation: str
    answers: str = ""
    synchronous: bool = False
    general: str = ""

    @property
    def signature(self) -> str:
        """The hook as it is defined: ``request(flow)``."""
        return f"{self.name}({', '.join(self.arguments)})"


def read_events(interface: InterfaceClass) -> list[Event]:
    """The events that an interface declares: one for each of its methods.

    Its tagged values say more: ``answers`` and ``general`` map names of events to what `Event` has
    under these names, ``synchronous`` lists events, and ``title`` is the heading of all of them.
    """
    answers = interface.queryTaggedValue("answers", {})
    synchronous = interface.queryTaggedValue("synchronous", ())
    general = interface.queryTaggedValue("general", {})
    return [
        Event(
            name,
            tuple(method.positional),
            interface,
            inspect.cleandoc(str(method.__doc__)),
            answers.get(name, ""),
            name in synchronous,
            general.get(name, ""),
        )
        for name, method in interface.namesAndDescriptions()
        if isinstance(method, Method)
    ]


EVENTS: Final[Mapping[str, Event]] = MappingProxyType(
    {event.name: event for interface in HOOK_INTERFACES for event in read_events(interface)}
)
"""Every event by its name, in the order of the interfaces."""

PER_ADDON: Final = frozenset(("start", "load", "configure", "done"))
"""Events that one addon gets by itself; all others go to the whole chain."""


def near_miss(name: str, events: Mapping[str, Event] = EVENTS) -> str | None:
    """The event that a hook named ``name`` was probably meant for; None if there is no such one.

    The name of an event is none, nor is a name that begins with an underscore.
    """
    if name in events or name.startswith("_"):
        return None
    if any(name == event.general for event in events.values()):
        return None
    known = {each.replace("_", ""): each for each in events}
    plain = name.replace("_", "").lower()
    meant = _OTHER_NAMES.get(name) or known.get(plain)
    if meant is not None:
        return meant
    best, likeness = None, _LIKENESS
    for candidate, event in known.items():
        ratio = SequenceMatcher(None, plain, candidate, autojunk=False).ratio()
        if ratio >= likeness:
            best, likeness = event, ratio
    return best


def arity_fault(hook: Callable[..., object], event: Event) -> str | None:
    """What is wrong with the number of arguments that ``hook`` takes; None if nothing is."""
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*event.arguments)
    except TypeError:
        bare = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in signature.parameters.values()
        ]
        signature = inspect.Signature(bare)
        given = len(event.arguments)
        return (
            f"`{event.name}{signature}` cannot be called as `{event.signature}`: "
            f"the event gives {given} argument{'' if given == 1 else 's'}"
        )
    return None

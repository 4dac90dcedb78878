"""The hook reference, made from the interfaces: for ``interceptor hooks`` and for the manual."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from interceptor.hooks.events import Event, read_events
from interceptor.hooks.interfaces import HOOK_INTERFACES

if TYPE_CHECKING:
    from zope.interface.interface import InterfaceClass

_WIDTH: Final = 88
_INTERPRETED = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True, slots=True)
class EventGroup:
    """The events of one interface, under one heading, with what they have in common."""

    title: str
    introduction: str
    events: tuple[Event, ...]


def describe(others: Iterable[InterfaceClass] = ()) -> list[EventGroup]:
    """All events, grouped as the interfaces declare them: the core's, then ``others``."""
    return [
        EventGroup(
            interface.getTaggedValue("title"),
            _cleaned(interface.__doc__),
            tuple(read_events(interface)),
        )
        for interface in (*HOOK_INTERFACES, *others)
    ]


def as_text(others: Iterable[InterfaceClass] = ()) -> str:
    """The reference for a terminal; ``others`` are interfaces of addons that belong to it."""
    return "\n".join(_text_lines(describe(others)))


def as_rst(others: Iterable[InterfaceClass] = ()) -> str:
    """The reference as reStructuredText: one section for each group, one definition each event."""
    return "\n".join(_rst_lines(describe(others)))


def _text_lines(groups: Iterable[EventGroup]) -> Iterator[str]:
    for group in groups:
        yield group.title.upper()
        yield from _filled(group.introduction, "  ")
        yield ""
        for event in group.events:
            yield f"  {event.signature}"
            yield from _filled(_documentation(event), "      ")
            yield ""


def _rst_lines(groups: Iterable[EventGroup]) -> Iterator[str]:
    for group in groups:
        yield group.title
        yield "-" * len(group.title)
        yield ""
        yield _INTERPRETED.sub(r"``\1``", group.introduction)
        yield ""
        for event in group.events:
            yield f".. _event-{event.name.replace('_', '-')}:"
            yield ""
            yield f"``{event.signature}``"
            text = _INTERPRETED.sub(r"``\1``", _documentation(event))
            yield from textwrap.indent(text, "    ").splitlines()
            yield ""


def _documentation(event: Event) -> str:
    if event.answers:
        return f"{event.documentation}\n\nMay return {event.answers}."
    return event.documentation


def _cleaned(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(lines)


def _filled(text: str, margin: str) -> Iterator[str]:
    """The paragraphs of a docstring, without its markup, filled anew."""
    plain = text.replace("``", "").replace("`", "")
    for number, paragraph in enumerate(plain.split("\n\n")):
        if number:
            yield ""
        yield textwrap.fill(
            " ".join(paragraph.split()),
            _WIDTH,
            initial_indent=margin,
            subsequent_indent=margin,
            break_long_words=False,
        )

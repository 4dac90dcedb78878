"""Short ways to write the options in the tables of this package."""

from __future__ import annotations

from dataclasses import replace

from interceptor.model.option import Option


def grouped(group: str, *options: Option) -> tuple[Option, ...]:
    """Return the options as members of a group of the manual."""
    return tuple(replace(option, group=group) for option in options)


def flag(name: str, default: bool, help: str) -> Option:
    """Return an option that is on or off."""
    return Option(name, "bool", default, help)


def count(name: str, default: int, help: str, maximum: int | None = None) -> Option:
    """Return an option for a number of things, at least one."""
    return Option(name, "int", default, help, minimum=1, maximum=maximum)


def size(name: str, default: int, help: str, minimum: int = 0) -> Option:
    """Return an option for a number of bytes."""
    return Option(name, "size", default, help, minimum=minimum or None)


def duration(name: str, default: float, help: str, minimum: float = 0.001) -> Option:
    """Return an option for a time in seconds."""
    return Option(name, "duration", default, help, minimum=minimum or None)


def choice(name: str, choices: tuple[str, ...], default: str, help: str) -> Option:
    """Return an option that is one of several words."""
    return Option(name, "choice", default, help, choices=choices)

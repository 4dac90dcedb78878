"""The options reference, made from the declarations: as plain text, reStructuredText and TOML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from interceptor.model.option import Option
from interceptor.model.options import Options
from interceptor.model.wording import toml_text

_WIDTH = 88


def as_text(options: Options) -> str:
    """Give the reference for a terminal."""
    parts = []
    for group, members in _groups(options):
        parts.append(f"{group}\n")
        for option in members:
            parts.append(f"  {option.name} ({_summary(option)})\n")
            text = option.help + _bounds(option)
            parts.append(textwrap.indent(textwrap.fill(text, _WIDTH - 6), "      ") + "\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def as_rst(options: Options) -> str:
    """Give the reference for the manual: a section per group, a definition per option."""
    parts = []
    for group, members in _groups(options):
        parts.append(f"{group}\n{'-' * len(group)}\n\n")
        for option in members:
            default = option.to_text(option.default)
            written = f"default ``{default}``" if default else "unset by default"
            parts.append(f"``{option.name}`` : {option.type_name}, {written}\n")
            text = _escaped(option.help + _bounds(option))
            parts.append(textwrap.indent(textwrap.fill(text, _WIDTH - 4), "    ") + "\n\n")
    return "".join(parts).rstrip() + "\n"


def as_toml(options: Options) -> str:
    """Give a configuration file that explains every option.

    What nobody has set is there as a comment, so that the file pins no default.
    """
    parts = []
    for group, members in _groups(options):
        parts.append(f"# --- {group} ---\n\n")
        for option in members:
            text = f"{option.help}{_bounds(option)}"
            parts.append(textwrap.indent(textwrap.fill(text, _WIDTH - 2), "# ") + "\n")
            mark = "" if options.is_set(option.name) else "#"
            value = _toml_value(option, getattr(options, option.name))
            parts.append(f"{mark}{option.name} = {value}\n\n")
    return "".join(parts).rstrip() + "\n"


def _groups(options: Options) -> Iterator[tuple[str, list[Option]]]:
    groups: dict[str, list[Option]] = {}
    for option in options.options():
        groups.setdefault(option.group or "Options of scripts", []).append(option)
    yield from groups.items()


def _summary(option: Option) -> str:
    default = option.to_text(option.default)
    return f"{option.type_name}, default {default}" if default else f"{option.type_name}, unset"


def _bounds(option: Option) -> str:
    """What the help does not say: the choices or the range."""
    if option.choices:
        return f" {'Any' if option.kind == 'sequence' else 'One'} of {', '.join(option.choices)}."
    return f" {option.bounds.capitalize()}." if option.bounds else ""


def _toml_value(option: Option, value: object) -> str:
    if value is not None and option.kind in ("bool", "int", "float", "sequence"):
        return option.to_text(value)
    return toml_text(option.to_text(value))


def _escaped(text: str) -> str:
    """``text`` with the characters escaped that reStructuredText would take for markup."""
    for character in "\\*`|_":
        text = text.replace(character, "\\" + character)
    return text

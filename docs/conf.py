"""Configuration of the manual; also writes the pages' generated parts, into ``generated``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from interceptor import __version__
from interceptor.addons.protocols import PROTOCOL_HOOKS
from interceptor.filters import reference as filters
from interceptor.hooks import reference as hooks
from interceptor.model import optionreference as options
from interceptor.model.coreoptions import core_options
from interceptor.trusthelp import GUIDES, Files, Step

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent

project = "interceptor"
author = "interceptor contributors"
copyright = "interceptor contributors"
version = release = __version__

exclude_patterns = ["_build", "generated", "examples"]
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {
    "description": "A scriptable intercepting proxy on Twisted",
    "fixed_sidebar": True,
    "page_width": "1040px",
}
html_show_copyright = False
html_copy_source = False


def describe_scripts(directory: Path) -> str:
    """Return a section for each script: what its docstring says, and its text."""
    parts = []
    for path in sorted(directory.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_bytes()))
        if text is None:
            raise ValueError(f"{path} has no docstring")
        parts += [
            f".. _script-{path.stem.replace('_', '-')}:",
            "",
            path.name,
            "-" * len(path.name),
            "",
            text,
            "",
            ".. container:: script",
            "",
            f"   .. literalinclude:: /../{directory.name}/{path.name}",
            "      :language: python",
            "",
        ]
    return "\n".join(parts)


def describe_trust() -> str:
    """Return a section for each system and program: how it is made to trust the authority."""
    files = Files()
    parts = []
    for guide in GUIDES:
        parts += [f".. _trust-{guide.key}:", "", guide.title, "~" * len(guide.title), ""]
        parts += describe_steps(guide.install, files)
        if guide.remove:
            parts += ["To undo it:", "", *describe_steps(guide.remove, files)]
    return "\n".join(parts)


def describe_steps(steps: Iterable[Step], files: Files) -> Iterator[str]:
    """Yield the lines of some steps, their commands as literal text."""
    for step in steps:
        # Names and paths are as they are; what is code in the text has single backticks there.
        text = re.sub(r"([*_|\\])", r"\\\1", files.fill(step.text))
        yield re.sub(r"`([^`]+)`", r"``\1``", text)
        yield ""
        if step.commands:
            yield from ("::", "", *(f"    {files.fill(each)}" for each in step.commands), "")


def write_generated(directory: Path) -> None:
    """Write what is made from the program itself; a file that would not change is left alone."""
    directory.mkdir(exist_ok=True)
    parts = {
        "filters.inc": filters.as_rst(),
        "hooks.inc": hooks.as_rst(PROTOCOL_HOOKS),
        "options.inc": options.as_rst(core_options()),
        "scripts.inc": describe_scripts(CHECKOUT / "scripts"),
        "trust.inc": describe_trust(),
    }
    for name, text in parts.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


write_generated(HERE / "generated")

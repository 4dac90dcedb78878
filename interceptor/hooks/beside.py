"""Modules beside scripts: found while a script is loaded, told apart, imported again when changed.

Such modules are imported as any other, under their plain names. Two directories may have modules of
one name: each script gets that of its own directory.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

Signature = tuple[int, int, int]


class _Beside(NamedTuple):
    """A module that was imported for a script: from where, and what its file was like."""

    directory: str
    file: str
    signature: Signature | None


_modules: dict[str, _Beside] = {}


def signature_of(file: str) -> Signature | None:
    """What changes when a file does; None while there is no such file."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def files_beside(directory: str) -> list[str]:
    """The files of the modules that scripts in ``directory`` have imported from there."""
    return sorted(beside.file for beside in _modules.values() if beside.directory == directory)


@contextmanager
def importable(directory: str) -> Iterator[None]:
    """Let modules in ``directory`` be imported for a while, before all others.

    Those whose files have changed since are imported anew, together with the rest of them.
    """
    _make_room(directory)
    before = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        if directory in sys.path:
            sys.path.remove(directory)
        for name in set(sys.modules) - before:
            _note(name, directory, before)


def _make_room(directory: str) -> None:
    """Forget modules that are outdated, and those of other directories that are in the way."""
    ours = {name: one for name, one in _modules.items() if one.directory == directory}
    outdated = any(signature_of(one.file) != one.signature for one in ours.values())
    for name, one in list(_modules.items()):
        if outdated if name in ours else _has_module(directory, name.partition(".")[0]):
            del _modules[name]
            if getattr(sys.modules.get(name), "__file__", None) == one.file:
                del sys.modules[name]


def _has_module(directory: str, name: str) -> bool:
    path = os.path.join(directory, name)
    return os.path.isfile(f"{path}.py") or os.path.isfile(os.path.join(path, "__init__.py"))


def _note(name: str, directory: str, before: set[str]) -> None:
    # What lies beside a script by chance, and was imported by somebody else, is left alone.
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if top in before or not isinstance(file, str) or not _has_module(directory, top):
        return
    if os.path.commonpath((directory, os.path.abspath(file))) == directory:
        _modules[name] = _Beside(directory, file, signature_of(file))

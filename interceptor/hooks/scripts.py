"""Script files: reading, running, noticing that they changed."""

from __future__ import annotations

import itertools
import os
import shlex
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from interceptor.errors import InterceptorError, ScriptError
from interceptor.hooks.beside import Signature, files_beside, signature_of
from interceptor.hooks.context import CURRENT, Binding, own_arguments
from interceptor.hooks.tracebacks import cut_traceback
from interceptor.model.ownership import writers

_PUBLIC_CTX: Final = "interceptor.ctx"
_serial = itertools.count(1)


def fault_of(path: object, error: InterceptorError) -> str:
    """What is wrong with the script at ``path``, where its path stands in front already."""
    return str(error).removeprefix(f"script {path}").removeprefix(":").lstrip()


class Script:
    """One script with its arguments; ``spec`` is both in one text, split by the shell's rules.

    ``arguments`` are what ``sys.argv`` and ``ctx.args`` are for the script: its path, then its
    arguments. Every instance runs the file once, as a module of its own. A relative path is
    taken from the present working directory. Raises `ScriptError` when ``spec`` names no file.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        try:
            words = shlex.split(spec)
        except ValueError as error:
            raise ScriptError(f"script {spec!r}: {error}") from None
        if not words:
            raise ScriptError("script: expected a path, not an empty text")
        self.path = Path(os.path.abspath(os.path.expanduser(words[0])))
        self.arguments = [str(self.path), *words[1:]]
        self.module: ModuleType | None = None
        self._beside: list[str] = []
        self._file_seen: Signature | None = None
        self.seen: tuple[Signature | None, ...] | None = None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    def again(self) -> Script:
        """A fresh instance of the same script, from the same place whatever directory it is."""
        fresh = Script(shlex.join(self.arguments))
        fresh.spec = self.spec
        return fresh

    @property
    def directory(self) -> str:
        """Where the file is; modules there can be imported while the script is loaded."""
        return str(self.path.parent)

    def signature(self) -> tuple[Signature | None, ...] | None:
        """What changes when the file, or a module beside it, does; None while there is no file."""
        own = signature_of(str(self.path))
        if own is None:
            return None
        return own, *map(signature_of, self._beside)

    def owns(self, filename: str) -> bool:
        """Whether a source file is the script's own: itself, or beside it."""
        return os.path.dirname(filename) == self.directory

    def execute(self, binding: Binding) -> ModuleType:
        """Run the file as a new module, in which ``ctx`` is ``binding``, and return that.

        Raises `ScriptError` with the traceback, cut to the script's lines, and lets errors of
        this package pass.
        """
        module = ModuleType(f"interceptor_script_{next(_serial)}_{self.name}")
        module.__file__ = str(self.path)
        try:
            # The source itself is compiled: what an older version was compiled to never counts.
            self._file_seen = signature_of(str(self.path))
            source = self._read(binding.options.allow_writable_scripts)
            code = compile(source, str(self.path), "exec", dont_inherit=True)
        except OSError as error:
            raise ScriptError(f"script {self.path}: {error.strerror or error}") from error
        except (SyntaxError, ValueError) as error:
            raise self._failed(error) from error
        sys.modules[module.__name__] = module
        self.module = module
        token = CURRENT.set(binding)
        try:
            with own_arguments(binding):
                exec(code, module.__dict__)  # noqa: S102 - to be run is what scripts are for
        except InterceptorError:
            self.discard()
            raise
        except (Exception, SystemExit) as error:
            self.discard()
            raise self._failed(error) from error
        finally:
            CURRENT.reset(token)
        self._bind(module, binding)
        return module

    def _read(self, allow_writable: bool) -> bytes:
        """Return the source, unless others may change it: it runs with all that we may do."""
        with open(self.path, "rb") as file:
            if not allow_writable:
                for what, status in (
                    ("", os.fstat(file.fileno())),
                    ("the folder of ", os.stat(self.directory)),
                ):
                    who = writers(status)
                    if who:
                        raise ScriptError(
                            f"script {self.path}: {who} may write {what}it (mode "
                            f"{stat.S_IMODE(status.st_mode):04o}), and so could run code here: "
                            "take that away with chmod go-w, or set allow_writable_scripts",
                            "script-writable",
                        )
            return file.read()

    def note_files(self) -> None:
        """Take what the files are now as what was loaded; see `signature`."""
        # The script's own file may have changed again since it was read.
        self._beside = files_beside(self.directory)
        self.seen = (self._file_seen, *map(signature_of, self._beside))

    def discard(self) -> None:
        """Forget the module; what still runs of it goes on."""
        if self.module is not None:
            sys.modules.pop(self.module.__name__, None)
            self.module = None

    def _bind(self, module: ModuleType, binding: Binding) -> None:
        # A callback of a Deferred runs in the context of whoever fires it, so that context
        # variables do not tell it which proxy it belongs to; the module's own global does.
        public = sys.modules.get(_PUBLIC_CTX)
        for name, value in list(vars(module).items()):
            if public is not None and value is public:
                setattr(module, name, binding)

    def _failed(self, error: BaseException) -> ScriptError:
        text = cut_traceback(error, self.owns)
        return ScriptError(f"script {self.path} cannot be loaded\n{text}")

    def __repr__(self) -> str:
        return f"<Script {self.spec}>"

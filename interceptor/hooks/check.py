"""Looking over scripts without serving anything, for ``interceptor check``."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock

from interceptor.errors import InterceptorError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.installed import faults_of
from interceptor.hooks.scripts import Script, fault_of
from interceptor.model.coreoptions import core_options
from interceptor.model.options import Options


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a script: where, the line counted from 1 (0 when unknown), and what."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.text}"


class _Standstill(Clock):
    """A reactor for what is loaded but never run: time stands still, threads' calls are made."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


def check(
    specs: Iterable[str], options: Options | None = None, addons: Iterable[object] = ()
) -> list[Problem]:
    """Load scripts, each a path with optional arguments, and tell what is wrong with them.

    ``start``, ``load`` and ``configure`` of the scripts are called, and ``done`` at the end; they
    see ``options``, as a rule the core options with their defaults. Found are files that cannot be
    read or compiled, exceptions, names that are nearly an event's, hooks with the wrong number of
    arguments, options that are used but declared nowhere, and values that were given for such.
    ``addons`` are there before the scripts: those that are part of the proxy.
    """
    options = core_options() if options is None else options
    reactor = _Standstill()
    chain = AddonChain(options, reactor=reactor)
    problems: list[Problem] = []
    loaded: list[Script] = []
    complete = True
    chain.start()
    try:
        chain.add(*addons)
        for spec in specs:
            try:
                script = Script(spec)
                before = set(chain.names())
                chain.add(script)
            except InterceptorError as error:
                problems.append(_problem_of(spec, error))
                # What it declared is taken back, so that values for that seem to be for nothing.
                complete = False
                continue
            loaded.append(script)
            for name in chain.names():
                if name not in before:
                    problems += [
                        Problem(file or str(script.path), line, text)
                        for file, line, text in faults_of(
                            chain.get(name), chain.bus.declared.events
                        )
                    ]
        for script in loaded:
            problems += _unknown_options(script, options)
        if complete:
            try:
                options.check_deferred()
            except InterceptorError as error:
                problems.append(Problem("options", 0, str(error)))
    finally:
        ended = chain.shutdown()
        reactor.advance(options.shutdown_grace)
        ended.addErrback(lambda failure: None)
    return problems


def _problem_of(spec: str, error: InterceptorError) -> Problem:
    try:
        path = str(Script(spec).path)
    except InterceptorError:
        path = spec
    cause = error.__cause__ or error
    text = fault_of(path, error)
    if isinstance(cause, SyntaxError):
        return Problem(path, cause.lineno or 0, text)
    lines = [
        line
        for frame, line in traceback.walk_tb(cause.__traceback__)
        if frame.f_code.co_filename == path
    ]
    return Problem(path, lines[-1] if lines else 0, text)


def _unknown_options(script: Script, options: Options) -> Iterator[Problem]:
    """Uses of ``ctx.options.name`` where no such option is declared."""
    tree = ast.parse(script.path.read_bytes(), str(script.path))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="ctx"), attr="options"), attr=name
            ) if name not in options and not hasattr(type(options), name):
                yield Problem(str(script.path), node.lineno, f"no option is called `{name}`")

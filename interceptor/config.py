"""Options gathered from where people put them: a TOML file, the environment, a command line."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping, Sequence

from interceptor.errors import OptionsError
from interceptor.model.coreoptions import core_options
from interceptor.model.option import Texts
from interceptor.model.options import Options
from interceptor.model.ownership import writers
from interceptor.model.wording import shown

CONFIG_NAME = "config.toml"
"""The file that is read from the directory `confdir` when no other is named."""

ENVIRONMENT_PREFIX = "INTERCEPTOR_"
"""What the name of an environment variable begins with that sets an option."""


SECRETS = ("proxyauth", "ca_passphrase", "upstream_auth")
"""Options whose values nobody else may read."""


def gather_options(
    *,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    assignments: Sequence[str] = (),
) -> Options:
    """Give the core options with the values that were asked for.

    Later sources win: the defaults, the file ``config`` (or ``config.toml`` in ``confdir``, if
    there is one), the variables ``INTERCEPTOR_NAME`` of ``environ``, the ``flags`` of the command
    line, and its ``--set NAME=VALUE`` ``assignments``. Values of options that scripts may declare
    later are kept. Raises `OptionsError`.
    """
    options = core_options()
    variables = _variables(environ or {})

    # The directory decides which file is read, and every other source is stronger than the file.
    directory = core_options()
    if "confdir" in variables:
        directory.assign({"confdir": variables["confdir"]}, source=_variable("confdir"))
    chosen = [each for each in assignments if each.partition("=")[0].strip() == "confdir"]
    directory.set(*chosen, source="--set")

    path = config if config is not None else os.path.join(directory.confdir, CONFIG_NAME)
    path = os.path.expanduser(path)
    if config is not None or os.path.exists(path):
        options.assign(read_config(path), source=path, defer=True)
    for name, text in variables.items():
        options.assign({name: text}, source=_variable(name), defer=True)
    options.assign(flags or {})
    options.set(*assignments, source="--set", defer=True)
    return options


def read_config(path: str) -> dict[str, object]:
    """Give the values in a TOML file, not checked yet.

    The path of a script that is not absolute is relative to the file, so that what is loaded does
    not depend on the working directory. Raises `OptionsError` when it cannot be read.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
            _check_mode(path, os.fstat(file.fileno()), values)
    except OSError as error:
        raise OptionsError(f"cannot read {shown(path, 4096)}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise OptionsError(f"cannot read {shown(path, 4096)}: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"cannot read {shown(path, 4096)}: {error}") from None
    scripts = values.get("scripts")
    if isinstance(scripts, list):
        directory = os.path.dirname(os.path.abspath(path))
        values["scripts"] = [_beside(directory, each) for each in scripts]
    return values


def _check_mode(path: str, status: os.stat_result, values: Mapping[str, object]) -> None:
    """Refuse a file that others may change, or read where it holds secrets."""
    if not stat.S_ISREG(status.st_mode):
        return
    mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
    who = writers(status)
    if who:
        raise OptionsError(
            f"{shown(path, 4096)} may be written by {who} {mode}, and it says what code is run: "
            "take that away with chmod go-w"
        )
    secrets = [name for name in SECRETS if values.get(name)]
    if secrets and status.st_mode & stat.S_IROTH:
        raise OptionsError(
            f"{shown(path, 4096)} may be read by everybody {mode}, and `{secrets[0]}` in it is "
            "secret: make it private with chmod 600"
        )


def flow_detail(quiet: bool, verbose: int) -> dict[str, object]:
    """Give the options that ``-q`` and a number of ``-v`` stand for.

    Raises `OptionsError` when both are there.
    """
    if quiet and verbose:
        raise OptionsError("-q and -v exclude each other")
    if quiet:
        return {"flow_detail": 0, "log_level": "warn"}
    if verbose:
        return {"flow_detail": min(1 + verbose, 3)}
    return {}


def _variables(environ: Mapping[str, str]) -> dict[str, Texts]:
    prefix = ENVIRONMENT_PREFIX
    return {
        name.removeprefix(prefix).lower(): Texts((text,))
        for name, text in environ.items()
        if name.startswith(prefix)
    }


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _beside(directory: str, script: object) -> object:
    """``script`` with its path made absolute; what is wrong with it is found when it is loaded."""
    if not isinstance(script, str):
        return script
    try:
        words = shlex.split(script)
    except ValueError:
        return script
    if not words or words[0].startswith("~"):
        return script
    return shlex.join([os.path.join(directory, words[0]), *words[1:]])

"""How each program that is measured is started."""

from __future__ import annotations

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from bench.certificates import Certificates
from bench.errors import BenchError
from bench.origin import SERVER_PATH
from bench.processes import Process, Where, free_port


class Mode(Enum):
    """How clients reach the proxy."""

    REGULAR = "regular"
    REVERSE = "reverse"
    REVERSE_TLS = "reverse, with TLS on both legs"
    TCP = "reverse, bytes"
    TUNNEL = "regular, in a tunnel of CONNECT"
    SOCKS = "SOCKS 5"


class Hooks(Enum):
    """The script that a scriptable proxy has loaded; the value is its file, beside this one."""

    NONE = ""
    ALL = "hooks_all.py"
    STREAM = "hooks_stream.py"
    WEBSOCKET = "hooks_websocket.py"
    TCP = "hooks_tcp.py"

    @property
    def path(self) -> str:
        """The script's absolute path; meaningless for `NONE`."""
        return str(Path(__file__).with_name(self.value))


@dataclass(frozen=True, slots=True)
class Setup:
    """What a proxy shall do. ``origin_port`` is on loopback; ``workdir`` is the run's own.

    ``certificates`` are the origin's, and for those who cannot make any; ``resume`` lets a proxy
    resume sessions with the origin, if it does such a thing. ``options`` are interceptor's own,
    each ``NAME=VALUE``. With ``http2`` the TLS relay lets its peers speak that, and nothing else.
    """

    mode: Mode
    hooks: Hooks
    origin_port: int
    workdir: Path
    environment: Mapping[str, str]
    certificates: Certificates
    resume: bool = True
    options: tuple[str, ...] = ()
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that listens on ``port`` of loopback.

    ``tunnels`` says that it makes tunnels where its mode is one that has them.
    """

    process: Process
    port: int
    tunnels: bool = True


class Subject(ABC):
    """A program that is measured, under the ``name`` that reports give it."""

    name: str
    tunnels = True

    @abstractmethod
    def start(self, setup: Setup, core: Where) -> Running:
        """Start it on ``core`` and return once it listens; the caller stops the process.

        :raises BenchError: if it does not come up.
        """

    def _start(self, command: list[str], setup: Setup, core: Where, port: int | None) -> Running:
        """Start ``command`` and wait for ``port``, or for its ``listening:`` line if that is None.

        :raises BenchError: if it does not come up.
        """
        process = Process(self.name, command, core, setup.workdir, setup.environment)
        if port is None:
            port = process.wait_for_line()
        else:
            process.wait_for_port(port)
        return Running(process, port, self.tunnels)


class Relay(Subject):
    """The bare relay, of TCP or of TLS; it knows nothing of hooks."""

    name = "relay"
    tunnels = False

    def start(self, setup: Setup, core: Where) -> Running:
        command = [sys.executable, "-m", "bench.relay", str(setup.origin_port)]
        if setup.mode is Mode.REVERSE_TLS:
            files = setup.certificates
            command[2] = "bench.tlsrelay"
            command += [str(files.authority), str(files.chain), str(files.key)]
            command.append("h2" if setup.http2 else "http/1.1")
        return self._start(command, setup, core, None)


class Interceptor(Subject):
    """This checkout's proxy."""

    name = "interceptor"

    def start(self, setup: Setup, core: Where) -> Running:
        mode = _MODES.get(setup.mode) or f"reverse:{origin_url(setup)}"
        command = [sys.executable, "-m", "interceptor", "run", "--mode", f"{mode}@127.0.0.1:0"]
        command += ["-q", "--set", f"ssl_verify_upstream_trusted_ca={setup.certificates.authority}"]
        if setup.mode in (Mode.TUNNEL, Mode.SOCKS):
            # What is in the tunnels looks like HTTP.
            command += ["--set", "tcp_hosts=."]
        if not setup.resume:
            command += ["--set", "tls_session_cache=0"]
        for option in setup.options:
            command += ["--set", option]
        if setup.hooks is not Hooks.NONE:
            command += ["-s", setup.hooks.path]
        return self._start(command, setup, core, None)


class Mitmdump(Subject):
    """mitmproxy's command-line proxy, with the same scripts."""

    name = "mitmdump"

    def __init__(self, program: str) -> None:
        self._program = program

    def start(self, setup: Setup, core: Where) -> Running:
        port = free_port()
        command = [self._program, "-q", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
        command += ["--set", f"ssl_verify_upstream_trusted_ca={setup.certificates.authority}"]
        mode = _MODES.get(setup.mode) or f"reverse:{origin_url(setup)}"
        command += ["--mode", mode]
        if setup.hooks is not Hooks.NONE:
            command += ["-s", setup.hooks.path]
        return self._start(command, setup, core, port)


class Squid(Subject):
    """squid without its cache; it has no hooks."""

    name = "squid"

    def __init__(self, program: str) -> None:
        self._program = program

    def start(self, setup: Setup, core: Where) -> Running:
        port = free_port()
        configuration = setup.workdir / "squid.conf"
        configuration.write_text(squid_configuration(setup, port))
        command = [self._program, "-N", "-d", "1", "-f", str(configuration)]
        return self._start(command, setup, core, port)


def squid_configuration(setup: Setup, port: int) -> str:
    """Return a configuration with which squid caches, logs and keeps nothing."""
    lines = [
        "http_access allow all",
        "cache deny all",
        "access_log none",
        "cache_log /dev/null",
        "cache_store_log none",
        "pid_filename none",
        "pinger_enable off",
        "shutdown_lifetime 0 seconds",
        "max_filedescriptors 4096",
        "visible_hostname bench",
        "coredump_dir none",
    ]
    if setup.mode is Mode.REVERSE:
        lines += [
            f"http_port 127.0.0.1:{port} accel defaultsite=127.0.0.1:{setup.origin_port} no-vhost",
            f"cache_peer 127.0.0.1 parent {setup.origin_port} 0 no-query originserver name=origin",
            "never_direct allow all",
        ]
    elif setup.mode is Mode.REVERSE_TLS:
        files = setup.certificates
        lines += [
            f"https_port 127.0.0.1:{port} accel defaultsite=127.0.0.1:{setup.origin_port} no-vhost"
            f" tls-cert={files.chain} tls-key={files.key}",
            f"cache_peer 127.0.0.1 parent {setup.origin_port} 0 no-query originserver name=origin"
            f" tls tls-cafile={files.authority}",
            "never_direct allow all",
        ]
    else:
        lines.append(f"http_port 127.0.0.1:{port}")
    return "\n".join(lines) + "\n"


def origin_url(setup: Setup) -> str:
    """Return the URL of the origin that a reverse proxy is for."""
    scheme = {Mode.REVERSE_TLS: "https", Mode.TCP: "tcp"}.get(setup.mode, "http")
    return f"{scheme}://127.0.0.1:{setup.origin_port}"


# Those in which clients name the server; they are called the same everywhere.
_MODES: Final = {Mode.REGULAR: "regular", Mode.TUNNEL: "regular", Mode.SOCKS: "socks5"}


PEERS: Mapping[str, Callable[[str], Subject]] = {"mitmdump": Mitmdump, "squid": Squid}
"""The programs of others that can be measured along, by name."""


def find_peer(text: str) -> Subject:
    """Return the peer that ``NAME`` or ``NAME=PATH`` means.

    :raises BenchError: for a name that is not in `PEERS`, or a program that is not there.
    """
    name, _, path = text.partition("=")
    peer = PEERS.get(name)
    if peer is None:
        raise BenchError(f"unknown peer {name!r}: expected one of {', '.join(sorted(PEERS))}")
    program = shutil.which(path or name, path=SERVER_PATH)
    if program is None:
        raise BenchError(f"peer {name}: no program {path or name!r} found")
    return peer(program)

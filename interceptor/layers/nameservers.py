"""Which resolvers are asked: the mode's, those of the option ``dns_servers``, or the system's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from interceptor.errors import ModeError, OptionsError, UpstreamError
from interceptor.model.hostports import check_host, check_port, split_host_port

if TYPE_CHECKING:
    from interceptor.model.modes import ModeSpec
    from interceptor.model.options import Options

PORT: Final = 53

_MOST: Final = 3
"""Resolvers of the system that are asked, as its own library does (resolv.conf(5))."""

Server = tuple[str, int]


class NameServers:
    """The option ``dns_servers``, and the file that has the system's resolvers."""

    resolv_conf = "/etc/resolv.conf"

    def __init__(self, options: Options) -> None:
        self._system: tuple[tuple[int, int] | None, tuple[Server, ...]] = (None, ())
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the option. Raises `OptionsError`."""
        self._servers = tuple(_server(text) for text in options.dns_servers)

    def of_mode(self, mode: ModeSpec) -> tuple[Server, ...]:
        """Return those that are asked, one after the other. Raises `UpstreamError`."""
        if mode.host:
            return ((mode.host, mode.port),)
        found = self._servers or self._of_system()
        if not found:
            raise UpstreamError(
                f"no resolver is known: {self.resolv_conf} names none, and dns_servers is empty",
                "dns-no-server",
            )
        return found

    def _of_system(self) -> tuple[Server, ...]:
        """Read the file when it is new. One that cannot be read names nobody."""
        try:
            state = os.stat(self.resolv_conf)
            version = (state.st_mtime_ns, state.st_ino)
            if version != self._system[0]:
                text = Path(self.resolv_conf).read_text("utf-8", "replace")
                self._system = version, tuple(read_resolv_conf(text))[:_MOST]
        except OSError:
            self._system = None, ()
        return self._system[1]


def read_resolv_conf(text: str) -> Iterator[Server]:
    """Yield the resolvers that a file names, in its order."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            yield words[1], PORT


def _server(text: str) -> Server:
    try:
        host, port = split_host_port(text)
        return check_host(host), check_port(port, 1) if port else PORT
    except ModeError as error:
        raise OptionsError(f"option `dns_servers`: {error}") from None

"""The servers behind one reverse listener, by the names that clients call them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from interceptor.errors import ModeError, OptionsError
from interceptor.model.hostports import check_host
from interceptor.model.modes import parse_server
from interceptor.model.wording import shown

_ENTRY = re.compile(r"(?P<name>\*|(?:\*\.)?[^*=\s/]+)=(?P<server>\S+)")
_SCHEMES = ("http", "https", "tcp", "tls")
_SYNTAX = "NAME=SCHEME://HOST[:PORT], with a name, `*.DOMAIN` or `*`"


@dataclass(frozen=True, slots=True)
class Backend:
    """A server: ``scheme`` is one of reverse modes'; an IPv6 ``host`` has no brackets."""

    scheme: str
    host: str
    port: int

    @property
    def destination(self) -> tuple[bytes, bytes, int]:
        """The same as layers have it."""
        return (self.scheme.encode(), self.host.encode("ascii"), self.port)


class Backends:
    """What the option ``reverse_backends`` says."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Each entry is ``NAME=SCHEME://HOST[:PORT]``. Raises `OptionsError`.

        NAME is a host name or an address, ``*.DOMAIN`` for all names below a domain, or ``*`` for
        whatever else there is, clients that name nobody included. Of entries for one name the last
        counts.
        """
        self._exact: dict[str, Backend] = {}
        self._below: dict[str, Backend] = {}
        self.default: Backend | None = None
        """The one for names that no other has, and for clients that name nobody."""
        for entry in entries:
            self._add(entry)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below or self.default is not None)

    def find(self, name: str | None) -> Backend | None:
        """Return the backend that is called so: by its own name, the nearest domain, the default.

        ``name`` may be in any case, and end in a dot.
        """
        if not name:
            return self.default
        name = name.lower().removesuffix(".")
        found = self._exact.get(name)
        if found is not None:
            return found
        domain = name
        while self._below and domain:
            _, _, domain = domain.partition(".")
            found = self._below.get(domain)
            if found is not None:
                return found
        return self.default

    def _add(self, entry: str) -> None:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise OptionsError(
                f"option `reverse_backends`: expected {_SYNTAX}, not {shown(entry, 4096)}"
            )
        name = match["name"]
        try:
            backend = Backend(*parse_server(match["server"]))
            if backend.scheme not in _SCHEMES:
                raise ModeError(f"scheme {shown(backend.scheme)} is none of {', '.join(_SCHEMES)}")
            if name == "*":
                self.default = backend
            elif name.startswith("*."):
                self._below[check_host(name[2:])] = backend
            else:
                self._exact[check_host(name.strip("[]")).removesuffix(".")] = backend
        except ModeError as error:
            raise OptionsError(
                f"option `reverse_backends`: {shown(entry, 4096)}: {error}"
            ) from None

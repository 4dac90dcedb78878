"""Own certificates: files that are shown to clients of certain hosts instead of signed leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from interceptor.errors import AuthorityError
from interceptor.model.wording import shown
from interceptor.net.leaves import Leaf, covers, normal_name
from interceptor.net.pemfiles import read_identity

# A path with an equals sign is still a path: it has a slash in front of the sign, or a name that
# is none of a host.
_ENTRY = re.compile(r"(?P<host>\*|(?:\*\.)?[^\s/\\=*]+)=(?P<file>.+)", re.DOTALL)
_ANY = "*"


class CustomCertificates:
    """The certificates of the option ``certs``, by host name."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Leaf]] = {}
        self._wildcards: dict[str, list[Leaf]] = {}
        self._any: list[Leaf] = []

    @classmethod
    def load(cls, entries: Sequence[str]) -> CustomCertificates:
        """Read all files of ``HOST=FILE``, ``*.DOMAIN=FILE`` and ``FILE``.

        A host may have two, one with an RSA key and one with an EC key. Raises `AuthorityError`
        with the code ``certs-invalid``, ``certs-missing``, ``certs-unreadable`` or
        ``certs-key-mismatch``. Whether a certificate is valid is left to clients, because trying
        out how they take one that is not is what people do with this.
        """
        found = cls()
        for entry in entries:
            host, path = _split(entry)
            identity = read_identity(
                os.path.abspath(os.path.expanduser(path)),
                what="certificate file",
                prefix="certs",
            )
            found._add(host, Leaf(identity.certificate, identity.key, identity.chain))
        return found

    def __len__(self) -> int:
        listed = [self._any, *self._exact.values(), *self._wildcards.values()]
        return sum(map(len, listed))

    def find(self, name: str | None, *, rsa: bool = False) -> Leaf | None:
        """Give the certificate for a host name or address, or None.

        The name itself goes before a wildcard, and that before the certificate for every host. Of
        two with different keys the one is chosen that ``rsa`` asks for.
        """
        leaves: list[Leaf] = []
        normal = normal_name(name) if name else None
        if normal is not None:
            leaves = self._exact.get(normal) or next(
                (each for pattern, each in self._wildcards.items() if covers(pattern, normal)), []
            )
        leaves = leaves or self._any
        return next((leaf for leaf in leaves if leaf.is_rsa == rsa), leaves[0] if leaves else None)

    def _add(self, host: str, leaf: Leaf) -> None:
        if host == _ANY:
            leaves = self._any
        elif host.startswith("*."):
            leaves = self._wildcards.setdefault(host, [])
        else:
            leaves = self._exact.setdefault(host, [])
        # What was named later replaces what was named before.
        leaves[:] = [leaf, *(each for each in leaves if each.is_rsa != leaf.is_rsa)]


def _split(entry: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        path = entry.removeprefix("*=")
        if not path or path.endswith("="):
            raise AuthorityError(
                f"option `certs`: expected HOST=FILE or FILE, not {shown(entry, 4096)}",
                "certs-invalid",
            )
        return _ANY, path
    host = match["host"]
    if host == _ANY:
        return host, match["file"]
    name = normal_name(host)
    if name is None:
        raise AuthorityError(f"option `certs`: {shown(host)} is no host name", "certs-invalid")
    return name, match["file"]

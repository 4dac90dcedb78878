"""Who may use the proxy: what the option ``proxyauth`` says, and password files of ``htpasswd``."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from interceptor.errors import OptionsError
from interceptor.model.wording import shown

_EXPECTED: Final = "expected `any`, USER:PASSWORD or @HTPASSWDFILE"
_FILE_LIMIT: Final = 1 << 24


class IPasswords(Protocol):
    """Knows who may come in.

    ``slow`` tells that `check` takes so long that it has to be called in a thread.
    """

    slow: bool

    def refresh(self) -> bool:
        """Look whether what is known has changed, and take it; True if it has.

        Raises `OptionsError` where it cannot be taken; what was known before holds on then.
        """

    def check(self, username: bytes, password: bytes) -> bool:
        """Whether the password is that of the user, found out in the same time for both answers."""


class AnyPassword:
    """Lets everybody in who gives a name and a password, whatever they are."""

    slow = False

    def refresh(self) -> bool:
        return False

    def check(self, username: bytes, password: bytes) -> bool:
        return True


class OnePassword:
    """Knows one user."""

    slow = False

    def __init__(self, username: bytes, password: bytes) -> None:
        self._key = secrets.token_bytes(32)
        self._user = self._digest(username)
        self._password = self._digest(password)

    def _digest(self, text: bytes) -> bytes:
        # Digests are of one length: comparing them does not tell that of the password either.
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def refresh(self) -> bool:
        return False

    def check(self, username: bytes, password: bytes) -> bool:
        user = hmac.compare_digest(self._digest(username), self._user)
        return hmac.compare_digest(self._digest(password), self._password) and user


class PasswordFile:
    """Knows the users of a file: lines ``USER:HASH``, as the program ``htpasswd`` writes them.

    The hashes are bcrypt (``htpasswd -B``), argon2 and SHA-crypt (``-2``, ``-5``); what can be
    guessed in bulk (apr1, SHA-1, crypt) is refused. The file is read again when it has changed.
    """

    slow = True

    def __init__(self, path: str) -> None:
        """Raises `OptionsError`."""
        self._path = Path(path).expanduser()
        self._handlers = _handlers()
        self._stamp: tuple[int, ...] = ()
        self._hashes: dict[bytes, tuple[Any, bytes]] = {}
        self.refresh()

    def refresh(self) -> bool:
        name = shown(self._path, 4096)
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            if status.st_size > _FILE_LIMIT:
                raise OptionsError(f"the password file {name} is too large")
            content = self._path.read_bytes()
        except OSError as error:
            raise OptionsError(
                f"cannot read the password file {name}: {error.strerror or error}"
            ) from None
        # Also where it is faulty: it is complained about once, not with every look.
        self._stamp = stamp
        self._hashes = self._parse(content, name)
        return True

    def check(self, username: bytes, password: bytes) -> bool:
        hashes = self._hashes
        known = hashes.get(username)
        # For a user who is not there the same work is done: time shall not tell who is.
        handler, value = known or next(iter(hashes.values()), (None, b""))
        if handler is None:
            return False
        try:
            right = bool(handler.verify(password, value))
        except ValueError:
            # What no password can be: too long for bcrypt, with a zero byte.
            return False
        return right and known is not None

    def _parse(self, content: bytes, name: str) -> dict[bytes, tuple[Any, bytes]]:
        found: dict[bytes, tuple[Any, bytes]] = {}
        for number, line in enumerate(content.splitlines(), 1):
            line = line.strip()
            if not line or line.startswith(b"#"):
                continue
            user, colon, value = line.partition(b":")
            place = f"the password file {name}, line {number}"
            if not colon or not user:
                raise OptionsError(f"{place}: expected USER:HASH")
            if user in found:
                raise OptionsError(f"{place}: the user {shown(user.decode('latin-1'))} again")
            handler = next((each for each in self._handlers if each.identify(value)), None)
            if handler is None:
                raise OptionsError(
                    f"{place}: expected a hash of bcrypt, argon2 or SHA-crypt, such as "
                    "`htpasswd -B` makes"
                )
            try:
                complete = handler.from_string(value).checksum is not None
            except ValueError:
                complete = False
            if not complete:
                raise OptionsError(f"{place}: the hash is damaged")
            found[user] = handler, value
        return found


def _handlers() -> tuple[Any, ...]:
    """Return what verifies hashes. Raises `OptionsError` where the libraries are missing."""
    try:
        from passlib.hash import argon2, bcrypt, sha256_crypt, sha512_crypt

        for library in ("argon2", "bcrypt"):
            # passlib loads them only when it needs them, and that is too late to say so.
            import_module(library)
    except ImportError:
        raise OptionsError(
            "option `proxyauth`: password files need more libraries: "
            "`pip install 'interceptor[htpasswd]'`"
        ) from None
    return bcrypt, argon2, sha512_crypt, sha256_crypt


def credentials_for(proxyauth: str | None) -> tuple[str, str] | None:
    """Return a user name and a password that the option lets in; None where none are needed.

    Raises `OptionsError` for a password file, which knows only hashes.
    """
    if proxyauth is None:
        return None
    if proxyauth == "any":
        return "command", "command"
    if proxyauth.startswith("@"):
        raise OptionsError(
            "option `proxyauth`: a password file has only hashes, and the command needs a "
            "password: use USER:PASSWORD or `any`"
        )
    user, _, password = proxyauth.partition(":")
    return user, password


def parse_proxyauth(text: str) -> IPasswords:
    """Return what knows the users that the option names.

    ``any``, ``USER:PASSWORD``, or ``@FILE``. Raises `OptionsError`, which never repeats the text.
    """
    if text == "any":
        return AnyPassword()
    if text.startswith("@"):
        if len(text) == 1:
            raise OptionsError(f"option `proxyauth`: {_EXPECTED}")
        return PasswordFile(text[1:])
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise OptionsError(f"option `proxyauth`: {_EXPECTED}")
    return OnePassword(
        user.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape")
    )

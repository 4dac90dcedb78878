"""Proxy authentication: whether a user name and a password let a client in, and what HTTP says."""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interceptor.errors import InterceptorError, OptionsError
from interceptor.model.passwords import IPasswords, parse_proxyauth

CHALLENGE: Final = 'Basic realm="interceptor", charset="UTF-8"'
"""The value of Proxy-Authenticate (RFC 7617, sections 2 and 2.1)."""

_BASIC = re.compile(rb"basic +([A-Za-z0-9+/=]+)[ \t]*", re.IGNORECASE)
# RFC 7617, section 2: neither may contain control characters.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_MOST_KNOWN = 1024

Run = Callable[[Callable[[], bool]], Deferred[bool]]
"""Calls a function that takes its time, elsewhere than in the reactor's thread."""


class ProxyAuthRequiredError(InterceptorError):
    """A client did not say who it is, or not truly."""

    code = "proxy-auth-required"
    status = 407


class ProxyAuthentication:
    """Verifies credentials for the whole proxy.

    A right password whose verification takes long, which is what its hash is made for, is known
    again for as long as the password file stays as it is; only a keyed digest of it is kept.
    """

    log = Logger()

    def __init__(self, passwords: IPasswords, run: Run, proxy: object = None) -> None:
        self._passwords = passwords
        self._run = run
        self._proxy = proxy
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def principal(self, username: bytes, password: bytes) -> str:
        """Return the name of who gave these credentials.

        Raises `ProxyAuthRequiredError` if they are not right.
        """
        if not (
            _CONTROL.search(username) is None
            and _CONTROL.search(password) is None
            and await self._verify(username, password)
        ):
            raise ProxyAuthRequiredError("the client's user name and password are not right")
        try:
            return username.decode("utf-8")
        except UnicodeDecodeError:
            return username.decode("latin-1")

    async def _verify(self, username: bytes, password: bytes) -> bool:
        passwords = self._passwords
        if not passwords.slow:
            return passwords.check(username, password)
        try:
            if passwords.refresh():
                # A new one: what is being verified still is not to be known among the new.
                self._known = OrderedDict()
        except OptionsError as error:
            self.log.error(
                "{error}; who was let in before still is", error=error, proxy=self._proxy
            )
        known = self._known
        length = len(username).to_bytes(4, "big")
        digest = hashlib.blake2b(length + username + password, key=self._key).digest()
        if digest in known:
            known.move_to_end(digest)
            return True
        if not await self._run(lambda: passwords.check(username, password)):
            return False
        known[digest] = None
        if len(known) > _MOST_KNOWN:
            known.popitem(last=False)
        return True


def make_authentication(
    proxyauth: str | None, run: Run, proxy: object = None
) -> ProxyAuthentication | None:
    """Return what the option ``proxyauth`` asks for; None where anybody may come in.

    Raises `OptionsError`.
    """
    if proxyauth is None:
        return None
    return ProxyAuthentication(parse_proxyauth(proxyauth), run, proxy)


def basic_credentials(value: bytes | None) -> tuple[bytes, bytes]:
    """Return the user name and the password of a Proxy-Authorization field (RFC 7617).

    ``value`` is None where there is no such field. Raises `ProxyAuthRequiredError`.
    """
    if value is None:
        raise ProxyAuthRequiredError("the proxy has users, and the client does not say who it is")
    match = _BASIC.fullmatch(value)
    if match is not None:
        try:
            username, colon, password = binascii.a2b_base64(match[1], strict_mode=True).partition(
                b":"
            )
        except binascii.Error:
            colon = b""
        if colon:
            return username, password
    raise ProxyAuthRequiredError("the client's Proxy-Authorization is not as Basic has it")

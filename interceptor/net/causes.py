"""Why a connection could not be made: Twisted's errors as codes and phrases for operators."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet import error
from twisted.python.failure import Failure

from interceptor.errors import LoopError, UpstreamError
from interceptor.net.addresses import HostPort, show

_TELLING = (
    "proxy-loop",
    "connect-refused",
    "connect-timeout",
    "connect-unreachable",
    "connect-failed",
)
"""Where attempts failed differently, the code that tells most comes first."""

_UNREACHABLE = frozenset(
    getattr(errno, name)
    for name in (
        "ENETUNREACH",
        "EHOSTUNREACH",
        "ENETDOWN",
        "EHOSTDOWN",
        "EADDRNOTAVAIL",
        "EAFNOSUPPORT",
    )
    if hasattr(errno, name)
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one attempt failed: the code it counts as, a phrase, and the system's error number."""

    code: str
    text: str
    number: int | None = None


def cause_of(reason: Failure) -> Cause:
    """Classify what Twisted gives a factory whose connection failed."""
    value = reason.value
    number = _number(value)
    if isinstance(value, error.ConnectBindError):
        return Cause("connect-failed", f"no socket to connect with: {_phrase(value, number)}")
    if isinstance(value, error.ConnectionRefusedError) or number == errno.ECONNREFUSED:
        return Cause("connect-refused", "connection refused")
    if isinstance(value, error.TCPTimedOutError | error.TimeoutError):
        return Cause("connect-timeout", "no answer in time")
    if isinstance(value, error.NoRouteError) or number in _UNREACHABLE:
        return Cause("connect-unreachable", _phrase(value, number), number)
    return Cause("connect-failed", _phrase(value, number), number)


def explain(destination: HostPort, failures: Sequence[tuple[str, Cause]]) -> UpstreamError:
    """The one error for all the addresses, named, that were tried for a destination."""
    name = show(destination)
    if len(failures) == 1 and failures[0][0] == name:
        tried = failures[0][1].text
    else:
        tried = "; ".join(f"{each}: {cause.text}" for each, cause in failures)
    text = f"cannot connect to {name}: {tried}"
    found = {cause.code for _, cause in failures}
    code = next((each for each in _TELLING if each in found), "connect-failed")
    if code == "proxy-loop":
        return LoopError(text)
    failure = UpstreamError(text, code, 504 if code == "connect-timeout" else 502)
    failure.os_error = next((each.number for _, each in failures if each.code == code), None)
    return failure


def _number(value: BaseException | None) -> int | None:
    """The system's error number, if there is one."""
    if isinstance(value, error.ConnectError):
        number = value.osError
    elif isinstance(value, OSError) and not isinstance(value, socket.gaierror):
        number = value.errno
    else:
        return None
    return number if isinstance(number, int) else None


def _phrase(value: BaseException | None, number: int | None) -> str:
    if number is not None:
        text = os.strerror(number)
    elif isinstance(value, socket.gaierror) and value.strerror:
        text = value.strerror
    else:
        text = str(value).rstrip(".") or f"unexpected {type(value).__name__}"
    return text[:1].lower() + text[1:]

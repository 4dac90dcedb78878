"""The exception tree: every failure an operator can meet has a stable code.

Errors of foreign libraries are converted at the border, so that code above ``net`` and ``wire``
only ever meets these classes.
"""

from __future__ import annotations

from typing import Final

_BEGINNING: Final = 200
_END: Final = 100


def brief(message: str) -> str:
    """Return a message without the middle of what it quotes, where that is long.

    A peer decides what is quoted, and may not fill pages and logs with it.
    """
    if len(message) <= _BEGINNING + 1 + _END:
        return message
    return f"{message[:_BEGINNING]}\N{HORIZONTAL ELLIPSIS}{message[-_END:]}"


class InterceptorError(Exception):
    """Base of everything this package raises on purpose.

    ``code`` is the stable, hyphenated name under which logs, flows and error pages report it.
    ``reset_code`` is that of the RST_STREAM frame by which an HTTP/2 peer gave its stream up, if it
    did (RFC 9113 section 7).
    """

    code = "internal-error"
    reset_code: int | None = None

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ProtocolError(InterceptorError):
    """A protocol's rules were broken, by the peer or by us. The message is made `brief`."""

    code = "protocol-error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(brief(message), code)


class RemoteProtocolError(ProtocolError):
    """The peer sent something that its protocol forbids.

    ``status`` is a hint what an HTTP peer may be answered: 400, 413, 414, 431, 501 or 505 for a
    client's fault, 502 for a server's.
    """

    def __init__(self, message: str, code: str, status: int = 400) -> None:
        super().__init__(message, code)
        self.status = status


class LocalProtocolError(ProtocolError):
    """We (or a hook) asked a codec to send something that the protocol forbids."""

    code = "local-protocol-error"


class UpstreamError(InterceptorError):
    """A server or next hop could not be reached, or was lost before it answered.

    ``status`` is what the client is told: 502, or 504 where a deadline passed. ``os_error`` is the
    number of the system's error (see `errno`), where that is what happened. The message is made
    `brief`.
    """

    code = "upstream-error"
    os_error: int | None = None

    def __init__(self, message: str, code: str, status: int = 502) -> None:
        super().__init__(brief(message), code)
        self.status = status


class LoopError(UpstreamError):
    """A connection would have come back to one of our own listeners."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "proxy-loop", 502)


class DecodeError(InterceptorError, ValueError):
    """A content coding could not be removed: damaged, unknown, or past its bound."""

    code = "content-damaged"


class EventStreamError(InterceptorError):
    """An event could not be injected into an event stream, or cannot be shown to hooks."""

    code = "sse-ended"


class OptionsError(InterceptorError):
    """An option's name or value is wrong, or an addon refused it."""

    code = "option-invalid"


class ModeError(OptionsError):
    """A mode string cannot be understood."""

    code = "mode-invalid"


class CapabilityError(OptionsError):
    """An ``option`` asks for what the process may not do to its sockets."""

    code = "net-admin-missing"

    def __init__(self, option: str) -> None:
        super().__init__(
            f"option `{option}` needs the capability CAP_NET_ADMIN, which this process has not "
            "(in a systemd unit: AmbientCapabilities=CAP_NET_ADMIN)"
        )


class FilterError(InterceptorError, ValueError):
    """A filter expression cannot be understood; ``column`` counts from 1."""

    code = "filter-invalid"

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


class ScriptError(InterceptorError):
    """A script could not be loaded. The text holds a traceback cut to the script's own lines."""

    code = "script-invalid"


class HookFailed(InterceptorError):
    """A hook of an addon whose error policy is ``kill`` raised, or overran its deadline."""

    code = "hook-failed"


class ListenError(InterceptorError):
    """A listener could not be bound."""

    code = "listen-failed"


class WorkersError(OptionsError):
    """The option ``workers`` asks for what cannot be had together with the rest."""

    code = "workers-refused"


class WorkerFailed(InterceptorError):
    """A worker did not start."""

    code = "worker-failed"


class SharedStateError(InterceptorError):
    """What the workers share could not be asked for or changed."""

    code = "shared-invalid"


class LaunchError(InterceptorError):
    """A command that the proxy was to run could not be started.

    ``exit_status`` is what a shell has in its place: 127 where there is no such command, else 126.
    """

    code = "command-not-started"

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class AuthorityError(InterceptorError):
    """A certificate authority, or a file with a certificate and its key, cannot be used."""

    code = "ca-unreadable"


class TLSError(InterceptorError):
    """A TLS handshake or session failed.

    ``alert`` is the number of the TLS alert that ended it, where there was one (RFC 8446, section
    6), and ``received`` tells whether the peer sent it. ``peer`` is whom the session was with:
    "client" or "server".
    """

    code = "tls-handshake-failed"

    def __init__(
        self,
        message: str,
        code: str | None = None,
        *,
        peer: str,
        alert: int | None = None,
        received: bool = False,
    ) -> None:
        super().__init__(message, code)
        self.peer = peer
        self.alert = alert
        self.received = received

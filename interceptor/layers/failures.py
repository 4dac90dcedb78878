"""How exchanges fail: the errors of this level, and what a client is told of any error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from interceptor.errors import (
    HookFailed,
    InterceptorError,
    LocalProtocolError,
    ProtocolError,
    UpstreamError,
    brief,
)
from interceptor.hooks.tracebacks import cut_traceback
from interceptor.model.connections import ClientConnection, format_address
from interceptor.model.http import Request, Response
from interceptor.model.secrets import mask_url


class KilledError(InterceptorError):
    """A hook killed the flow. The client is answered nothing."""

    code = "killed"


class AbandonedError(InterceptorError):
    """The other half of the exchange is over, and this half with it."""

    code = "abandoned"


class BodyTooLargeError(InterceptorError):
    """A body is over ``body_size_limit``, and is not to stream."""

    code = "body-too-large"

    def __init__(self, limit: int, name: str = "request") -> None:
        super().__init__(f"the {name} body is over body_size_limit ({limit} bytes)")
        self.status = 413 if name == "request" else 502


class StreamCallableError(InterceptorError):
    """What a hook set as ``stream`` raised. Nobody can know what it would have removed.

    ``traceback`` has the callable's own frames.
    """

    code = "stream-failed"
    status = 502

    def __init__(self, error: Exception) -> None:
        super().__init__(f"a stream callable failed: {type(error).__name__}: {error}")
        self.traceback = cut_traceback(error, _is_not_ours)


def _is_not_ours(filename: str) -> bool:
    return not filename.startswith(_PACKAGE)


_PACKAGE = str(Path(__file__).parents[1])


class ClientGoneError(InterceptorError):
    """The client closed or reset its connection before the exchange was over."""

    code = "client-disconnected"


def client_gone(environment: Any, what: str = "closed") -> InterceptorError:
    """Return the error for a client's connection that is lost, whoever's doing that was."""
    if environment.overdue:
        return InterceptorError("the proxy stops, and shutdown_grace is over", "shutting-down")
    return ClientGoneError(f"the client {what} its connection")


class ClientTooSlowError(InterceptorError):
    """The client let a deadline pass. ``status`` is what it is told."""

    status = 408


def describe(error: Exception) -> tuple[str, int, str]:
    """Return an error's stable code, the status that tells the client of it, and its message.

    A status of 0 says that the client is to be told nothing. The message is made `brief`.
    """
    if isinstance(error, (HookFailed, LocalProtocolError)):
        return error.code, 502, brief(str(error))
    if isinstance(error, (ProtocolError, UpstreamError)):
        return error.code, getattr(error, "status", 502), brief(str(error))
    if isinstance(error, InterceptorError):
        return error.code, getattr(error, "status", 0), brief(str(error))
    return "internal-error", 500, "the proxy met an error of its own; its log says more"


def check_final(response: Response) -> None:
    """Raise `LocalProtocolError` if a hook made the response one that answers nothing."""
    if response.status_code < 200:
        raise LocalProtocolError(
            f"a hook answered with status {response.status_code}, which is not final",
            "status-not-final",
        )


def response_removed() -> LocalProtocolError:
    """Return the error for a flow that lost its response."""
    return LocalProtocolError("a hook removed the response", "response-removed")


IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods of requests that may be sent again (RFC 9110 section 9.2.2)."""

_NOT_STALE = frozenset(("read-timeout", "write-timeout", "total-timeout", "stream-reset"))


def went_stale(server: Any, error: UpstreamError) -> bool:
    """Whether a server may have closed a connection that was kept just when it was used again.

    A server that is slow, or that refuses a request, has it already.
    """
    used: bool = server.reused
    return used and not server.response_begun and error.code not in _NOT_STALE


def put_back(
    flow: Any, request: Request, client_conn: ClientConnection, error: Exception
) -> Exception:
    """Give a flow back what hooks replaced by something else entirely.

    Returns what made the exchange fail: ``error``, or that a hook did that.
    """
    if not isinstance(flow.client_conn, ClientConnection):
        flow.client_conn = client_conn
    if not isinstance(flow.request, Request):
        flow.request = request
        error = LocalProtocolError("a hook removed the request", "request-removed")
    if flow.response is not None and not isinstance(flow.response, Response):
        flow.response = None
        error = response_removed()
    return error


def reset_error(event: Any) -> UpstreamError:
    """Return the error for a stream that the peer gave up."""
    return UpstreamError(f"the peer reset the stream: {event.message}", "stream-reset")


def tell_failed(log: Logger, flow: Any, error: Exception, proxy: object) -> None:
    """Tell the log how a flow failed.

    What is a mistake of ours, or of a hook's ``stream`` callable, comes with its traceback.
    """
    code, _, message = describe(error)
    if code == "internal-error":
        # Called where the error is handled: it is the one that the log shows.
        log.failure("{url}: unexpected error", url=brief(mask_url(flow.request.url)), proxy=proxy)
    elif isinstance(error, StreamCallableError):
        log.error(
            "{url}: a stream callable failed\n{traceback}",
            url=brief(mask_url(flow.request.pretty_url)),
            traceback=error.traceback,
            proxy=proxy,
        )
    log.info(
        "{client} {method} {url}: {code}: {message}",
        client=format_address(flow.client_conn.address),
        method=brief(flow.request.method),
        url=brief(mask_url(flow.request.pretty_url)),
        code=code,
        message=message,
        of_flow=True,
        proxy=proxy,
    )


def tell_streams_on(log: Logger, flow: Any, name: str, proxy: object) -> None:
    """Tell the log that a message that was being gathered streams after all."""
    log.warn(
        "{url}: the {name} is over body_size_limit and streams on",
        url=brief(mask_url(flow.request.url)),
        name=name,
        proxy=proxy,
    )

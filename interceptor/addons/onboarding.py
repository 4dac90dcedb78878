"""Answers ``http://interceptor.internal/`` from the proxy itself: how to trust its authority."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Set
from typing import TYPE_CHECKING

from interceptor.addons.onboardingpage import (
    CONTENT_SECURITY_POLICY,
    DOWNLOADS,
    Facts,
    render_notice,
    render_page,
)
from interceptor.errors import InterceptorError, OptionsError
from interceptor.layers.internal import Answer
from interceptor.model.http import Response
from interceptor.model.urls import check_host, split_path
from interceptor.net.authority import CERTIFICATE_NAME, Authority, common_name

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection
    from interceptor.model.http import Request
    from interceptor.model.options import Options

_METHODS = (b"GET", b"HEAD")


class Onboarding:
    """An addon that puts the onboarding page among the hosts that the proxy answers for.

    The options it heeds: ``onboarding`` and ``onboarding_host``. It hears of no request to another
    host, and no server hears of those to this one. ``hosts`` are those of
    `interceptor.layers.environment.Environment`; ``authority`` gives the authority when it is asked
    for, and may raise `AuthorityError`.
    """

    name = "onboarding"

    def __init__(
        self, hosts: MutableMapping[bytes, Answer], authority: Callable[[], Authority]
    ) -> None:
        self._hosts = hosts
        self._authority = authority
        self._host: bytes | None = None

    def configure(self, options: Options, updated: Set[str]) -> None:
        if updated.isdisjoint(("onboarding", "onboarding_host")):
            return
        try:
            host = check_host(options.onboarding_host).lower()
        except ValueError as error:
            raise OptionsError(f"option `onboarding_host`: {error}") from None
        self.done()
        if options.onboarding:
            self._host = host
            self._hosts[host] = self.answer

    def done(self) -> None:
        if self._host is not None:
            self._hosts.pop(self._host, None)
            self._host = None

    def answer(self, request: Request, client_conn: ClientConnection) -> Response:
        """Answer one request to the host; implements `interceptor.layers.internal.Answer`."""
        if request.method_bytes not in _METHODS:
            response = _page(405, "Not allowed", "There is nothing here but to be read.")
            response.headers["Allow"] = "GET, HEAD"
            return response
        path = split_path(request.path_bytes)[0].decode("latin-1")
        try:
            if path in DOWNLOADS:
                return self._download(path)
            if path in ("/", ""):
                return self._front(request, client_conn)
        except InterceptorError as error:
            return _page(503, "There is no certificate", str(error))
        return _page(404, "Not found", "There is no such page.")

    def _front(self, request: Request, client_conn: ClientConnection) -> Response:
        authority = self._authority()
        certificate = authority.anchor
        is_proxy = not client_conn.proxy_mode.startswith("reverse:")
        facts = Facts(
            common_name(certificate) or certificate.subject.rfc4514_string(),
            authority.fingerprint(),
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            client_conn.sockname if is_proxy else None,
        )
        return _html(200, render_page(facts, request.headers.get("user-agent", "")))

    def _download(self, path: str) -> Response:
        form = path.rpartition(".")[2]
        authority = self._authority()
        content = {"pem": authority.pem, "cer": authority.der, "p12": authority.p12}[form]
        return Response.make(
            200,
            content,
            {
                **_COMMON,
                "Content-Type": DOWNLOADS[path][2],
                "Content-Disposition": f'attachment; filename="{CERTIFICATE_NAME}.{form}"',
            },
        )


_COMMON = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _page(status: int, title: str, text: str) -> Response:
    return _html(status, render_notice(title, text))


def _html(status: int, text: str) -> Response:
    fields = {**_COMMON, "Content-Type": "text/html; charset=utf-8"}
    return Response.make(status, text.encode("utf-8", "replace"), fields)

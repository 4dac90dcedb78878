"""Answers ``http://interceptor.internal/`` from the proxy itself: how to trust its authority."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Set
from typing import TYPE_CHECKING

from interceptor.errors import InterceptorError, OptionsError
from interceptor.layers.internal import Answer
from interceptor.model.urls import check_host, split_path

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection
    from interceptor.model.http import Request, Response
    from interceptor.model.options import Options
    from interceptor.net.authority import Authority

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
        # Few runs of a proxy need the page.
        from interceptor.addons import onboardingpage as page

        if request.method_bytes not in _METHODS:
            response = page.notice(405, "Not allowed", "There is nothing here but to be read.")
            response.headers["Allow"] = "GET, HEAD"
            return response
        path = split_path(request.path_bytes)[0].decode("latin-1")
        try:
            if path in page.DOWNLOADS:
                return page.download(path, self._authority())
            if path in ("/", ""):
                # A reverse proxy is none to its clients.
                is_proxy = not client_conn.proxy_mode.startswith("reverse:")
                return page.front(
                    self._authority(),
                    client_conn.sockname if is_proxy else None,
                    request.headers.get("user-agent", ""),
                )
        except InterceptorError as error:
            return page.notice(503, "There is no certificate", str(error))
        return page.notice(404, "Not found", "There is no such page.")

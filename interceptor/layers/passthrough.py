"""Which connections are left alone: those that the operator names, and those of pinned clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from interceptor.model.patterns import compile_patterns

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from interceptor.model.options import Options

REFUSALS: Final = frozenset((42, 46, 48))
"""Alerts by which a client says that it does not trust a certificate: bad_certificate,
certificate_unknown and unknown_ca (RFC 8446, section 6.2)."""

MOST_LEARNED: Final = 10_000
"""How many servers may be known whose clients are pinned."""


class Passthrough:
    """The options ``ignore_hosts``, ``allow_hosts`` and ``tcp_hosts``, and what clients taught.

    Scripts reach it as ``ctx.master.passthrough``.
    """

    def __init__(self, clock: IReactorTime, options: Options) -> None:
        self._clock = clock
        self._learned: OrderedDict[str, float] = OrderedDict()
        # Tells other workers: ``host:port`` and for how long; 0 to forget it, None for everything.
        self.share: Callable[[str | None, float], object] = lambda name, seconds: None
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the options. Raises `OptionsError` for a faulty expression."""
        self._ignored = compile_patterns("ignore_hosts", options.ignore_hosts)
        self._allowed = compile_patterns("allow_hosts", options.allow_hosts)
        self._raw = compile_patterns("tcp_hosts", options.tcp_hosts)
        self._learns = options.tls_passthrough_learn
        self._ttl = options.tls_passthrough_ttl

    def reason(self, port: int, hosts: Iterable[str | None]) -> str | None:
        """Say why a connection passes through, or None if it is to be opened.

        ``hosts`` are all the names its server goes by here: as asked for, the SNI, the address.
        """
        if not (self._ignored or self._allowed or self._learned):
            return None
        names = [f"{host}:{port}" for host in hosts if host]
        if any(pattern.search(name) for pattern in self._ignored for name in names):
            return "ignore_hosts"
        if self._allowed and not any(
            pattern.search(name) for pattern in self._allowed for name in names
        ):
            return "allow_hosts"
        now = self._clock.seconds()
        for name in names:
            until = self._learned.get(name)
            if until is not None:
                if now < until:
                    return "learned"
                del self._learned[name]
        return None

    def raw(self, port: int, hosts: Iterable[str | None]) -> bool:
        """Whether what is spoken with a server is passed on as it is, be it in TLS or not.

        ``hosts`` as for `reason`.
        """
        return bool(self._raw) and any(
            pattern.search(f"{host}:{port}") for pattern in self._raw for host in hosts if host
        )

    def refused(self, host: str, port: int, alert: int | None) -> bool:
        """A client ended a handshake with ``alert``; return whether that taught anything."""
        if not self._learns or alert not in REFUSALS:
            return False
        name = f"{host}:{port}"
        self.learn(name, self._ttl)
        self.share(name, self._ttl)
        return True

    def learn(self, name: str | None, seconds: float) -> None:
        """Do what another worker told by its ``share``."""
        if name is None:
            self._learned.clear()
        elif seconds <= 0:
            self._learned.pop(name, None)
        else:
            self._learned[name] = self._clock.seconds() + seconds
            if len(self._learned) > MOST_LEARNED:
                self._learned.popitem(last=False)

    def entries(self) -> dict[str, float]:
        """Return what was learned: ``host:port``, and for how many more seconds."""
        now = self._clock.seconds()
        return {name: until - now for name, until in self._learned.items() if until > now}

    def remove(self, name: str) -> bool:
        """Forget ``host:port``; return whether it was there."""
        self.share(name, 0)
        return self._learned.pop(name, None) is not None

    def clear(self) -> None:
        """Forget everything that was learned."""
        self.share(None, 0)
        self._learned.clear()

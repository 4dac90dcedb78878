"""Host names to addresses: bounded threads, a deadline, a small cache, families interleaved."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from interceptor.errors import UpstreamError

_NEGATIVE_TTL = 1.0
"""Seconds for which a name that does not resolve is remembered: enough for a burst of requests."""

_CACHE_SIZE = 1024

_STOPPED = "no names are resolved any more: the proxy is shutting down"


class Address(NamedTuple):
    """One IP address to connect to."""

    family: int
    """`socket.AF_INET` or `socket.AF_INET6`."""
    host: str
    """The address in text; a link-local one carries its zone (``fe80::1%eth0``)."""


Addresses = tuple[Address, ...]

_LOOPBACK: Addresses = (Address(socket.AF_INET6, "::1"), Address(socket.AF_INET, "127.0.0.1"))

LookUp = Callable[[str], Iterable[Address]]
"""Blocks; returns addresses, preferred ones first, or raises `OSError`. The name is ASCII."""


class Threads(Protocol):
    """What a `Resolver` runs its look-ups in; see `interceptor.threads.DaemonThreads`."""

    def run(self, function: Callable[[], Addresses]) -> Deferred[Addresses]:
        """Call the function elsewhere, and fire with its result."""

    def stop(self) -> object:
        """Take no more calls."""


def parse_literal(host: str) -> Address | None:
    """The address that `host` is the text of, or None if it is a name (RFC 3986 section 3.2.2).

    Only the strict dotted form counts for IPv4: ``127.1`` is a name, and may yet resolve.
    """
    if ":" in host:
        # A zone (RFC 4007 section 11) is not part of the address that can be checked.
        try:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        except (OSError, ValueError):
            return None
        return Address(socket.AF_INET6, host)
    if host[-1:].isdigit():
        try:
            socket.inet_pton(socket.AF_INET, host)
        except (OSError, ValueError):
            return None
        return Address(socket.AF_INET, host)
    return None


def encode_name(host: str) -> str:
    """The ASCII form of a host name, in lower case and without the root's dot.

    Names outside ASCII become A-labels (RFC 5891, with the mapping of UTS 46). Raises
    `UpstreamError` (``dns-failed``) for what no name server could know: empty or overlong names and
    labels (RFC 1035 section 2.3.4), control characters and spaces, characters IDNA forbids.
    """
    name = host.removesuffix(".")
    if not name.isascii():
        # Rare, and its tables take a while to load.
        import idna

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise UpstreamError(f"not a host name: {host!r}: {error}", "dns-failed") from error
    labels = name.split(".")
    if len(name) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise UpstreamError(f"not a host name: {host[:300]!r}", "dns-failed")
    if not all("!" <= character <= "~" for character in name):
        raise UpstreamError(f"not a host name: {host!r}", "dns-failed")
    return name.lower()


def interleave(addresses: Iterable[Address]) -> Addresses:
    """Alternate between the families, the first one's first (RFC 8305 section 4). No duplicates."""
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.family, []).append(address)
    queues = list(families.values())
    longest = max(map(len, queues), default=0)
    return tuple(queue[i] for i in range(longest) for queue in queues if i < len(queue))


def get_addresses(name: str) -> list[Address]:
    """Ask the system's resolver, whose order is that of RFC 6724. Blocks; raises `OSError`."""
    answers = socket.getaddrinfo(name, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    addresses = []
    for family, _, _, _, sockaddr in answers:
        host = str(sockaddr[0])
        if family == socket.AF_INET6 and len(sockaddr) == 4:
            zone = sockaddr[3]
            addresses.append(Address(family, f"{host}%{zone}" if zone else host))
        elif family == socket.AF_INET:
            addresses.append(Address(family, host))
    return addresses


class Resolver:
    """Resolves host names without ever blocking the reactor or its thread pool.

    Look-ups of the same name that overlap become one. Answers are kept for `cache_ttl`, and names
    that do not exist for a second. The system's resolver tells no time to live, so that `cache_ttl`
    is also how long a moved server may be missed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        threads: Threads,
        *,
        timeout: float = 5.0,
        cache_ttl: float = 30.0,
        look_up: LookUp = get_addresses,
    ) -> None:
        """`timeout` and `cache_ttl` are seconds; a `cache_ttl` of 0 keeps nothing."""
        self.timeout = timeout
        self.cache_ttl = cache_ttl
        self._clock = clock
        self._threads = threads
        self._look_up = look_up
        self._stopped = False
        self._pending: dict[str, _Pending] = {}
        self._cache: OrderedDict[str, tuple[float, Addresses | UpstreamError]] = OrderedDict()

    def resolve(self, host: str) -> Addresses | Deferred[Addresses]:
        """Return the addresses of `host` if they are known at once, else a Deferred of them.

        Raises, or fails with, `UpstreamError`: ``dns-failed`` (502) if there is no such name or it
        cannot be one, ``dns-timeout`` (504) if no answer came in time. Cancelling the Deferred
        leaves others who wait for the same name alone.
        """
        literal = parse_literal(host)
        if literal is not None:
            return (literal,)
        known = self._cache.get(host)
        if known is not None:
            if known[0] > self._clock.seconds():
                self._cache.move_to_end(host)
                if isinstance(known[1], UpstreamError):
                    raise _again(known[1])
                return known[1]
            del self._cache[host]
        pending = self._pending.get(host)
        if pending is None:
            name = encode_name(host)
            if name == "localhost" or name.endswith(".localhost"):
                # RFC 6761 section 6.3: such names are never sent to a name server.
                return _LOOPBACK
            if self._stopped:
                raise UpstreamError(_STOPPED, "dns-failed")
            pending = self._begin(host, name)
        return pending.wait()

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()

    def stop(self) -> None:
        """Fail what is pending and what is yet to come, with ``dns-failed``; end the threads.

        What needs no look-up still resolves.
        """
        self._stopped = True
        for pending in list(self._pending.values()):
            self._end(pending, UpstreamError(_STOPPED, "dns-failed"))
        self._threads.stop()

    def _begin(self, host: str, name: str) -> _Pending:
        pending = _Pending(self, host)
        self._pending[host] = pending
        pending.call = self._clock.callLater(self.timeout, self._timed_out, pending)
        running = self._threads.run(lambda: interleave(self._look_up(name)))
        pending.running = running
        running.addCallbacks(partial(self._answered, pending), partial(self._failed, pending))
        return pending

    def _answered(self, pending: _Pending, addresses: Addresses) -> None:
        if not addresses:
            self._not_found(pending, "it has no address")
            return
        self._remember(pending.host, addresses, self.cache_ttl)
        self._end(pending, addresses)

    def _failed(self, pending: _Pending, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._not_found(pending, text[:1].lower() + text[1:])

    def _not_found(self, pending: _Pending, text: str) -> None:
        error = UpstreamError(f"cannot resolve {pending.host}: {text}", "dns-failed")
        self._remember(pending.host, error, min(_NEGATIVE_TTL, self.cache_ttl))
        self._end(pending, error)

    def _timed_out(self, pending: _Pending) -> None:
        text = f"cannot resolve {pending.host}: no answer within {self.timeout:g} s"
        self._end(pending, UpstreamError(text, "dns-timeout", 504))

    def _remember(self, host: str, answer: Addresses | UpstreamError, ttl: float) -> None:
        if ttl <= 0:
            return
        self._cache[host] = (self._clock.seconds() + ttl, answer)
        self._cache.move_to_end(host)
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)

    def _end(self, pending: _Pending, outcome: Addresses | UpstreamError) -> None:
        pending.outcome = outcome
        self._drop(pending)
        while pending.waiting:
            waiting = pending.waiting.pop(0)
            if isinstance(outcome, UpstreamError):
                waiting.errback(_again(outcome))
            else:
                waiting.callback(outcome)

    def _drop(self, pending: _Pending) -> None:
        if self._pending.get(pending.host) is pending:
            del self._pending[pending.host]
        if pending.call is not None and pending.call.active():
            pending.call.cancel()
        if pending.running is not None:
            # Where no thread has taken it up yet, none will; where one has, the answer is dropped.
            pending.running.cancel()


class _Pending:
    """A look-up that runs, and those who wait for it."""

    __slots__ = ("call", "host", "outcome", "resolver", "running", "waiting")

    def __init__(self, resolver: Resolver, host: str) -> None:
        self.resolver = resolver
        self.host = host
        self.call: IDelayedCall | None = None
        self.running: Deferred[Addresses] | None = None
        self.outcome: Addresses | UpstreamError | None = None
        self.waiting: list[Deferred[Addresses]] = []

    def wait(self) -> Deferred[Addresses]:
        """A Deferred for one more who waits."""
        if isinstance(self.outcome, UpstreamError):
            return fail(_again(self.outcome))
        if self.outcome is not None:
            return succeed(self.outcome)
        waiting: Deferred[Addresses] = Deferred(self._leave)
        self.waiting.append(waiting)
        return waiting

    def _leave(self, waiting: Deferred[Addresses]) -> None:
        self.waiting.remove(waiting)
        if not self.waiting:
            self.resolver._drop(self)


def _again(error: UpstreamError) -> UpstreamError:
    # One error for each who waits: an exception carries the traceback of where it travelled.
    return UpstreamError(str(error), error.code, error.status)

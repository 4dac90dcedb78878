"""What bodies may take: each its size and its time, and memory all together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from interceptor.errors import InterceptorError, UpstreamError
from interceptor.layers.failures import BodyTooLargeError, ClientTooSlowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.hooks.bus import Fire
    from interceptor.layers.allowances import Allowances
    from interceptor.layers.environment import Environment, Settings
    from interceptor.model.message import Message

SMALL_BODY: Final = 16384
"""Bytes up to which a body is not counted: the number of flows bounds those."""


def is_small(body: bytes, environment: Environment, settings: Settings) -> bool:
    """Whether a whole body is not counted, stays in memory, and has nobody to wait for."""
    if environment.turns.strain.crowded:
        return False
    size = len(body)
    if size > SMALL_BODY or size > settings.body_memory_limit:
        return False
    return size <= settings.body_size_limit


class BodyMemory:
    """Counts the bytes of gathered bodies that are in memory, of all flows together."""

    __slots__ = ("_allowance", "taken")

    def __init__(self, allowances: Allowances) -> None:
        self.taken = 0
        self._allowance = allowances.of("body_memory_total", lambda: self.taken)

    def take(self, size: int) -> bool:
        """Count ``size`` bytes more, if that many may be had; return whether they may."""
        taken = self.taken + size
        allowance = self._allowance
        if taken > allowance.mark:
            allowance.ask()
            if taken > allowance.limit:
                return False
        self.taken = taken
        return True


class MemoryFullError(InterceptorError):
    """There is no memory left to gather a body in, and the operator wants no file for it."""

    code = "body-memory-full"

    def __init__(self, total: int) -> None:
        super().__init__(
            f"the bodies of all flows fill {total} bytes of memory (body_memory_total)"
        )
        # The client is told 413 where it is its own body.
        self.status = 502


class BodyBounds:
    """What the bodies of one exchange may take, and have taken of a `BodyMemory`.

    `close` gives that back.
    """

    __slots__ = ("_environment", "_memory", "_settings", "_taken")

    def __init__(self, environment: Environment, settings: Settings) -> None:
        self._environment = environment
        self._memory = environment.body_memory
        self._settings = settings
        self._taken = 0

    def request_limit(self, length: int | None, fire: Fire) -> int:
        """Return how many bytes of a request are gathered before it streams or is refused.

        ``length`` is what was announced: raises `BodyTooLargeError` where that is too much.
        ``fire`` calls the ``request`` hooks.
        """
        limit, threshold = self._settings.body_size_limit, self._settings.stream_large_bodies
        if length is not None and length > limit:
            raise BodyTooLargeError(limit)
        if length is None and threshold is not None and not fire.fail_closed:
            limit = min(limit, threshold)
        return limit

    def check_request(self, size: int, fire: Fire | None) -> None:
        """Raise `BodyTooLargeError` where a request of ``size`` bytes may not even stream.

        No request that is too large to be gathered streams past a hook that fails closed.
        """
        settings = self._settings
        if size > settings.body_size_limit and (
            settings.body_size_overflow != "stream" or (fire is not None and fire.fail_closed)
        ):
            raise BodyTooLargeError(settings.body_size_limit)

    def response_limit(self, length: int | None) -> int:
        """Return how many bytes of a response are gathered before it streams or is refused.

        ``length`` is what was announced: raises `BodyTooLargeError` where that is too much.
        """
        if length is not None:
            self.check_response(length)
        limit, threshold = self._settings.body_size_limit, self._settings.stream_large_bodies
        return limit if threshold is None else min(limit, threshold)

    def check_response(self, size: int) -> None:
        """Raise `BodyTooLargeError` where a response of ``size`` bytes may not even stream.

        It may where ``stream_large_bodies`` has it stream before it is too large to be gathered.
        """
        settings = self._settings
        limit, threshold = settings.body_size_limit, settings.stream_large_bodies
        if settings.body_size_overflow != "refuse" or size <= limit:
            return
        if threshold is None or threshold >= limit:
            raise BodyTooLargeError(limit, "response")

    @property
    def memory_limit(self) -> int:
        """Bytes of one body that are kept in memory."""
        return self._settings.body_memory_limit

    def take(self, size: int) -> bool:
        """Take ``size`` bytes more; False where there are not that many, and a file has to do.

        Raises `MemoryFullError` where there is to be no file for that.
        """
        settings = self._settings
        if self._memory.take(size):
            self._taken += size
            return True
        if settings.body_memory_overflow == "refuse":
            raise MemoryFullError(settings.body_memory_total)
        return False

    def give_back(self, size: int) -> None:
        """Let go of a part."""
        self._memory.taken -= size
        self._taken -= size

    def close(self) -> None:
        """Let go of everything."""
        self.give_back(self._taken)

    @property
    def crowded(self) -> bool:
        """Whether decoding has taken much time from others in this turn of the reactor."""
        return self._environment.turns.strain.crowded

    async def turn(self, message: Message) -> None:
        """Wait for one's turn with a message that hooks may take long to decode."""
        turns = self._environment.turns
        if message.headers.get_bytes(b"content-encoding") is None:
            turns.pass_by()
        else:
            await turns.wait()

    def request_pace(self) -> Pace | None:
        """Return how slowly the client's body may come."""
        return self._pace(
            self._settings.request_body_rate, self._settings.body_timeout, _client_too_slow
        )

    def response_pace(self) -> Pace | None:
        """Return how slowly the server's body may come."""
        return self._pace(
            self._settings.response_body_rate, self._settings.read_timeout, _server_too_slow
        )

    def _pace(self, rate: int, grace: float, error: Callable[[], InterceptorError]) -> Pace | None:
        return Pace(self._environment.clock.seconds, rate, grace, error) if rate else None


def _client_too_slow() -> InterceptorError:
    return ClientTooSlowError(
        "the client was too slow: its body came slower than request_body_rate allows",
        "body-too-slow",
    )


def _server_too_slow() -> InterceptorError:
    return UpstreamError(
        "the server's body came slower than response_body_rate allows", "response-too-slow", 504
    )


class Pace:
    """How slowly a body may come: each ``rate`` bytes give its sender a second more.

    Only the time that its sender was waited for counts, beyond ``grace`` seconds.
    """

    __slots__ = ("_error", "_grace", "_rate", "_seconds", "_waited")

    def __init__(
        self,
        seconds: Callable[[], float],
        rate: int,
        grace: float,
        error: Callable[[], InterceptorError],
    ) -> None:
        self._seconds = seconds
        self._rate = rate
        self._grace = grace
        self._error = error
        self._waited = 0.0

    async def wait(self, source: Any, came: int) -> None:
        """Wait for more from ``source``, of which ``came`` bytes have come; raise when too slow."""
        began = self._seconds()
        await source.when_readable()
        self._waited += self._seconds() - began
        if self._waited > self._grace + came / self._rate:
            raise self._error()

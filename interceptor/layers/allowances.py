"""How much of what is limited in all this process may use: everything, or what it was lent.

With several workers the parent keeps the account (`interceptor.workers.ledger`). Each worker begins
with an equal share. One that has used most of what it has asks for more before it needs it, and
goes on meanwhile; one that is asked to spare something gives what it does not use. So what all of
them may use never adds up to more than the limit, and nobody waits for permission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from interceptor.model.limitoptions import CLIENT_LIMITS, SHARED_LIMITS, share_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from interceptor.model.options import Options

    Send = Callable[[dict[str, Any]], object]

_PAUSE: Final = 0.2
"""Seconds between two questions for more of the same, where nothing came of the first."""

_LOOK: Final = 1.0
"""Seconds between two looks at what was lent and is not needed any more."""


class Allowance:
    """How much may be used of one thing: ``limit``.

    From ``mark`` on `ask` is to be called, which is below the limit where more can be had.
    ``used`` tells how much is used.
    """

    __slots__ = ("_allowances", "client", "limit", "mark", "name", "share", "total", "used")

    def __init__(
        self, allowances: Allowances, name: str, client: str, used: Callable[[], int]
    ) -> None:
        self._allowances = allowances
        self.name = name
        self.client = client
        self.used = used
        self.total = self.share = self.limit = self.mark = 0

    def configure(self, total: int, share: int) -> None:
        """Begin anew with a share of another total."""
        if total != self.total or share != self.share:
            self.total, self.share = total, share
            self.change(share - self.limit)

    def change(self, amount: int) -> None:
        """Have so much more or less."""
        self.limit = limit = self.limit + amount
        self.mark = limit - _headroom(limit) if self._allowances.is_lent else limit

    def ask(self) -> None:
        """Ask for more, where there is somebody who may have it."""
        self._allowances.ask(self)

    def full(self) -> bool:
        """Ask for more; tell whether nothing more may be used now."""
        self._allowances.ask(self)
        return self.used() >= self.limit

    def spare(self) -> int:
        """Give away half of what is not used, but never everything; return how much."""
        amount = min((self.limit - self.used() + 1) // 2, self.limit - 1)
        if amount <= 0:
            return 0
        self.change(-amount)
        return amount

    def surplus(self) -> int:
        """Give away what goes beyond the share and is not needed by far; return how much."""
        amount = self.limit - max(self.share, 2 * self.used())
        if amount <= 0:
            return 0
        self.change(-amount)
        return amount


class Allowances:
    """All allowances of one process: those named in `SHARED_LIMITS`, and those of clients.

    ``clients`` has only those clients whose allowance is not the usual share: by option and host.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._send: Send | None = None
        self._asked: dict[tuple[str, str], float] = {}
        self._call: IDelayedCall | None = None
        self._of: dict[str, Allowance] = {}
        self._used_by_client: dict[str, Callable[[str], int]] = {}
        self.usual: dict[str, Allowance] = {}
        self.clients: dict[str, dict[str, Allowance]] = {name: {} for name in CLIENT_LIMITS}
        for name in SHARED_LIMITS:
            self._of[name] = Allowance(self, name, "", _nothing)
        for name in CLIENT_LIMITS:
            self.usual[name] = Allowance(self, name, "", _nothing)

    @property
    def is_lent(self) -> bool:
        """Whether there is a parent that lends."""
        return self._send is not None

    def of(self, name: str, used: Callable[[], int]) -> Allowance:
        """Return the allowance for an option; ``used`` tells how much is used."""
        allowance = self._of[name]
        allowance.used = used
        return allowance

    def of_clients(self, name: str, used: Callable[[str], int]) -> Allowance:
        """Return the usual allowance of one client; ``used`` tells how much a host uses."""
        self._used_by_client[name] = used
        return self.usual[name]

    def configure(self, options: Options) -> None:
        """Follow the options: where a total has changed, everybody begins with a share again."""
        for name, allowance in self._of.items():
            allowance.configure(getattr(options, name), share_of(options, name))
        for name, allowance in self.usual.items():
            total = getattr(options, name)
            if total != allowance.total:
                self.clients[name].clear()
            allowance.configure(total, share_of(options, name))

    def borrow_from(self, send: Send, lent: Mapping[str, int], options: Options) -> None:
        """Take what a parent lends, that ``send`` sends messages to.

        ``lent`` has what differs from the share: by option, or by option, a blank and a client.
        """
        self._send = send
        self.configure(options)
        for key, limit in lent.items():
            name, _, client = key.partition(" ")
            allowance = self._find(name, client)
            allowance.change(limit - allowance.limit)
        for allowance in (*self._of.values(), *self.usual.values()):
            allowance.change(0)
        self._call = self._clock.callLater(_LOOK, self._look)

    def stop(self) -> None:
        """Give nothing back any more: the process ends."""
        self._send = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def client_is_full(self, name: str, client: str) -> bool:
        """Ask for more for one client; tell whether it may use no more now."""
        if self._send is None:
            return self._used_by_client[name](client) >= self.usual[name].limit
        return self._find(name, client).full()

    def ask(self, allowance: Allowance) -> None:
        """Ask the parent for more, unless that has just been done."""
        if self._send is None:
            return
        now = self._clock.seconds()
        key = allowance.name, allowance.client
        if now - self._asked.get(key, -_PAUSE) < _PAUSE:
            return
        self._asked[key] = now
        self._tell("borrow", allowance, max(allowance.limit // 2, 1))

    def received(self, message: Mapping[str, Any]) -> None:
        """Do what the parent says: take what it lends, or spare something."""
        allowance = self._find(message["name"], message["client"])
        if message["total"] != allowance.total:
            # It has not heard of the new limit yet, or we have not.
            return
        if message["do"] == "lent":
            allowance.change(message["amount"])
            self._asked.pop((allowance.name, allowance.client), None)
        else:
            self._tell("spared", allowance, allowance.spare())
        self._drop_usual(allowance)

    def _tell(self, do: str, allowance: Allowance, amount: int) -> None:
        assert self._send is not None
        self._send(
            {
                "do": do,
                "name": allowance.name,
                "client": allowance.client,
                "total": allowance.total,
                "amount": amount,
            }
        )

    def _find(self, name: str, client: str) -> Allowance:
        if not client:
            return self._of[name]
        found = self.clients[name].get(client)
        if found is None:
            used = self._used_by_client[name]
            found = Allowance(self, name, client, lambda: used(client))
            found.configure(self.usual[name].total, self.usual[name].share)
            self.clients[name][client] = found
        return found

    def _drop_usual(self, allowance: Allowance) -> None:
        if allowance.client and allowance.limit == allowance.share:
            del self.clients[allowance.name][allowance.client]

    def _look(self) -> None:
        clients = [each for of_name in self.clients.values() for each in of_name.values()]
        for allowance in (*self._of.values(), *clients):
            amount = allowance.surplus()
            if amount:
                self._tell("returned", allowance, amount)
            self._drop_usual(allowance)
        now = self._clock.seconds()
        self._asked = {key: at for key, at in self._asked.items() if now - at < _PAUSE}
        self._call = self._clock.callLater(_LOOK, self._look)


def _headroom(limit: int) -> int:
    """How much before the end of what there is more is asked for."""
    return max(limit // 4, min(limit // 2, 16))


def _nothing() -> int:
    return 0

"""What the parent has lent each worker of what is limited in all; see `layers.allowances`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from interceptor.model.limitoptions import CLIENT_LIMITS, SHARED_LIMITS, share_of
from interceptor.model.options import Options

Tell = Callable[[int, dict[str, Any]], object]
"""Sends a worker, named by its number, a message."""


@dataclass(slots=True)
class _Account:
    """Who has how much of one thing: ``held`` by worker.

    ``wanted`` is what workers have asked for and not got; ``asked`` are those who are to say what
    they can spare of it.
    """

    total: int
    share: int
    held: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, int] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    @property
    def left(self) -> int:
        """What nobody has."""
        return self.total - sum(self.held.values())

    def start(self, worker: int, workers: int) -> int:
        """Give a worker that begins its share, or what there is of it; return how much."""
        # Where there are more workers than there may be of it, each has one.
        least = 1 if self.total < workers else 0
        amount = self.held[worker] = max(min(self.share, self.left), least)
        return amount


class Ledger:
    """Accounts for everything that is lent.

    ``tell`` sends messages to workers, ``running`` gives the numbers of those that get them.
    """

    def __init__(self, options: Options, tell: Tell, running: Callable[[], Iterable[int]]) -> None:
        self._options = options
        self._tell = tell
        self._running = running
        self._alive: set[int] = set()
        self._accounts: dict[tuple[str, str], _Account] = {}
        for name in SHARED_LIMITS:
            self._accounts[name, ""] = self._account(name)

    def _account(self, name: str) -> _Account:
        return _Account(getattr(self._options, name), share_of(self._options, name))

    def start(self, worker: int) -> dict[str, int]:
        """Lend to a worker that begins; return what is not the usual share, as a worker reads it.

        What it had under the same number has to be given back before (`end`).
        """
        self._alive.add(worker)
        lent = {}
        for (name, client), account in self._accounts.items():
            amount = account.start(worker, self._options.workers)
            if amount != account.share or client:
                lent[f"{name} {client}".strip()] = amount
        return lent

    def end(self, worker: int) -> None:
        """A worker is gone: what it had can be lent again."""
        self._alive.discard(worker)
        for key in tuple(self._accounts):
            account = self._accounts[key]
            account.held.pop(worker, None)
            account.wanted.pop(worker, None)
            account.asked.discard(worker)
            self._hand_out(key, account)

    def configure(self) -> None:
        """Follow the options: where a total has changed, everybody begins with a share again."""
        for key in tuple(self._accounts):
            name, client = key
            fresh = self._account(name)
            if fresh.total == self._accounts[key].total:
                continue
            if client:
                del self._accounts[key]
                continue
            fresh.held = dict.fromkeys(self._alive, fresh.share)
            self._accounts[key] = fresh

    def held(self, name: str, client: str = "") -> dict[int, int]:
        """How much each worker has that is not the usual share of a client."""
        account = self._accounts.get((name, client))
        return {} if account is None else dict(account.held)

    def received(self, worker: int, message: dict[str, Any]) -> None:
        """Do what a worker asks for: lend it more, or take back what it does not need."""
        name, client, amount = message["name"], message["client"], message["amount"]
        key = (name, client)
        account = self._accounts.get(key)
        if account is None:
            if name not in CLIENT_LIMITS or not client:
                return
            account = self._account(name)
            account.held = dict.fromkeys(self._alive, account.share)
            self._accounts[key] = account
        if message["total"] != account.total or worker not in account.held:
            return
        if message["do"] == "borrow":
            account.wanted[worker] = amount
            if account.left <= 0:
                for other in self._running():
                    if other != worker and other in account.held:
                        account.asked.add(other)
                        self._send(other, "spare", key, account, 0)
        else:
            account.held[worker] -= amount
            if message["do"] == "spared":
                account.asked.discard(worker)
        self._hand_out(key, account)

    def _hand_out(self, key: tuple[str, str], account: _Account) -> None:
        """Lend what there is: to those who have asked, then to those who have little."""
        for worker, amount in tuple(account.wanted.items()):
            if self._lend(worker, amount, key, account):
                del account.wanted[worker]
        if not account.asked:
            # Nobody has any to spare. Who needs it still asks again.
            account.wanted.clear()
            for worker in account.held:
                self._lend(worker, account.share - account.held[worker], key, account)
        if account.wanted:
            return
        if key[1] and all(held == account.share for held in account.held.values()):
            # A client that is as any other.
            del self._accounts[key]

    def _lend(self, worker: int, amount: int, key: tuple[str, str], account: _Account) -> bool:
        amount = min(amount, account.left)
        if amount <= 0 or worker not in set(self._running()):
            return False
        account.held[worker] += amount
        self._send(worker, "lent", key, account, amount)
        return True

    def _send(
        self, worker: int, do: str, key: tuple[str, str], account: _Account, amount: int
    ) -> None:
        name, client = key
        message = {
            "do": do,
            "name": name,
            "client": client,
            "total": account.total,
            "amount": amount,
        }
        self._tell(worker, message)

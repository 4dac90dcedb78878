"""What is limited in all, lent by a parent to its workers; messages are carried by hand."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.layers.allowances import Allowance, Allowances
from interceptor.model.limitoptions import share_of
from interceptor.model.options import Options
from interceptor.service import make_options
from interceptor.workers.ledger import Ledger

CLIENT = "192.0.2.1"


class Worker:
    """Uses connections, of one client, as it is told to."""

    def __init__(self, family: Family, number: int, lent: dict[str, int]) -> None:
        self.family = family
        self.number = number
        self.used = 0
        self.inbox: deque[dict[str, Any]] = deque()
        self.allowances = Allowances(family.clock)
        self.connections = self.allowances.of("connection_limit", lambda: self.used)
        for name in ("client_connection_limit", "udp_client_flow_limit"):
            self.allowances.of_clients(name, lambda host: self.used if host == CLIENT else 0)
        self.allowances.borrow_from(self.send, lent, family.options)

    def send(self, message: dict[str, Any]) -> None:
        self.family.inbox.append((self.number, message))

    def enter(self) -> bool:
        """Use one more, if that may be."""
        if self.used >= self.connections.mark and self.connections.full():
            return False
        client = self.client
        if self.used >= client.mark and self.allowances.client_is_full(client.name, CLIENT):
            return False
        self.used += 1
        return True

    @property
    def client(self) -> Allowance:
        """What the client may use."""
        usual = self.allowances.usual["client_connection_limit"]
        return self.allowances.clients[usual.name].get(CLIENT, usual)


class Family:
    """A parent's ledger and its workers."""

    def __init__(self, workers: int = 2, **options: Any) -> None:
        self.options: Options = make_options(workers=workers, **options)
        self.clock = Clock()
        self.inbox: deque[tuple[int, dict[str, Any]]] = deque()
        self.workers: dict[int, Worker] = {}
        self.hung: set[int] = set()
        self.ledger = Ledger(self.options, self._tell, self._running)
        for number in range(1, workers + 1):
            self.start(number)

    def _running(self) -> Iterable[int]:
        return tuple(self.workers)

    def _tell(self, number: int, message: dict[str, Any]) -> None:
        self.workers[number].inbox.append(message)

    def start(self, number: int) -> None:
        self.workers[number] = Worker(self, number, self.ledger.start(number))

    def kill(self, number: int) -> None:
        self.workers.pop(number).allowances.stop()
        self.inbox = deque(each for each in self.inbox if each[0] != number)
        self.ledger.end(number)

    def step(self) -> bool:
        """Carry one message each way, where there are any."""
        moved = False
        if self.inbox:
            self.ledger.received(*self.inbox.popleft())
            moved = True
        for number, worker in self.workers.items():
            if worker.inbox and number not in self.hung:
                worker.allowances.received(worker.inbox.popleft())
                moved = True
        return moved

    def settle(self) -> None:
        """Carry all messages."""
        while self.step():
            pass

    def limits(self) -> list[int]:
        return [worker.connections.limit for worker in self.workers.values()]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.allowances.stop()


class LedgerTests(SynchronousTestCase):
    def family(self, workers: int = 2, **options: Any) -> Family:
        made = Family(workers, **options)
        self.addCleanup(made.close)
        return made

    def test_each_begins_with_a_share(self):
        family = self.family(3, connection_limit=100)
        self.assertEqual(family.limits(), [33, 33, 33])

    def test_one_worker_may_have_nearly_all(self):
        family = self.family(4, connection_limit=100, client_connection_limit=1000)
        first = family.workers[1]
        refused = 0
        for _ in range(200):
            refused += not first.enter()
            family.settle()
            family.clock.advance(0.05)
        # The others keep one each.
        self.assertEqual((first.used, family.limits()), (97, [97, 1, 1, 1]))
        self.assertEqual(refused, 103)

    def test_more_is_there_before_it_is_needed(self):
        family = self.family(2, connection_limit=1000)
        first = family.workers[1]
        for _ in range(900):
            self.assertTrue(first.enter())
            family.clock.advance(0.01)
            family.settle()

    def test_what_is_not_needed_comes_back(self):
        family = self.family(2, connection_limit=100)
        first, second = family.workers.values()
        for _ in range(80):
            first.enter()
            family.clock.advance(0.3)
            family.settle()
        self.assertEqual(first.used, 80)
        first.used = 0
        for _ in range(3):
            family.clock.advance(1)
            family.settle()
        self.assertEqual(family.limits(), [50, 50])
        self.assertEqual(first.allowances.clients["client_connection_limit"], {})
        self.assertEqual(second.allowances.clients["client_connection_limit"], {})

    def test_a_client_has_one_limit_with_all_workers(self):
        family = self.family(2, client_connection_limit=20)
        first, second = family.workers.values()
        for _ in range(30):
            first.enter()
            family.clock.advance(0.3)
            family.settle()
        self.assertEqual((first.used, second.client.limit), (19, 1))
        self.assertEqual(family.ledger.held("client_connection_limit", CLIENT), {1: 19, 2: 1})
        self.assertTrue(second.enter())
        self.assertFalse(second.enter())
        # Other clients are not concerned.
        self.assertEqual(second.allowances.usual["client_connection_limit"].limit, 10)
        first.used = 0
        for _ in range(3):
            family.clock.advance(1)
            family.settle()
        self.assertEqual(family.ledger.held("client_connection_limit", CLIENT), {})
        self.assertEqual((first.client.limit, second.client.limit), (10, 10))

    def test_what_a_dead_worker_had_is_lent_again(self):
        family = self.family(2, connection_limit=100, client_connection_limit=100)
        first, second = family.workers.values()
        for _ in range(100):
            first.enter()
            family.clock.advance(0.3)
            family.settle()
        self.assertEqual(first.used, 99)
        family.kill(1)
        for _ in range(100):
            second.enter()
            family.clock.advance(0.3)
            family.settle()
        self.assertEqual(second.used, 100)
        # The next one has what there is, and its share in a while.
        family.start(1)
        self.assertEqual(family.workers[1].connections.limit, 0)
        self.assertFalse(family.workers[1].enter())
        second.used = 10
        for _ in range(3):
            family.clock.advance(1)
            family.settle()
        self.assertEqual(family.limits(), [50, 50])
        self.assertTrue(family.workers[1].enter())

    def test_a_worker_that_hangs_keeps_what_it_has(self):
        family = self.family(2, connection_limit=100)
        first = family.workers[1]
        family.hung = {2}
        for _ in range(100):
            first.enter()
            family.clock.advance(0.3)
            family.settle()
        self.assertEqual((first.used, family.limits()), (50, [50, 50]))
        family.kill(2)
        first.enter()
        family.clock.advance(0.3)
        first.enter()
        family.settle()
        self.assertTrue(first.enter())

    def test_other_limits_begin_with_shares_again(self):
        family = self.family(2, connection_limit=100, client_connection_limit=100)
        first, second = family.workers.values()
        for _ in range(70):
            first.enter()
            family.clock.advance(0.3)
            family.settle()
        # What is said about the old limit means nothing any more.
        first.connections.ask()
        family.clock.advance(0.3)
        family.options.update(connection_limit=60)
        for worker in (first, second):
            worker.allowances.configure(family.options)
        family.ledger.configure()
        family.settle()
        self.assertLessEqual(sum(family.limits()), 60)
        self.assertFalse(first.enter())
        first.used = 0
        for _ in range(2):
            family.clock.advance(1)
            family.settle()
        self.assertEqual(family.limits(), [30, 30])

    def test_a_limit_below_the_number_of_workers(self):
        family = self.family(4, connection_limit=2)
        self.assertEqual(family.limits(), [1, 1, 1, 1])

    def test_one_process_asks_nobody(self):
        options = make_options(connection_limit=7)
        allowances = Allowances(Clock())
        allowances.configure(options)
        allowance = allowances.of("connection_limit", lambda: 7)
        self.assertEqual((allowance.limit, allowance.mark, allowance.full()), (7, 7, True))

    def test_never_more_than_the_limit_whatever_happens(self):
        for seed in range(20):
            chance = random.Random(seed)
            workers = chance.randint(2, 5)
            total = chance.choice((workers, 10, 50, 1000))
            client = chance.choice((workers, 7, 30, 2000))
            family = self.family(workers, connection_limit=total, client_connection_limit=client)
            most = max(share_of(family.options, "connection_limit") * workers, total)
            for _ in range(600):
                action = chance.random()
                worker = chance.choice(list(family.workers.values()))
                if action < 0.5:
                    if worker.enter():
                        used = sum(each.used for each in family.workers.values())
                        self.assertLessEqual(used, min(most, max(client, workers)), seed)
                elif action < 0.7:
                    worker.used = max(worker.used - chance.randint(1, 5), 0)
                elif action < 0.95:
                    family.step()
                elif action < 0.98:
                    family.clock.advance(chance.random())
                elif len(family.workers) > 1:
                    family.kill(worker.number)
                    family.start(worker.number)
            family.settle()
            self.assertLessEqual(sum(family.limits()), most, seed)
            for each in family.workers.values():
                each.used = 0
            for _ in range(5):
                family.clock.advance(1)
                family.settle()
            self.assertEqual(set(family.limits()), {share_of(family.options, "connection_limit")})

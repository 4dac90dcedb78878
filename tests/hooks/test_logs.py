from __future__ import annotations

import threading

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python import threadable

from interceptor import ctx
from interceptor.hooks.context import LogEntry
from tests.hooks.doubles import HookTestCase


class Keeper:
    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def log(self, entry: LogEntry) -> None:
        self.entries.append(entry)


class LogEventTests(HookTestCase):
    def test_what_scripts_log(self) -> None:
        keeper = Keeper()
        self.chain().add(keeper)
        ctx.log("text", "warn")
        self.assertEqual(keeper.entries, [LogEntry("text", "warn")])

    def test_what_the_proxy_logs(self) -> None:
        keeper = Keeper()
        self.chain().add(keeper)
        Logger(namespace="interceptor.net").critical("{what} broke", what="it")
        Logger(namespace="twisted.web").info("not ours")
        Logger(namespace="interceptors").info("not ours either")
        self.assertEqual(keeper.entries, [LogEntry("it broke", "error")])

    def test_logging_inside_does_not_recurse(self) -> None:
        class Talker(Keeper):
            def log(self, entry: LogEntry) -> None:
                super().log(entry)
                ctx.log("again")

        talker = Talker()
        self.chain().add(talker)
        ctx.log("once")
        self.assertEqual([entry.msg for entry in talker.entries], ["once"])
        self.assertEqual(self.messages.texts, ["once", "again"])

    def test_logging_inside_a_coroutine_does_not_recurse(self) -> None:
        waiting: Deferred[None] = Deferred()

        class Talker(Keeper):
            async def log(self, entry: LogEntry) -> None:  # type: ignore[override]  # a hook may be either
                self.entries.append(entry)
                await waiting
                ctx.log("again")

        talker = Talker()
        self.chain().add(talker)
        ctx.log("once")
        waiting.callback(None)
        self.assertEqual([entry.msg for entry in talker.entries], ["once"])

    def test_failing_log_hook_does_not_recurse(self) -> None:
        for late in (False, True):
            waiting: Deferred[None] = Deferred() if late else succeed(None)

            class Broken(Keeper):
                name = f"broken-{late}"
                waiting: Deferred[None]

                async def log(self, entry: LogEntry) -> None:  # type: ignore[override]  # a hook may be either
                    self.entries.append(entry)
                    await self.waiting
                    raise ValueError

            broken = Broken()
            broken.waiting = waiting
            chain = self.chain()
            chain.add(broken)
            chain.binding.log("once")
            if late:
                waiting.callback(None)
            self.assertEqual([entry.msg for entry in broken.entries], ["once"])

    def test_two_proxies_hear_their_own(self) -> None:
        first, second = Keeper(), Keeper()
        chains = [self.chain(), self.chain()]
        for chain, keeper in zip(chains, (first, second), strict=True):
            chain.add(keeper)
        chains[0].binding.log("for the first")
        Logger(namespace="interceptor.net").info("for nobody in particular")
        self.assertEqual([entry.msg for entry in first.entries], ["for the first"])
        self.assertEqual(second.entries, [])

    def test_other_threads_are_heard_in_the_reactors(self) -> None:
        keeper = Keeper()
        chain = self.chain()
        chain.add(keeper)
        self.patch(threadable, "ioThread", threading.get_ident())
        thread = threading.Thread(target=chain.binding.log, args=("from afar",))
        thread.start()
        thread.join()
        self.assertEqual(keeper.entries, [])
        self.clock.make_call()
        self.assertEqual(keeper.entries, [LogEntry("from afar", "info")])

    def test_nothing_is_heard_after_the_end(self) -> None:
        keeper = Keeper()
        chain = self.chain()
        chain.add(keeper)
        self.shut_down(chain)
        chain.binding.log("too late")
        self.assertEqual(keeper.entries, [])

"""Log messages of layers reach the ``log`` event of their own proxy."""

from __future__ import annotations

from interceptor.hooks.context import LogEntry
from tests.layers.test_exchange import ExchangeTestCase


class Listener:
    """Notes what is logged."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def log(self, entry: LogEntry) -> None:
        self.entries.append(entry)


class LogTests(ExchangeTestCase):
    def test_two_proxies_do_not_meet(self):
        one, other = Listener(), Listener()
        proxy = self.proxy(one)
        self.proxy(other)
        proxy.get("http://nobody.test/")
        self.assertEqual(len(one.entries), 1)
        self.assertIn("connect-refused", one.entries[0].msg)
        self.assertEqual(other.entries, [])

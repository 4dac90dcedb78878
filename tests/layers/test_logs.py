"""Log messages of layers reach the ``log`` event of their own proxy."""

from __future__ import annotations

import ast
from pathlib import Path

import interceptor.layers
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

    def test_every_message_names_its_proxy(self):
        nameless = [
            f"{path.name}:{node.lineno}"
            for path in Path(interceptor.layers.__file__).parent.glob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"debug", "info", "warn", "error", "failure"}
            and "log" in ast.unparse(node.func.value)
            and "proxy" not in {keyword.arg for keyword in node.keywords}
        ]
        self.assertEqual(nameless, [])

"""What the tests of the ready-made scripts share: each is loaded as the command line loads it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from interceptor.exceptions import OptionsError
from interceptor.testing import MemoryOrigin, MemoryProxy
from tests.events.cases import EventTestCase

SCRIPTS = Path(__file__).parents[2] / "scripts"


def spec(name: str, *arguments: str) -> str:
    """What ``-s`` would be given."""
    return shlex.join((str(SCRIPTS / name), *arguments))


class ScriptTestCase(EventTestCase):
    """Runs proxies with the script ``script``."""

    script: str

    def run_script(
        self, *arguments: str, others: tuple[object, ...] = (), **options: Any
    ) -> tuple[MemoryProxy, MemoryOrigin]:
        """Return a proxy with the script, behind it ``others``, and an origin."""
        proxy = self.proxy(spec(self.script, *arguments), *others, **options)
        return proxy, proxy.origin()

    def refusal(self, *arguments: str) -> str:
        """Why the script cannot be loaded with these arguments."""
        error = self.assertRaises(OptionsError, MemoryProxy, spec(self.script, *arguments))
        message = str(error)
        self.assertTrue(message.startswith(f"{self.script}: "), message)
        self.assertNotIn("\n", message)
        return message

    def check_refusals(self, *cases: tuple[str, ...]) -> None:
        """Check that the script refuses each of these lists of arguments."""
        for arguments in cases:
            self.refusal(*arguments)

    def check_failing_closed(self, proxy: MemoryProxy) -> None:
        """Check that the script's addon has the error policy that it promises."""
        [addon] = [addon for addon in proxy.tester.chain if hasattr(addon, "error_policy")]
        self.assertEqual(addon.error_policy, "kill")
        self.assertTrue(proxy.bus.requestheaders and proxy.bus.requestheaders.fail_closed)
        self.assertTrue(proxy.bus.http_connect and proxy.bus.http_connect.fail_closed)

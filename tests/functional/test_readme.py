"""What the README shows works as it says."""

from __future__ import annotations

import re
import textwrap

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.harness import CHECKOUT, FunctionalTestCase, require
from tests.functional.origins import Fixed, tree

README = (CHECKOUT / "README.rst").read_text(encoding="utf-8")


class TextTests(SynchronousTestCase):
    def test_make_has_the_targets_named(self):
        makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
        named = set(re.findall(r"(?:``|    )make ([a-z]+)", README))
        self.assertTrue(named >= {"run", "test", "docs"}, named)
        self.assertEqual(named - targets, set())

    def test_links_lead_somewhere(self):
        targets = re.findall(r"<([^<>:]+)>`_", README)
        self.assertTrue(targets)
        self.assertEqual([name for name in targets if not (CHECKOUT / name).exists()], [])


class ScriptTests(FunctionalTestCase):
    async def test_the_script(self):
        block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README)
        assert block is not None
        script = self.write("hello.py", textwrap.dedent(block[1]))
        origin = await self.start_site(tree(other=Fixed(b"other")))
        proxy = await self.start_proxy(scripts=[script])
        curl = [require("curl"), "--silent", "--include", "--proxy", proxy.url]

        answered = await self.check_program(*curl, f"{origin.url}/hello")
        self.assertIn(b" 200 ", answered.out)
        self.assertIn(b"X-Seen-By: interceptor\r\n", answered.out)
        self.assertTrue(answered.out.endswith(b"\r\n\r\nHello from the proxy!\n"))
        self.assertEqual(origin.accepted, 0)

        passed = await self.check_program(*curl, f"{origin.url}/other")
        self.assertIn(b"X-Seen-By: interceptor\r\n", passed.out)
        self.assertTrue(passed.out.endswith(b"\r\n\r\nother"))
        self.assertIn(f"{origin.url}/other got 200", proxy.log)

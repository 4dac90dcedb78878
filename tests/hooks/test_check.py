from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.hooks.check import Problem, check
from interceptor.model.coreoptions import core_options


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute().with_suffix(".py")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def problems(self, text: str, arguments: str = "") -> list[Problem]:
        self.path.write_text(text, encoding="utf-8")
        return check([f"{self.path} {arguments}"])

    def lines(self, text: str) -> list[tuple[int, str]]:
        return [(problem.line, problem.text) for problem in self.problems(text)]

    def test_sound_script(self) -> None:
        text = (
            "from interceptor import ctx, http\n"
            "def load(loader):\n    loader.add_option('mine', int, 3, 'Mine.')\n"
            "def request(flow):\n    ctx.log(str(ctx.options.mine + ctx.options.dns_threads))\n"
            "def tick():\n    ctx.options.keys()\n"
        )
        self.assertEqual(self.problems(text), [])

    def test_missing_file(self) -> None:
        (problem,) = check(["/nowhere/x.py"])
        self.assertEqual(str(problem), "/nowhere/x.py: No such file or directory")

    def test_spec_that_makes_no_sense(self) -> None:
        (problem,) = check(["'open"])
        self.assertIn("No closing quotation", problem.text)

    def test_syntax_error(self) -> None:
        (problem,) = self.problems("x = 1\ndef request(flow:\n")
        self.assertEqual(problem.line, 2)
        self.assertIn("SyntaxError", problem.text)

    def test_error_at_load(self) -> None:
        (problem,) = self.problems("def load(loader):\n    1 / 0\n")
        self.assertEqual(problem.line, 2)
        self.assertIn("ZeroDivisionError", problem.text)

    def test_refusal_of_arguments(self) -> None:
        (problem,) = self.problems(
            "from interceptor import ctx, exceptions\n"
            "def start():\n    raise exceptions.OptionsError(f'not {ctx.args[1]}')\n",
            "this",
        )
        self.assertEqual(problem.text, "not this")

    def test_near_miss_and_arity(self) -> None:
        lines = self.lines("def responseheader(flow):\n    pass\n\ndef request():\n    pass\n")
        self.assertEqual(
            lines,
            [
                (1, "`responseheader`: did you mean `responseheaders`?"),
                (4, "`request()` cannot be called as `request(flow)`: the event gives 1 argument"),
            ],
        )

    def test_option_that_nobody_declares(self) -> None:
        lines = self.lines(
            "from interceptor import ctx\n\ndef request(flow):\n    ctx.options.dns_thread\n"
        )
        self.assertEqual(lines, [(4, "no option is called `dns_thread`")])

    def test_value_for_an_option_that_nobody_declares(self) -> None:
        self.path.write_text("", encoding="utf-8")
        options = core_options()
        options.set("mine=3", defer=True, source="--set")
        (problem,) = check([str(self.path)], options)
        self.assertIn("--set: unknown option", problem.text)

    def test_value_for_an_option_of_a_script_that_does_not_load(self) -> None:
        self.path.write_text(
            "from interceptor import ctx, exceptions\n"
            "def load(loader):\n    loader.add_option('mine', int, 3, 'Mine.')\n"
            "def configure(options, updated):\n"
            "    if ctx.options.mine > 5:\n"
            "        raise exceptions.OptionsError('mine is too large')\n",
            encoding="utf-8",
        )
        options = core_options()
        options.set("mine=7", defer=True, source="--set")
        (problem,) = check([str(self.path)], options)
        self.assertEqual(problem.text, "mine is too large")

    def test_done_is_called_and_nothing_stays(self) -> None:
        out = self.path.with_suffix(".out")
        before = set(sys.modules)
        self.problems(f"def done():\n    open({str(out)!r}, 'w').close()\n")
        self.assertTrue(out.exists())
        self.assertEqual([n for n in set(sys.modules) - before if "interceptor_script" in n], [])

    def test_other_scripts_are_checked_all_the_same(self) -> None:
        self.path.write_text("def requests(flow):\n    pass\n", encoding="utf-8")
        problems = check(["/nowhere/x.py", str(self.path)])
        self.assertEqual(len(problems), 2)

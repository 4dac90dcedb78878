from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.hooks.tracebacks import cut_traceback


def compiled(source: str, filename: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), names)
    return names


class CutTracebackTests(SynchronousTestCase):
    def error_of(self, function: Any) -> BaseException:
        try:
            function()
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")

    def test_only_own_frames_remain(self) -> None:
        library = compiled("def call(f):\n    f()\n", "library.py")
        names = compiled(
            "def inner():\n    raise ValueError('no good')\ndef outer():\n    call(inner)\n",
            "own.py",
        )
        names["call"] = library["call"]
        text = cut_traceback(self.error_of(names["outer"]), "own.py".__eq__)
        self.assertEqual(
            text,
            "Traceback (most recent call last):\n"
            '  File "own.py", line 4, in outer\n'
            '  File "own.py", line 2, in inner\n'
            "ValueError: no good",
        )

    def test_without_own_frames_the_error_alone_remains(self) -> None:
        text = cut_traceback(self.error_of(lambda: 1 / 0), "own.py".__eq__)
        self.assertEqual(text, "ZeroDivisionError: division by zero")

    def test_causes_are_cut_too(self) -> None:
        library = compiled("def fail():\n    raise KeyError('x')\n", "library.py")
        names = compiled(
            "def outer():\n    try:\n        fail()\n"
            "    except KeyError as error:\n        raise ValueError('y') from error\n",
            "own.py",
        )
        names["fail"] = library["fail"]
        text = cut_traceback(self.error_of(names["outer"]), "own.py".__eq__)
        self.assertNotIn("library.py", text)
        self.assertIn('  File "own.py", line 3, in outer\nKeyError', text)
        self.assertTrue(text.endswith("ValueError: y"))

    def test_syntax_error_shows_its_place(self) -> None:
        error = self.error_of(lambda: compile("def f(:\n", "own.py", "exec"))
        text = cut_traceback(error, "own.py".__eq__)
        self.assertTrue(text.startswith('  File "own.py", line 1\n    def f(:\n'), text)
        self.assertIn("SyntaxError", text)

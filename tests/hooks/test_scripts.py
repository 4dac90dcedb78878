from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from interceptor.errors import OptionsError, ScriptError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.scripts import Script
from tests.hooks.doubles import HookTestCase

RECORDING = """
import sys
from interceptor import ctx

def load(loader):
    loader.add_option("greeting", str, "hello", "What to say.")

def request(flow):
    flow.append(({label!r}, ctx.options.greeting))

def done():
    ctx.log("{label} is done")
"""


class ScriptTestCase(HookTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self._age = 0

    def write(self, name: str, text: str) -> Path:
        """Write a script that looks a second newer than what was written before it."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self._age += 1
        os.utime(path, (self._age, self._age))
        return path

    def loaded(self, text: str, arguments: str = "", name: str = "script.py") -> AddonChain:
        chain = self.chain(scripts=[f"{self.write(name, text)} {arguments}".strip()])
        chain.load_scripts()
        return chain

    def fire(self, chain: AddonChain) -> list[Any]:
        flow: list[Any] = []
        assert chain.bus.request is not None
        self.assertIsNone(chain.bus.request(flow))
        return flow


class ScriptTests(ScriptTestCase):
    def test_words_are_split_by_the_shells_rules(self) -> None:
        script = Script("/tmp/x.py one 'two three' \"four\"")
        self.assertEqual(script.arguments, ["/tmp/x.py", "one", "two three", "four"])
        self.assertEqual(script.name, "x")

    def test_relative_path_is_made_absolute_at_once(self) -> None:
        self.assertEqual(Script("x.py").path, Path.cwd() / "x.py")

    def test_specs_that_make_no_sense(self) -> None:
        for spec in ("", "  ", "'open"):
            self.assertRaises(ScriptError, Script, spec)

    def test_again_keeps_spec_and_arguments(self) -> None:
        script = Script("x.py 'two three'")
        again = script.again()
        self.assertEqual((again.spec, again.arguments), (script.spec, script.arguments))


class LoadingTests(ScriptTestCase):
    def test_module_functions_are_hooks(self) -> None:
        chain = self.loaded("def request(flow):\n    flow.append(1)\n")
        self.assertEqual(self.fire(chain), [1])
        self.assertEqual(chain.names(), ["script"])

    def test_missing_file(self) -> None:
        chain = self.chain(scripts=[str(self.directory / "none.py")])
        error = self.assertRaises(ScriptError, chain.load_scripts)
        self.assertIn("none.py: No such file or directory", str(error))

    def test_error_at_load_is_cut_to_the_scripts_lines(self) -> None:
        path = self.write("script.py", "import json\n\ndef f():\n    json.loads('{')\n\nf()\n")
        chain = self.chain(scripts=[str(path)])
        error = self.assertRaises(ScriptError, chain.load_scripts)
        lines = str(error).splitlines()
        self.assertEqual(lines[0], f"script {path} cannot be loaded")
        self.assertEqual(lines[1], "Traceback (most recent call last):")
        self.assertEqual(
            [line for line in lines if line.startswith("  File")],
            [f'  File "{path}", line 6, in <module>', f'  File "{path}", line 4, in f'],
        )
        self.assertIn("JSONDecodeError", lines[-1])

    def test_syntax_error(self) -> None:
        path = self.write("script.py", "def request(flow:\n")
        error = self.assertRaises(ScriptError, self.chain(scripts=[str(path)]).load_scripts)
        self.assertIn(f'File "{path}", line 1', str(error))

    def test_script_that_exits(self) -> None:
        path = self.write("script.py", "raise SystemExit('usage: …')\n")
        error = self.assertRaises(ScriptError, self.chain(scripts=[str(path)]).load_scripts)
        self.assertIn("usage: …", str(error))

    def test_refused_script_leaves_no_module(self) -> None:
        before = set(sys.modules)
        path = self.write("script.py", "def configure(options, updated):\n    1 / 0\n")
        self.assertRaises(ScriptError, self.chain(scripts=[str(path)]).load_scripts)
        self.assertEqual([n for n in set(sys.modules) - before if "script_" in n], [])

    def test_scripts_of_one_file_name_do_not_meet(self) -> None:
        paths = [
            self.write(f"{where}/same.py", f"def request(flow):\n    flow.append({where!r})\n")
            for where in "ab"
        ]
        chain = self.chain(scripts=[str(path) for path in paths])
        chain.load_scripts()
        self.assertEqual(self.fire(chain), ["a", "b"])
        self.assertEqual(chain.names(), ["same", "same-2"])

    def test_same_script_twice_with_other_arguments(self) -> None:
        text = "from interceptor import ctx\ndef request(flow):\n    flow.append(ctx.args[1])\n"
        path = self.write("script.py", text)
        chain = self.chain(scripts=[f"{path} one", f"{path} two"])
        chain.load_scripts()
        self.assertEqual(self.fire(chain), ["one", "two"])

    def test_dataclasses_and_annotations(self) -> None:
        self.loaded(
            "from __future__ import annotations\n"
            "from dataclasses import dataclass\n"
            "from typing import ClassVar, get_type_hints\n"
            "@dataclass(slots=True)\n"
            "class Rule:\n    kind: ClassVar[str] = 'x'\n    limit: int = 1\n"
            "assert get_type_hints(Rule)['limit'] is int\n"
        )

    def test_stale_bytecode_is_never_used(self) -> None:
        path = self.write("script.py", "def request(flow):\n    flow.append(1)\n")
        status = path.stat()
        chain = self.chain(scripts=[str(path)])
        chain.load_scripts()
        path.write_text("def request(flow):\n    flow.append(2)\n", encoding="utf-8")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        chain.reload("script")
        self.assertEqual(self.fire(chain), [2])

    def test_error_policy_of_a_script(self) -> None:
        chain = self.loaded("error_policy = 'kill'\ndef request(flow):\n    pass\n")
        assert chain.bus.request is not None
        self.assertTrue(chain.bus.request.fail_closed)

    def test_faults_are_reported_with_their_lines(self) -> None:
        path = self.directory / "script.py"
        self.loaded(
            "import functools\n\ndef responseheader(flow):\n    pass\n\n"
            "@functools.lru_cache\ndef request(one, two):\n    pass\n"
        )
        self.assertIn(
            f"addon `script`: {path}:3: `responseheader`: did you mean `responseheaders`?",
            self.messages.texts,
        )
        self.assertTrue(
            any(f"{path}:6: `request(one, two)`" in text for text in self.messages.texts),
            self.messages.texts,
        )

    def test_imported_helpers_are_not_near_misses(self) -> None:
        self.loaded("from urllib.request import urlopen as requests\n")
        self.assertEqual(self.messages.texts, [])

    def test_start_boots_into_an_object(self) -> None:
        chain = self.loaded(
            "class Adder:\n"
            "    def __init__(self, n):\n        self.n = n\n"
            "    def request(self, flow):\n        flow.append(self.n)\n"
            "def start():\n    return Adder(3)\n"
            "def request(flow):\n    flow.append('never')\n"
        )
        self.assertEqual(self.fire(chain), [3])
        self.assertEqual(chain.names(), ["script"])

    def test_list_of_addons(self) -> None:
        chain = self.loaded(
            "class Adder:\n    def request(self, flow):\n        flow.append(1)\n"
            "addons = [Adder(), Adder()]\n"
        )
        self.assertEqual(self.fire(chain), [1, 1])
        self.assertEqual(chain.names(), ["script", "adder", "adder-2"])


class BesideTests(ScriptTestCase):
    IMPORTING = "import beside_it\ndef request(flow):\n    flow.append(beside_it.VALUE)\n"

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(sys.modules.pop, "beside_it", None)

    def test_modules_beside_the_script_can_be_imported(self) -> None:
        self.write("beside_it.py", "VALUE = 3\n")
        before = list(sys.path)
        chain = self.loaded(self.IMPORTING)
        self.assertEqual(self.fire(chain), [3])
        self.assertEqual(sys.path, before)

    def test_scripts_of_one_directory_share_them(self) -> None:
        self.write("beside_it.py", "VALUE = []\n")
        paths = [str(self.write(f"{name}.py", self.IMPORTING)) for name in "ab"]
        chain = self.chain(scripts=paths)
        chain.load_scripts()
        first, second = self.fire(chain)
        self.assertIs(first, second)

    def test_scripts_of_two_directories_do_not(self) -> None:
        paths = []
        for where in "ab":
            self.write(f"{where}/beside_it.py", f"VALUE = {where!r}\n")
            paths.append(str(self.write(f"{where}/script.py", self.IMPORTING)))
        chain = self.chain(scripts=paths)
        chain.load_scripts()
        self.assertEqual(self.fire(chain), ["a", "b"])
        chain.reload("script")
        self.assertEqual(self.fire(chain), ["a", "b"])

    def test_module_that_changed_is_imported_again(self) -> None:
        self.write("beside_it.py", "VALUE = 1\n")
        chain = self.loaded(self.IMPORTING)
        self.successResultOf(chain.running())
        self.clock.advance(1)
        self.assertEqual(self.messages.texts, [])
        self.write("beside_it.py", "VALUE = 2\n")
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [2])

    def test_module_that_is_broken_for_a_while(self) -> None:
        self.write("beside_it.py", "VALUE = 1\n")
        chain = self.loaded(self.IMPORTING)
        self.successResultOf(chain.running())
        self.write("beside_it.py", "1 / 0\n")
        for _ in range(3):
            self.clock.advance(1)
        self.assertEqual(self.fire(chain), [1])
        self.assertEqual(len(self.messages.texts), 1)
        self.write("beside_it.py", "VALUE = 2\n")
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [2])

    def test_modules_that_were_there_already_are_left_alone(self) -> None:
        import json

        self.write("json.py", "VALUE = 1\n")
        chain = self.loaded("import json\ndef request(flow):\n    flow.append(json)\n")
        self.assertEqual(self.fire(chain), [json])
        self.assertIs(sys.modules["json"], json)


class ArgumentTests(ScriptTestCase):
    def test_arguments_while_loading_and_always(self) -> None:
        before = sys.argv
        chain = self.loaded(
            "import sys\nfrom interceptor import ctx\n"
            "seen = [list(sys.argv)]\n"
            "def start():\n    seen.append(list(sys.argv))\n"
            "def load(loader):\n    seen.append(list(sys.argv))\n"
            "def configure(options, updated):\n    seen.append(list(sys.argv))\n"
            "def done():\n    seen.append(list(sys.argv))\n"
            "def request(flow):\n"
            "    flow.append(ctx.args)\n    flow.append(list(sys.argv))\n    flow.append(seen)\n",
            "one 'two three'",
        )
        args, argv, seen = self.fire(chain)
        expected = [str(self.directory / "script.py"), "one", "two three"]
        self.assertEqual(args, expected)
        self.assertEqual(argv, before)
        self.shut_down(chain)
        self.assertEqual(seen, [expected] * 5)
        self.assertIs(sys.argv, before)


class ContextTests(ScriptTestCase):
    def test_callback_of_a_deferred_belongs_to_its_proxy(self) -> None:
        path = self.write(
            "script.py",
            "from interceptor import ctx\n"
            "def request(flow):\n"
            "    waiting, seen = flow\n"
            "    waiting.addCallback(lambda _: seen.append(ctx.options))\n",
        )
        shared: Deferred[None] = Deferred()
        seen: list[Any] = []
        chains = [self.chain(scripts=[str(path)]) for _ in range(2)]
        for chain in chains:
            chain.load_scripts()
            assert chain.bus.request is not None
            chain.bus.request((shared, seen))
        shared.callback(None)
        self.assertEqual(seen, [chain.options for chain in chains])

    def test_ctx_under_another_name_and_in_a_function(self) -> None:
        chain = self.loaded(
            "from interceptor import ctx as proxy\n"
            "def request(flow):\n"
            "    from interceptor import ctx\n"
            "    flow.append(proxy.options is ctx.options)\n"
            "    flow.append(ctx.args == proxy.args)\n",
            "one",
        )
        self.assertEqual(self.fire(chain), [True, True])

    def test_log_names_the_script(self) -> None:
        chain = self.loaded("from interceptor import ctx\nctx.log('loading')\n", name="mine.py")
        self.assertEqual(self.messages.events[0]["log_namespace"], "interceptor.script.mine")
        self.assertIs(self.messages.events[0]["proxy"], chain.proxy)
        self.assertEqual(self.messages.events[0]["addon"], "mine")


class OptionScriptsTests(ScriptTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.paths = [
            str(self.write(f"{name}.py", f"def request(flow):\n    flow.append({name!r})\n"))
            for name in "abc"
        ]

    def test_scripts_follow_the_option(self) -> None:
        a, b, c = self.paths
        chain = self.chain(scripts=[a, b])
        chain.load_scripts()
        kept = chain.get("b")
        chain.options.update(scripts=[c, b])
        self.assertEqual(self.fire(chain), ["c", "b"])
        self.assertIs(chain.get("b"), kept)
        chain.options.update(scripts=[])
        self.assertIsNone(chain.bus.request)

    def test_place_among_other_addons_is_kept(self) -> None:
        class Addon:
            def __init__(self, label: str) -> None:
                self.label = label

            def request(self, flow: list[str]) -> None:
                flow.append(self.label)

        a, b, c = self.paths
        chain = self.chain(scripts=[a])
        chain.add(Addon("first"))
        chain.load_scripts()
        chain.add(Addon("last"))
        chain.options.update(scripts=[b, a, c])
        self.assertEqual(self.fire(chain), ["first", "b", "a", "c", "last"])
        chain.remove("addon")
        chain.options.update(scripts=[c])
        self.assertEqual(self.fire(chain), ["c", "last"])

    def test_script_that_cannot_be_loaded_refuses_the_change(self) -> None:
        a, b, _ = self.paths
        broken = str(self.write("broken.py", "1 / 0\n"))
        chain = self.chain(scripts=[a])
        chain.load_scripts()
        kept = chain.get("a")
        error = self.assertRaises(OptionsError, chain.options.update, scripts=[b, broken])
        self.assertIn("ZeroDivisionError", str(error))
        self.assertEqual(self.fire(chain), ["a"])
        self.assertIs(chain.get("a"), kept)
        self.assertEqual(chain.options.scripts, (a,))

    def test_new_scripts_get_running(self) -> None:
        path = str(self.write("r.py", "def running():\n    ran.append(1)\nran = []\n"))
        chain = self.chain()
        chain.load_scripts()
        self.successResultOf(chain.running())
        chain.options.update(scripts=[path])
        self.assertEqual(chain.get("r").ran, [1])


class ReloadTests(ScriptTestCase):
    def running(self, text: str) -> AddonChain:
        chain = self.loaded(text)
        self.successResultOf(chain.running())
        return chain

    def test_changed_script_is_replaced(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        self.write("script.py", RECORDING.format(label="new"))
        self.assertEqual(self.fire(chain), [("old", "hello")])
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", "hello")])
        self.assertIn("old is done", self.messages.texts)
        self.assertNotIn("new is done", self.messages.texts)

    def test_place_in_the_chain_is_kept(self) -> None:
        chain = self.running(RECORDING.format(label="old"))

        class Last:
            def request(self, flow: list[str]) -> None:
                flow.append("last")

        chain.add(Last())
        self.write("script.py", RECORDING.format(label="new"))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", "hello"), "last"])

    def test_value_of_an_option_is_kept(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        chain.options.update(greeting="hi")
        self.write("script.py", RECORDING.format(label="new"))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", "hi")])

    def test_option_may_be_declared_otherwise(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        text = RECORDING.format(label="new").replace('str, "hello"', "int, 3")
        self.write("script.py", text)
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", 3)])

    def test_option_that_is_declared_no_more_is_gone(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        self.write("script.py", "def request(flow):\n    flow.append(1)\n")
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [1])
        self.assertNotIn("greeting", chain.options)

    def test_failed_reload_keeps_the_old_version(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        for text in (
            "def request(flow:\n",
            RECORDING.format(label="new") + "1 / 0\n",
            RECORDING.format(label="new") + "def start():\n    1 / 0\n",
            RECORDING.format(label="new") + "def configure(options, updated):\n    1 / 0\n",
        ):
            self.messages.events.clear()
            self.write("script.py", text)
            self.clock.advance(1)
            self.assertEqual(self.fire(chain), [("old", "hello")])
            (message,) = self.messages.texts
            self.assertIn("but the old version goes on", message)
            self.assertNotIn("goes on: script", message)
            self.clock.advance(1)
            self.assertEqual(len(self.messages.texts), 1, "told once for each change")

    def test_recovery_after_a_failed_reload(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        self.write("script.py", "1 / 0\n")
        self.clock.advance(1)
        self.write("script.py", RECORDING.format(label="new"))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", "hello")])

    def test_file_that_is_gone_for_a_while(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        (self.directory / "script.py").unlink()
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("old", "hello")])
        self.write("script.py", RECORDING.format(label="new"))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("new", "hello")])

    def test_event_in_flight_goes_on_with_the_old_version(self) -> None:
        text = (
            "async def request(flow):\n"
            "    await flow[0]\n    flow.append({0})\n"
            "def response(flow):\n    flow.append({0})\n"
        )
        chain = self.running(text.format(1))
        waiting: Deferred[None] = Deferred()
        flow: list[Any] = [waiting]
        assert chain.bus.request is not None
        ended: Any = chain.bus.request(flow)
        self.write("script.py", text.format(2))
        self.clock.advance(1)
        waiting.callback(None)
        self.successResultOf(ended)
        assert chain.bus.response is not None
        chain.bus.response(flow)
        self.assertEqual(flow[1:], [1, 2])

    def test_reloading_can_be_switched_off(self) -> None:
        chain = self.running(RECORDING.format(label="old"))
        chain.options.update(script_reload=False)
        self.write("script.py", RECORDING.format(label="new"))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [("old", "hello")])

    def test_new_version_gets_running(self) -> None:
        chain = self.running("ran = []\ndef running():\n    ran.append(1)\n")
        self.write("script.py", "ran = []\ndef running():\n    ran.append(2)\n")
        self.clock.advance(1)
        self.assertEqual(chain.get("script").ran, [2])

    def test_what_is_no_script_cannot_be_reloaded(self) -> None:
        self.assertRaises(ValueError, self.chain().reload, "nobody")

    def test_new_version_replaces_a_booted_object(self) -> None:
        text = (
            "class Adder:\n    def request(self, flow):\n        flow.append({0})\n"
            "def start():\n    return Adder()\n"
        )
        chain = self.running(text.format(1))
        self.write("script.py", text.format(2))
        self.clock.advance(1)
        self.assertEqual(self.fire(chain), [2])
        self.assertEqual(chain.names(), ["script"])

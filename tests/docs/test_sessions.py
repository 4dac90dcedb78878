"""The commands, configuration files and variables that the manual shows are understood."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec

import click
from twisted.trial.unittest import SynchronousTestCase

from interceptor import flowfilter
from interceptor.cli import commands
from interceptor.config import gather_options, read_config
from interceptor.net.prefixes import listening_modes
from interceptor.tap import Options as TapOptions
from tests.docs.manual import CHECKOUT, DOCS

PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.rst"))}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield page and text of each code block in a language."""
    pattern = re.compile(rf"^\.\. code-block:: {language}\n\n((?: .*\n|\n)+)", re.MULTILINE)
    for name, text in PAGES.items():
        for match in pattern.finditer(text):
            yield name, textwrap.dedent(match[1])


def command_lines() -> Iterator[list[str]]:
    """Yield the words of each line with a prompt; those of ``make run`` as what it starts."""
    for _, text in blocks("console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:])
                while re.match(r"[A-Z_]+=", words[0]):
                    # A variable for this command alone; options' names are checked elsewhere.
                    words.pop(0)
                if words[:2] == ["make", "run"]:
                    arguments = words[2].removeprefix("ARGS=") if len(words) > 2 else ""
                    words = ["interceptor", "run", *shlex.split(arguments)]
                yield words


class SessionTests(SynchronousTestCase):
    def setUp(self):
        self.config = self.mktemp()
        with open(self.config, "w", encoding="utf-8"):
            pass

    def check(self, **values):
        """Gather options from what a command line or a file gave, as the proxy would."""
        options = gather_options(config=self.config, **values)
        listening_modes(options.mode)
        if options.view_filter:
            flowfilter.parse(options.view_filter)
        return options

    def check_run(self, words):
        command: click.Command | None = commands
        rest = words[1:]
        while isinstance(command, click.Group):
            command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
        assert command is not None, words
        given = command.make_context(words[1], list(rest)).params
        if words[1] != "run":
            return
        flags = {"mode": given["mode"], "scripts": given["script"]}
        if given["filter"]:
            flags["view_filter"] = " ".join(given["filter"])
        self.check(
            flags={name: value for name, value in flags.items() if value},
            assignments=given["assignments"],
        )

    def check_twisted(self, words):
        self.patch(TapOptions, "postOptions", lambda options: None)
        TapOptions().parseOptions(words[words.index("interceptor") + 1 :])

    def test_command_lines(self):
        seen = set()
        for words in command_lines():
            program = words[0]
            seen.add(program)
            if program == "interceptor":
                self.check_run(words)
            elif program in ("twistd", "twist"):
                self.check_twisted(words)
            elif program == "systemd-socket-activate":
                self.check_run(words[words.index("interceptor") :])
            elif program == "make":
                self.assertIn(f"\n{words[1]}:", (CHECKOUT / "Makefile").read_text())
            elif program == ".venv/bin/python":
                self.assertIsNotNone(find_spec(words[words.index("-m") + 1]), words)
            else:
                self.assertIn(program, ("curl", "mv", "openssl", "psql", "redis-cli", "trial"))
        self.assertTrue(seen >= {"interceptor", "twistd", "curl", "make"})

    def test_literal_command_lines(self):
        lines = re.findall(r"^    (interceptor run .*)$", "".join(PAGES.values()), re.MULTILINE)
        self.assertTrue(lines)
        for line in lines:
            if "MODE" not in line:
                self.check_run(shlex.split(line))

    def test_configuration_files(self):
        found = list(blocks("toml"))
        self.assertTrue(found)
        for _, text in found:
            with open(self.config, "w", encoding="utf-8") as file:
                file.write(text)
            self.check()
            self.assertTrue(read_config(self.config))

    def test_environment_variables(self):
        pairs = re.findall(r"^    (INTERCEPTOR_\w+)=(.*)$", PAGES["service.rst"], re.MULTILINE)
        self.assertTrue(pairs)
        self.check(environ={name: shlex.split(value)[0] for name, value in pairs})

    def test_python_blocks_compile(self):
        for name, text in blocks("python"):
            compile(text, name, "exec")

    def test_options_that_are_named_exist(self):
        options = gather_options(config=self.config)
        known = {option.name for option in options.options()}
        words = set(
            re.findall(r"``(?:--set )?([a-z]+(?:_[a-z]+)+)(?:=[^`]*)?``", "".join(PAGES.values()))
        )
        like_options = {
            word
            for word in words
            if re.search(r"_(limit|timeout|threads|grace|stall|policy|reload|size|bodies)$", word)
        }
        self.assertEqual(sorted(like_options - known - {"error_policy", "body_size"}), [])

    def test_every_option_of_tls_is_explained_with_an_example(self):
        text = "".join(
            PAGES[f"{name}.rst"] for name in ("tls", "starttls", "verification", "pinning")
        )
        options = gather_options(config=self.config)
        names = [option.name for option in options.options() if option.group == "TLS"]
        self.assertIn("ssl_insecure", names)
        self.assertEqual([name for name in names if f"``{name}" not in text], [])
        # In a configuration file, on a command line, or as a variable.
        example = r"(?m)^ +(?:\$ .*)?\b{}\b ?=|``INTERCEPTOR_{}``"
        without = [n for n in names if not re.search(example.format(n, n.upper()), text)]
        self.assertEqual(without, [])

    def test_tests_that_are_named_exist(self):
        named = re.findall(r"``(tests/[\w/]+\.py)``", "".join(PAGES.values()))
        self.assertTrue(named)
        for path in named:
            self.assertTrue((CHECKOUT / path).exists(), path)

    def test_modules_that_are_named_exist(self):
        for match in re.finditer(
            r"``(?:interceptor\.)?((?:layers|net|wire|hooks)\.\w+)", PAGES["architecture.rst"]
        ):
            path = CHECKOUT / "interceptor" / match[1].replace(".", "/")
            self.assertTrue(path.is_dir() or path.with_suffix(".py").exists(), match[1])

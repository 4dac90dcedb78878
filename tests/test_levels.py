"""The package's layering: who may import whom, and what every module has to have.

The rules are checked on the syntax trees, so that imports inside functions and those that only a
type checker follows lead downwards too. Only a cycle may close through an import for types: it does
not run, and an interface may name what works with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import interceptor

ROOT = Path(interceptor.__file__).parent

LEVELS: Mapping[str, int] = {
    "errors": 0,
    "model": 1,
    "names": 2,
    "trusthelp": 1,
    "wire": 2,
    "interfaces": 3,
    "threads": 3,
    "filters": 4,
    "hooks": 4,
    "net": 4,
    "ctx": 5,
    "dns": 5,
    "exceptions": 5,
    "flowfilter": 5,
    "http": 5,
    "layers": 5,
    "memoryorigin": 5,
    "script": 5,
    "tcp": 5,
    "udp": 5,
    "websocket": 5,
    "addons": 6,
    "commandgroup": 7,
    "config": 7,
    "console": 7,
    "garbage": 7,
    "reloading": 7,
    "launch": 7,
    "redis": 7,
    "smtp": 7,
    "service": 7,
    "stdout": 7,
    "testing": 7,
    "__main__": 10,
    "cacommands": 8,
    "cli": 9,
    "rulescommand": 8,
    "tap": 9,
    "workers": 8,
}
"""The level of each module or package directly below ``interceptor``."""

UNLISTED = 99
"""The level of a part that nobody gave one: nothing may import it."""

PURE = frozenset({"errors", "model", "trusthelp", "wire"})
"""What knows nothing of Twisted."""

LONGEST = 600
"""Lines that a module may have."""


@dataclass(frozen=True, slots=True)
class Import:
    """One module of ours importing another module, ours or not."""

    importer: str
    imported: str
    line: int
    for_types: bool = False

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


class Sources:
    """The parsed modules of one package, by dotted name; ``root`` is the package's directory."""

    def __init__(self, root: Path) -> None:
        self.package = root.name
        self.texts: dict[str, str] = {}
        self.trees: dict[str, ast.Module] = {}
        for path in sorted(root.rglob("*.py")):
            parts = [root.name, *path.relative_to(root).with_suffix("").parts]
            if parts[-1] == "__init__":
                del parts[-1]
            name = ".".join(parts)
            self.texts[name] = path.read_text(encoding="utf-8")
            self.trees[name] = ast.parse(self.texts[name], str(path))

    def imports(self, name: str) -> Iterator[Import]:
        """Give every import in a module, wherever in it the statement stands."""
        for_types = {
            id(inner)
            for node in ast.walk(self.trees[name])
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(name, alias.name, node.lineno, id(node) in for_types)
            elif isinstance(node, ast.ImportFrom):
                source = "." * node.level + (node.module or "")
                for alias in node.names:
                    # What is imported from a package may be a module of its own.
                    inner = f"{source}.{alias.name}"
                    imported = inner if inner in self.trees else source
                    yield Import(name, imported, node.lineno, id(node) in for_types)

    def place(self, name: str) -> str:
        """Tell which module or package directly below the root a module belongs to."""
        return name.partition(".")[2].partition(".")[0]

    def is_ours(self, name: str) -> bool:
        """Tell whether a dotted name lies in this package."""
        return name == self.package or name.startswith(self.package + ".")

    def breaches(self) -> list[Import]:
        """Give the imports that lead neither downwards nor to a sibling in the same package."""
        found = []
        for name in self.trees:
            here = self.place(name)
            for each in self.imports(name):
                there = self.place(each.imported)
                if not self.is_ours(each.imported) or (there == here and here):
                    continue
                # The root holds no more than the version: it imports nothing, anyone may import it.
                if not here or (
                    there and LEVELS.get(there, UNLISTED) >= LEVELS.get(here, UNLISTED)
                ):
                    found.append(each)
        return found

    def cycle(self) -> list[str]:
        """Give one cycle of imports as a path that ends where it began, or an empty list."""
        graph = {
            name: [
                each.imported
                for each in self.imports(name)
                if each.imported in self.trees and not each.for_types
            ]
            for name in self.trees
        }
        finished: set[str] = set()
        path: list[str] = []

        def visit(name: str) -> list[str]:
            if name in path:
                return [*path[path.index(name) :], name]
            if name not in finished:
                path.append(name)
                for target in graph[name]:
                    if target != name and (found := visit(target)):
                        return found
                path.pop()
                finished.add(name)
            return []

        for name in graph:
            if found := visit(name):
                return found
        return []


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Give the statements that run when a module is imported."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.stmt):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def imports_reactor(statement: ast.stmt) -> bool:
    """Tell whether a statement imports the global reactor."""
    if isinstance(statement, ast.Import):
        return any(alias.name == "twisted.internet.reactor" for alias in statement.names)
    return (
        isinstance(statement, ast.ImportFrom)
        and statement.module == "twisted.internet"
        and any(alias.name == "reactor" for alias in statement.names)
    )


class PackageTests(SynchronousTestCase):
    """What holds for every module of interceptor."""

    sources = Sources(ROOT)

    def test_every_part_has_a_level(self):
        places = {self.sources.place(name) for name in self.sources.trees} - {""}
        self.assertEqual(sorted(places - set(LEVELS)), [])

    def test_imports_lead_downwards(self):
        self.assertEqual([str(each) for each in self.sources.breaches()], [])

    def test_imports_are_absolute(self):
        relative = [
            str(each)
            for name in self.sources.trees
            for each in self.sources.imports(name)
            if each.imported.startswith(".")
        ]
        self.assertEqual(relative, [])

    def test_imports_have_no_cycle(self):
        self.assertEqual(self.sources.cycle(), [])

    def test_lower_levels_know_no_twisted(self):
        twisted = [
            str(each)
            for name in self.sources.trees
            if self.sources.place(name) in PURE
            for each in self.sources.imports(name)
            if each.imported.partition(".")[0] in {"twisted", "zope", "OpenSSL"}
        ]
        self.assertEqual(twisted, [])

    def test_nothing_imports_the_reactor_when_imported(self):
        guilty = [
            name
            for name, tree in self.sources.trees.items()
            if any(imports_reactor(statement) for statement in top_level(tree))
        ]
        self.assertEqual(guilty, [])

    def test_every_module_has_a_docstring(self):
        bare = [name for name, tree in self.sources.trees.items() if not ast.get_docstring(tree)]
        self.assertEqual(bare, [])

    def test_every_module_postpones_annotations(self):
        def postpones(tree: ast.Module) -> bool:
            return any(
                isinstance(node, ast.ImportFrom)
                and node.module == "__future__"
                and any(alias.name == "annotations" for alias in node.names)
                for node in tree.body
            )

        eager = [
            name
            for name, tree in self.sources.trees.items()
            if len(tree.body) > 1 and not postpones(tree)
        ]
        self.assertEqual(eager, [])

    def test_no_module_is_too_long(self):
        lengths = {name: text.count("\n") for name, text in self.sources.texts.items()}
        self.assertEqual({name: n for name, n in lengths.items() if n > LONGEST}, {})

    def test_the_plugin_imports_nothing_of_ours(self):
        plugin = ROOT.parent / "twisted" / "plugins" / "interceptor_plugin.py"
        tree = ast.parse(plugin.read_text(encoding="utf-8"))
        modules = [
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        ]
        self.assertEqual([name for name in modules if name.startswith("interceptor")], [])


class TestTreeTests(SynchronousTestCase):
    """What holds for the tests themselves."""

    def test_every_directory_of_tests_is_a_package(self):
        tests = Path(__file__).parent
        directories = {path.parent for path in tests.rglob("test_*.py")}
        # trial passes over a directory that is not a package.
        missed = [str(path) for path in directories if not (path / "__init__.py").exists()]
        self.assertEqual(missed, [])


class SourcesTests(SynchronousTestCase):
    """The checker itself, on packages made up for it."""

    def sources(self, **modules: str) -> Sources:
        """Make a package of the given modules; ``__`` in a name stands for the dot."""
        root = Path(self.mktemp()) / "interceptor"
        root.mkdir(parents=True)
        (root / "__init__.py").write_text("")
        for name, text in modules.items():
            path = root.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return Sources(root)

    def breaches(self, **modules: str) -> list[str]:
        return [str(each) for each in self.sources(**modules).breaches()]

    def test_an_import_downwards_is_allowed(self):
        found = self.breaches(service="from interceptor.model import http", model__http="")
        self.assertEqual(found, [])

    def test_an_import_upwards_is_a_breach(self):
        found = self.breaches(model__http="import interceptor.service", service="")
        self.assertEqual(found, ["interceptor.model.http:1 imports interceptor.service"])

    def test_equal_levels_do_not_know_each_other(self):
        found = self.breaches(hooks__bus="from interceptor.net import gate", net__gate="")
        self.assertEqual(found, ["interceptor.hooks.bus:1 imports interceptor.net.gate"])

    def test_siblings_know_each_other(self):
        found = self.breaches(net__sides="from interceptor.net.gate import Gate", net__gate="")
        self.assertEqual(found, [])

    def test_a_name_taken_from_the_root_is_the_module_meant(self):
        found = self.breaches(hooks__bus="from interceptor import __version__, ctx", ctx="")
        self.assertEqual(found, ["interceptor.hooks.bus:1 imports interceptor.ctx"])

    def test_imports_in_functions_and_for_types_count(self):
        text = "def f():\n import interceptor.cli\nif TYPE_CHECKING:\n import interceptor.tap"
        found = self.breaches(wire__http1=text, cli="", tap="")
        self.assertEqual(
            sorted(found),
            [
                "interceptor.wire.http1:2 imports interceptor.cli",
                "interceptor.wire.http1:4 imports interceptor.tap",
            ],
        )

    def test_the_root_imports_nothing(self):
        sources = self.sources(errors="")
        sources.trees["interceptor"] = ast.parse("from interceptor.errors import OptionsError")
        self.assertEqual(
            [str(each) for each in sources.breaches()],
            ["interceptor:1 imports interceptor.errors"],
        )

    def test_a_cycle_is_found(self):
        sources = self.sources(
            net__a="import interceptor.net.b",
            net__b="import interceptor.net.c",
            net__c="from interceptor.net import b",
        )
        self.assertEqual(
            sources.cycle(), ["interceptor.net.b", "interceptor.net.c", "interceptor.net.b"]
        )

    def test_an_import_for_types_closes_no_cycle(self):
        text = "if TYPE_CHECKING:\n from interceptor.net import b"
        sources = self.sources(net__a=text, net__b="import interceptor.net.a")
        self.assertEqual(sources.cycle(), [])

    def test_a_diamond_is_no_cycle(self):
        sources = self.sources(
            net__a="import interceptor.net.b, interceptor.net.c",
            net__b="import interceptor.net.d",
            net__c="import interceptor.net.d",
            net__d="",
        )
        self.assertEqual(sources.cycle(), [])

    def test_the_reactor_is_seen_in_a_class_but_not_in_a_function(self):
        line = "from twisted.internet import reactor"
        inside = ast.parse(f"def f():\n {line}")
        outside = ast.parse(f"class C:\n {line}")
        self.assertFalse(any(map(imports_reactor, top_level(inside))))
        self.assertTrue(any(map(imports_reactor, top_level(outside))))

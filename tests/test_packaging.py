"""Every kind of installation gives a working command and working twistd plugins.

The environments installed into are new and empty but for one path entry that lends them the
dependencies of the one that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import interceptor
from tests.functional.harness import CHECKOUT, Completed, FunctionalTestCase

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
DEPENDENCIES = 12


class MetadataTests(SynchronousTestCase):
    def test_the_version_is_written_once(self):
        self.assertEqual(metadata.version("interceptor"), interceptor.__version__)

    def test_few_dependencies_and_no_upper_bounds(self):
        requirements = metadata.requires("interceptor") or []
        needed = [line for line in requirements if "extra ==" not in line]
        self.assertLessEqual(len(needed), DEPENDENCIES, needed)
        versions = [line.partition(";")[0].replace(">=", "") for line in requirements]
        bounded = [line for line in versions if set(line) & set("<=!~")]
        self.assertEqual(bounded, [])


class InstallationTests(FunctionalTestCase):
    """Builds from a copy of the sources, installs, and runs what was installed."""

    timeout = 240

    def setUp(self) -> None:
        super().setUp()
        self.sources = self.directory / "sources"
        self.sources.mkdir()
        for path in CHECKOUT.iterdir():
            if path.name in {
                "interceptor", "twisted", "tests", "scripts", "docs", "bench", ".ci",
            }:  # fmt: skip
                shutil.copytree(
                    path,
                    self.sources / path.name,
                    ignore=shutil.ignore_patterns("__pycache__", "dropin.cache", "_build"),
                )
            elif path.is_file():
                shutil.copy(path, self.sources)
        self.environment = self.directory / "environment"
        self.python = self.environment / "bin" / "python"
        self.elsewhere = self.directory / "elsewhere"
        self.elsewhere.mkdir()

    async def run_python(self, *arguments: str | Path, cwd: Path | None = None) -> Completed:
        """Run the tests' own interpreter, out of reach of the checkout."""
        return await self.check_program(
            sys.executable, *arguments, cwd=cwd or self.elsewhere, PYTHONPATH="", timeout=120
        )

    async def install(self, *what: str | Path) -> None:
        """Install into a new environment that borrows the dependencies."""
        await self.run_python("-m", "venv", "--without-pip", self.environment)
        base = {"base": str(self.environment), "platbase": str(self.environment)}
        own = Path(sysconfig.get_path("purelib", "venv", base))
        borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (own / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))
        pip = ["-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        # Without --ignore-installed pip would be content with a borrowed interceptor.
        options = ["--quiet", "--no-index", "--no-deps", "--ignore-installed"]
        await self.run_python(*pip, "install", *options, "--no-build-isolation", *what)

    async def installed(self, *arguments: str | Path) -> str:
        """Run the new environment's interpreter; give what it printed."""
        completed = await self.check_program(
            self.python, *arguments, cwd=self.elsewhere, PYTHONPATH=""
        )
        return completed.out.decode()

    async def check_installed(self, origin: Path) -> None:
        """Run everything that an installation provides; it has to come from below ``origin``."""
        where = await self.installed("-c", "import interceptor; print(interceptor.__file__)")
        self.assertTrue(Path(where).is_relative_to(origin), where)
        command = await self.check_program(
            self.environment / "bin" / "interceptor",
            "--version",
            cwd=self.elsewhere,
            PYTHONPATH="",
        )
        self.assertIn(interceptor.__version__, command.out.decode())
        twistd = await self.installed("-c", TWISTD, "interceptor", "--help")
        self.assertIn("--mode", twistd)
        twist = await self.installed("-m", "twisted", "interceptor", "--help")
        self.assertIn("--mode", twist)

    async def test_wheel(self):
        await self.run_python(
            "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index",
            "--no-deps", "--no-build-isolation", "--wheel-dir", self.directory, self.sources,
        )  # fmt: skip
        [wheel] = self.directory.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        self.assertIn("interceptor/py.typed", names)
        self.assertIn("interceptor/launch/node-proxy.cjs", names)
        self.assertIn("twisted/plugins/interceptor_plugin.py", names)
        package = self.sources / "interceptor"
        files = {str(path.relative_to(self.sources)) for path in package.rglob("*.*")}
        self.assertEqual(files - set(names), set())
        tops = {name.partition("/")[0] for name in names}
        self.assertEqual(
            tops, {"interceptor", "twisted", f"interceptor-{interceptor.__version__}.dist-info"}
        )
        self.assertEqual(
            [name for name in names if name.startswith("twisted/") and "__init__" in name], []
        )
        await self.install(wheel)
        await self.check_installed(self.environment)

    async def test_sdist(self):
        await self.run_python("-c", SDIST, self.directory, cwd=self.sources)
        [sdist] = self.directory.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for name in (
            "LICENSE",
            "Makefile",
            "interceptor/launch/node-proxy.cjs",
            "interceptor/py.typed",
            "tests/test_packaging.py",
            "twisted/plugins/interceptor_plugin.py",
        ):
            self.assertIn(name, names)
        self.assertEqual([name for name in names if name.endswith((".pyc", "dropin.cache"))], [])
        await self.install(sdist)
        await self.check_installed(self.environment)

    async def test_editable(self):
        await self.install("--editable", self.sources)
        await self.check_installed(self.sources)

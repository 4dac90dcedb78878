"""Files that are code or secret, and secrets that must not be shown."""

from __future__ import annotations

import ast
import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

import interceptor
from interceptor.config import gather_options
from interceptor.errors import OptionsError, ScriptError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.scripts import Script
from interceptor.model.coreoptions import core_options
from interceptor.model.ownership import writers
from interceptor.model.secrets import mask_url
from interceptor.testing import EventRecorder, TestClock
from tests.events.cases import EventTestCase

PACKAGE = Path(interceptor.__file__).parent

SCRIPT = "def request(flow):\n    pass\n"


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True, mode=0o755)

    def write(self, name: str, text: str, mode: int) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path


class ScriptFileTests(FileCase):
    """Scripts that others may write."""

    def load(self, path: Path, **options: Any) -> None:
        made = core_options()
        made.update(**options)
        chain = AddonChain(made, reactor=TestClock())
        self.addCleanup(chain.shutdown)
        chain.start()
        chain.add(Script(str(path)))

    def test_scripts_that_everybody_may_write_are_refused(self):
        path = self.write("script.py", SCRIPT, 0o666)
        error = self.assertRaises(ScriptError, self.load, path)
        self.assertEqual(error.code, "script-writable")
        self.assertIn(f"script {path}: everybody may write it (mode 0666)", str(error))
        self.load(path, allow_writable_scripts=True)
        path.chmod(0o644)
        self.load(path)

    def test_scripts_in_a_folder_that_everybody_may_write_are_refused(self):
        path = self.write("script.py", SCRIPT, 0o644)
        self.directory.chmod(0o777)
        error = self.assertRaises(ScriptError, self.load, path)
        self.assertIn("everybody may write the folder of it", str(error))
        self.directory.chmod(0o1777)
        self.load(path)

    def test_a_script_that_is_opened_to_others_is_not_loaded_again(self):
        path = self.write("script.py", SCRIPT, 0o644)
        options = core_options()
        options.update(scripts=[str(path)])
        chain = AddonChain(options, reactor=TestClock())
        self.addCleanup(chain.shutdown)
        chain.start()
        chain.load_scripts()
        path.chmod(0o666)
        self.assertRaises(
            ScriptError,
            Script(str(path)).again().execute,
            SimpleNamespace(options=options, args=[]),
        )


class WritersTests(SynchronousTestCase):
    def status(self, mode: int, uid: int = 0, gid: int = 0) -> Any:
        return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))

    def group(self, name: str, *members: str) -> None:
        owner = SimpleNamespace(pw_name="ann")
        self.patch(pwd, "getpwuid", lambda uid: owner)
        self.patch(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=members))

    def test_modes(self):
        for mode, who in ((0o100600, ""), (0o100755, ""), (0o100602, "everybody")):
            self.assertEqual(writers(self.status(mode, 1000, 1000)), who)
        self.assertEqual(writers(self.status(0o041777)), "")
        self.assertEqual(writers(self.status(0o040777)), "everybody")

    def test_a_group_of_one_s_own(self):
        self.group("ann")
        self.assertEqual(writers(self.status(0o100664, 1000, 1000)), "")
        self.group("ann", "bob")
        self.assertEqual(writers(self.status(0o100664, 1000, 1000)), "its group")
        self.group("staff")
        self.assertEqual(writers(self.status(0o100664, 1000, 50)), "its group")

    def test_owners_that_have_no_name(self):
        def unknown(number: int) -> Any:
            raise KeyError(number)

        self.patch(pwd, "getpwuid", unknown)
        self.assertEqual(writers(self.status(0o100664, 54321, 54321)), "its group")
        self.assertEqual(writers(self.status(0o100664, 54321, 0)), "")


class ConfigurationFileTests(FileCase):
    """The configuration file says what code is run, and may hold secrets."""

    def gather(self, text: str, mode: int) -> Any:
        path = self.write("config.toml", text, mode)
        return gather_options(config=str(path), environ={})

    def test_a_file_that_everybody_may_write_is_refused(self):
        error = self.assertRaises(OptionsError, self.gather, "flow_detail = 2", 0o666)
        self.assertIn("may be written by everybody (mode 0666)", str(error))
        self.assertEqual(self.gather("flow_detail = 2", 0o644).flow_detail, 2)

    def test_a_file_with_secrets_that_everybody_may_read_is_refused(self):
        for text in ('proxyauth = "ann:pw"', 'ca_passphrase = "pw"', 'upstream_auth = ["a:pw"]'):
            error = self.assertRaises(OptionsError, self.gather, text, 0o644)
            self.assertIn("may be read by everybody (mode 0644)", str(error))
            self.assertNotIn("pw", str(error))
            for mode in (0o600, 0o640):
                self.gather(text, mode)

    @skipUnless(os.path.exists("/dev/null"), "needs a device")
    def test_what_is_no_file_has_no_mode_that_counts(self):
        gather_options(config="/dev/null", environ={})


class URLTests(SynchronousTestCase):
    def test_masked(self):
        for url, shown in (
            ("http://ann:pw@a/", "http://ann:…@a/"),
            ("http://a/?password=pw&x=1", "http://a/?password=…&x=1"),
            ("http://a/?x=1&access_token=pw", "http://a/?x=1&access_token=…"),
            ("http://a/?API-Key=pw;sig=pw", "http://a/?API-Key=…;sig=…"),
            ("http://a/cb#id_token=pw&state=1", "http://a/cb#id_token=…&state=1"),
            ("/login?pwd=pw", "/login?pwd=…"),
        ):
            self.assertEqual(mask_url(url), shown)

    def test_left_alone(self):
        for url in (
            "http://a/",
            "http://a/password=1",
            "http://a/?x=token",
            "http://a/@b:c",
            "http://a/?token=",
            "a.test:443",
        ):
            self.assertEqual(mask_url(url), url)


class LogTests(EventTestCase):
    """What the log has of a flow that fails."""

    def test_no_secrets_in_the_log(self):
        messages = self.messages()
        proxy = self.proxy(EventRecorder("request", "error"))
        client = proxy.client()
        client.send(
            b"GET http://nowhere.test/?token=hush HTTP/1.1\r\nHost: nowhere.test\r\n"
            b"Authorization: Bearer hush\r\nProxy-Authorization: Basic hush\r\n"
            b"Cookie: sid=hush\r\n\r\n"
        )
        self.assertIn(b"connect-refused", client.received)
        self.assertTrue(any("?token=…" in text for text in messages.texts), messages.texts)
        self.assertFalse(any("hush" in text for text in messages.texts))

    def test_nor_of_what_was_not_understood(self):
        messages = self.messages()
        proxy = self.proxy(EventRecorder("error"))
        for sent, code in (
            (b"GET http://ann:hush@nowhere.test/ HTTP/1.1\r\nHost: a\r\n\r\n", b"target-invalid"),
            (b"CONNECT ann:hush@nowhere.test:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"target-invalid"),
            (b"GET http://a/?token=hush HTTP/9.9\r\nHost: a\r\n\r\n", b"version-unsupported"),
            (b"GET http://a/ ?token=hush x HTTP/1.1\r\nHost: a\r\n\r\n", b"head-malformed"),
            (b"Authorization: Bearer hush\r\n\r\n", b"head-malformed"),
            (
                b"GET http://a/ HTTP/1.1\r\nHost: a\r\nAuthorization Bearer hush\r\n\r\n",
                b"head-malformed",
            ),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nCookie sid=hush\r\n\r\n", b"head-malformed"),
        ):
            client = proxy.client()
            client.send(sent)
            self.assertIn(b": " + code, client.received)
            self.assertNotIn(b"hush", client.received)
        self.assertTrue(any("target-invalid" in text for text in messages.texts), messages.texts)
        self.assertFalse([text for text in messages.texts if "hush" in text])


class SourceTests(SynchronousTestCase):
    """What the source must not do."""

    def calls(self) -> Any:
        """Yield the file and the dotted name of each call, and the call itself."""
        for path in sorted(PACKAGE.rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    yield path.relative_to(PACKAGE).as_posix(), ast.unparse(node.func), node

    def test_no_code_is_made_of_data(self):
        found = {
            (path, name) for path, name, _ in self.calls() if name in ("eval", "exec", "__import__")
        }
        self.assertEqual(found, {("hooks/scripts.py", "exec")})

    def test_nothing_is_unpickled(self):
        for path in sorted(PACKAGE.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for name in names:
                    first = name.partition(".")[0]
                    self.assertNotIn(first, ("pickle", "marshal", "shelve", "dill"), str(path))

    def test_temporary_files_are_safe(self):
        safe = {"tempfile.TemporaryFile", "tempfile.mkdtemp"}
        used = {name for _, name, _ in self.calls() if name.startswith(("tempfile.", "mktemp"))}
        self.assertEqual(used - safe, set())
        for path in PACKAGE.rglob("*.py"):
            self.assertNotIn("from tempfile import", path.read_text(encoding="utf-8"))

    def test_no_shell(self):
        for path, name, call in self.calls():
            self.assertNotIn(name, ("os.system", "os.popen"), path)
            self.assertNotIn("shell", [keyword.arg for keyword in call.keywords], path)

"""The command ``interceptor transparent-rules``."""

from __future__ import annotations

import contextlib
import io
import pwd

from twisted.trial.unittest import SynchronousTestCase

from interceptor import cli


class TransparentRulesTests(SynchronousTestCase):
    """What is printed, and what is refused; `tests.model.test_redirection` has the rules."""

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(["transparent-rules", *arguments])
        return status, out.getvalue(), err.getvalue()

    def refused(self, *arguments: str) -> str:
        status, out, err = self.run_command(*arguments)
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        return err

    def test_users_by_name_and_number(self):
        user = pwd.getpwuid(0)
        status, out, err = self.run_command("--user", user.pw_name, "--user", "54321")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("meta skuid { 0, 54321 }", out)
        self.assertIn("redirect to :8080", out)
        self.assertTrue(out.endswith("}\n"))

    def test_several_listeners(self):
        _, out, _ = self.run_command(
            *("--listen", "127.0.0.1:8081", "--listen", "[::1]:8082"),
            *("--all-users", "--proxy-user", "7", "--mark", "9", "--port", "80"),
        )
        self.assertIn("redirect to :8081", out)
        self.assertIn("redirect to :8082", out)
        self.assertIn("meta mark != 9 meta skuid != 7 ", out)

    def test_unknown_user(self):
        self.assertIn(
            "there is no user 'nobody-of-that-name'", self.refused("--user", "nobody-of-that-name")
        )

    def test_what_is_no_interface(self):
        for name in ("", "a b", 'e"; drop', "a-name-much-too-long", "a/b"):
            self.assertIn("is not the name of an interface", self.refused("--interface", name))

    def test_what_makes_no_rules(self):
        self.assertIn("whose connections?", self.refused())
        self.assertIn("8080x", self.refused("--user", "0", "--listen", "8080x"))
        self.assertIn("65536", self.refused("--user", "0", "--port", "65536"))

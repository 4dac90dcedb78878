"""Options gathered from a file, the environment and a command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.config import flow_detail, gather_options, read_config
from interceptor.errors import OptionsError
from interceptor.model.options import Options


class GatherTests(SynchronousTestCase):
    """Sources and which of them wins."""

    def setUp(self):
        self.confdir = Path(self.mktemp())
        self.confdir.mkdir()
        self.environ = {"INTERCEPTOR_CONFDIR": str(self.confdir), "PATH": "/bin"}

    def write(self, text: str, name: str = "config.toml") -> str:
        path = self.confdir / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def gather(self, **named: Any) -> Options:
        return gather_options(**{"environ": self.environ, **named})

    def refused(self, **named: Any) -> str:
        message = str(self.assertRaises(OptionsError, self.gather, **named))
        self.assertNotIn("\n", message)
        return message

    def test_defaults(self):
        options = self.gather()
        self.assertEqual(options.flow_detail, 1)
        self.assertEqual(options.confdir, str(self.confdir))

    def test_later_sources_win(self):
        values = []
        self.write("flow_detail = 0")
        values.append(self.gather().flow_detail)
        self.environ["INTERCEPTOR_FLOW_DETAIL"] = "1"
        values.append(self.gather().flow_detail)
        values.append(self.gather(flags={"flow_detail": 2}).flow_detail)
        values.append(
            self.gather(flags={"flow_detail": 2}, assignments=["flow_detail=3"]).flow_detail
        )
        self.assertEqual(values, [0, 1, 2, 3])

    def test_a_named_file_is_read_instead(self):
        self.write("flow_detail = 2\ndns_threads = 3")
        options = self.gather(config=self.write("flow_detail = 3", "other.toml"))
        self.assertEqual((options.flow_detail, options.dns_threads), (3, 8))

    def test_the_directory_comes_from_the_strongest_source(self):
        self.write("flow_detail = 2")
        self.environ["INTERCEPTOR_CONFDIR"] = "/nonexistent"
        options = self.gather(assignments=[f"confdir={self.confdir}"])
        self.assertEqual(options.flow_detail, 2)

    def test_a_named_file_has_to_be_there(self):
        self.assertEqual(
            self.refused(config="/nonexistent/file"),
            "cannot read `/nonexistent/file`: No such file or directory",
        )

    def test_a_file_that_is_not_toml(self):
        path = self.write("flow_detail = ")
        self.assertTrue(self.refused().startswith(f"cannot read `{path}`: "))
        (self.confdir / "config.toml").write_bytes(b"\xff")
        self.assertEqual(self.refused(), f"cannot read `{path}`: it is not UTF-8")

    def test_a_wrong_value_names_its_source(self):
        path = self.write("flow_detail = 9")
        self.assertTrue(self.refused().startswith(f"{path}: option `flow_detail`: expected"))
        self.write("")
        self.environ["INTERCEPTOR_DNS_THREADS"] = "many"
        self.assertTrue(
            self.refused().startswith("INTERCEPTOR_DNS_THREADS: option `dns_threads`: expected")
        )
        del self.environ["INTERCEPTOR_DNS_THREADS"]
        self.assertTrue(
            self.refused(assignments=["dns_threads=x"]).startswith("--set: option `dns_threads`")
        )

    def test_toml_values_are_typed(self):
        self.write(
            'body_size_limit = "64k"\nbody_memory_limit = 5\nread_timeout = 1.5\n'
            'close_timeout = "250ms"\nmode = ["regular@1", "regular@2"]\nstream_grpc = false\n'
            'total_timeout = ""'
        )
        options = self.gather()
        self.assertEqual(options.body_size_limit, 65536)
        self.assertEqual(options.body_memory_limit, 5)
        self.assertEqual(options.read_timeout, 1.5)
        self.assertEqual(options.close_timeout, 0.25)
        self.assertEqual(options.mode, ("regular@1", "regular@2"))
        self.assertFalse(options.stream_grpc)
        self.assertIsNone(options.total_timeout)

    def test_a_table_is_no_value(self):
        self.write("[flow_detail]\nx = 1")
        self.assertIn("expected a whole number", self.refused())

    def test_a_variable_may_hold_several_values(self):
        self.environ["INTERCEPTOR_MODE"] = '["regular@1", "regular@2"]'
        self.assertEqual(self.gather().mode, ("regular@1", "regular@2"))
        self.environ["INTERCEPTOR_MODE"] = "regular@[::1]:1"
        self.assertEqual(self.gather().mode, ("regular@[::1]:1",))

    def test_each_source_may_set_what_scripts_will_declare(self):
        self.write("one = 1")
        self.environ["INTERCEPTOR_TWO"] = "2"
        options = self.gather(assignments=["three=3"])
        for name in ("one", "two", "three"):
            options.add_option(name, int, 0, "")
        self.assertEqual((options.one, options.two, options.three), (1, 2, 3))
        options.check_deferred()

    def test_what_nobody_declares_is_found_later(self):
        path = self.write("flow_detial = 1")
        self.environ["INTERCEPTOR_NOTHING_LIKE_IT"] = "2"
        error = self.assertRaises(OptionsError, self.gather().check_deferred)
        self.assertEqual(
            str(error),
            f"{path}: unknown option `flow_detial`: did you mean `flow_detail`?; "
            "INTERCEPTOR_NOTHING_LIKE_IT: unknown option `nothing_like_it`: "
            "`interceptor options` lists them",
        )

    def test_scripts_of_a_file_are_beside_it(self):
        path = self.write("""scripts = ["a b.py", "'a b.py' 'c d'", "/abs.py x", "~/h.py", "'"]""")
        here = os.path.abspath(self.confdir)
        self.assertEqual(
            read_config(path)["scripts"],
            [f"{here}/a b.py", f"'{here}/a b.py' 'c d'", "/abs.py x", "~/h.py", "'"],
        )

    def test_scripts_that_are_no_texts_are_refused_later(self):
        self.write("scripts = [1]")
        self.assertIn("option `scripts`: expected a list of texts", self.refused())


class FlowDetailTests(SynchronousTestCase):
    """``-q`` and ``-v``."""

    def test_levels(self):
        self.assertEqual(flow_detail(False, 0), {})
        self.assertEqual(flow_detail(False, 1), {"flow_detail": 2})
        self.assertEqual(flow_detail(False, 2), {"flow_detail": 3})
        self.assertEqual(flow_detail(False, 9), {"flow_detail": 3})
        self.assertEqual(flow_detail(True, 0)["flow_detail"], 0)

    def test_both(self):
        self.assertRaises(OptionsError, flow_detail, True, 1)

"""The option ``reverse_backends``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.model.backends import Backend, Backends

API = Backend("http", "192.0.2.1", 8001)
APPS = Backend("https", "apps.internal", 443)
EU = Backend("http", "2001:db8::1", 80)
DB = Backend("tls", "db.internal", 5432)


class FindTests(SynchronousTestCase):
    """Which backend a name means."""

    def setUp(self) -> None:
        self.backends = Backends(
            (
                "api.example.com=http://192.0.2.1:8001",
                "*.example.com=https://apps.internal",
                "*.eu.example.com=http://[2001:db8::1]",
            )
        )

    def test_the_name_itself(self):
        for name in ("api.example.com", "API.Example.com", "api.example.com."):
            self.assertEqual(self.backends.find(name), API)

    def test_a_domain_is_for_all_names_below_it(self):
        self.assertEqual(self.backends.find("shop.example.com"), APPS)
        self.assertEqual(self.backends.find("a.b.example.com"), APPS)

    def test_the_nearest_domain(self):
        self.assertEqual(self.backends.find("shop.eu.example.com"), EU)
        self.assertEqual(self.backends.find("eu.example.com"), APPS)

    def test_others(self):
        for name in ("example.com", "notexample.com", "com", "", None, ".", "a..", "\udcff"):
            self.assertIsNone(self.backends.find(name))

    def test_all_others(self):
        backends = Backends(("a.example=http://192.0.2.1:8001", "*=tls://db.internal:5432"))
        self.assertEqual(backends.find("b.example"), DB)
        self.assertEqual(backends.find(None), DB)
        self.assertEqual(backends.find("a.example"), API)

    def test_addresses_and_international_names(self):
        backends = Backends(
            (
                "192.0.2.7=http://192.0.2.1:8001",
                "[2001:db8::7]=https://apps.internal",
                "bücher.example=http://[2001:db8::1]",
            )
        )
        self.assertEqual(backends.find("192.0.2.7"), API)
        self.assertEqual(backends.find("2001:DB8::7"), APPS)
        self.assertEqual(backends.find("xn--bcher-kva.example"), EU)

    def test_the_last_entry_for_a_name_counts(self):
        backends = Backends(("a.example=http://b.example", "a.example=http://192.0.2.1:8001"))
        self.assertEqual(backends.find("a.example"), API)

    def test_none(self):
        self.assertFalse(Backends())
        self.assertIsNone(Backends().find("a.example"))
        self.assertTrue(self.backends)

    def test_what_layers_make_of_it(self):
        self.assertEqual(EU.destination, (b"http", b"2001:db8::1", 80))


class RefusedTests(SynchronousTestCase):
    """What cannot be understood is an error that names it."""

    def test_entries(self):
        for entry in (
            "",
            "http://a",
            "=http://a",
            "a=",
            "a",
            "*.=http://a",
            "*a=http://b",
            "a.*.b=http://c",
            "a b=http://c",
            "a=http://b/path",
            "a=ftp://b",
            "a=tcp://b",
            "a=http://user:password@b",
            "-a=http://b",
        ):
            error = self.assertRaises(OptionsError, Backends, (entry,))
            self.assertEqual(error.code, "option-invalid")
            self.assertIn("option `reverse_backends`: ", str(error))
            self.assertNotIn("\n", str(error))

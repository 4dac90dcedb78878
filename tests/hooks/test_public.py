"""The thin modules that scripts import."""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase

from interceptor import ctx, errors, exceptions, flowfilter, http, script
from interceptor.hooks.threads import concurrent
from interceptor.model.flow import HTTPFlow
from interceptor.model.http import Response


class PublicModulesTests(SynchronousTestCase):
    def test_ctx_lists_its_names(self) -> None:
        self.assertEqual(dir(ctx), ["args", "log", "master", "options", "shared", "worker"])

    def test_exceptions_are_all_errors(self) -> None:
        declared = {name for name, value in vars(errors).items() if inspect.isclass(value)}
        self.assertEqual(set(exceptions.__all__), declared)

    def test_http(self) -> None:
        self.assertIs(http.HTTPFlow, HTTPFlow)
        self.assertIs(http.HTTPResponse, Response)
        self.assertEqual(http.Response.make(404, b"no").status_code, 404)

    def test_flowfilter(self) -> None:
        self.assertRaises(exceptions.FilterError, flowfilter.parse, "~nothing")

    def test_script(self) -> None:
        self.assertIs(script.concurrent, concurrent)

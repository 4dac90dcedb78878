"""Refusals that need no worker."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError, WorkersError
from interceptor.model.coreoptions import core_options
from interceptor.model.limitoptions import share_of
from interceptor.service import InterceptorService, make_options
from interceptor.workers.supervisor import check_unchanged


class RefusalTests(SynchronousTestCase):
    """What several workers cannot do."""

    def test_an_embedded_service_is_one_process(self):
        service = InterceptorService(make_options(workers=2), reactor=Clock())
        service.startService()
        error = self.failureResultOf(service.started, WorkersError).value
        self.assertEqual(error.code, "workers-refused")

    def test_what_cannot_change(self):
        before = make_options(mode=["regular@1"], workers=2)
        check_unchanged(before, make_options(mode=["regular@1"], workers=2, flow_limit=7))
        for values in ({"mode": ["regular@2"], "workers": 2}, {"mode": ["regular@1"]}):
            after = make_options(**values)
            self.assertRaises(OptionsError, check_unchanged, before, after)

    def test_limits_are_divided(self):
        options = make_options(workers=3, connection_limit=100, flow_limit=2)
        self.assertEqual(share_of(options, "connection_limit"), 33)
        self.assertEqual(share_of(options, "flow_limit"), 1)
        self.assertEqual(share_of(core_options(), "flow_limit"), 10_000)

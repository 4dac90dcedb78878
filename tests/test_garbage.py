"""The collector's set-up; Python's own collector is left alone."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from interceptor import garbage


class SettleTests(SynchronousTestCase):
    def setUp(self) -> None:
        patcher = mock.patch.object(garbage, "gc")
        self.gc = patcher.start()
        self.addCleanup(patcher.stop)
        self.gc.get_threshold.return_value = (700, 10, 5)

    def test_what_exists_is_cleaned_up_and_then_left_out(self):
        garbage.settle(None)
        names = [call[0] for call in self.gc.method_calls]
        self.assertLess(names.index("collect"), names.index("freeze"))

    def test_only_the_young_wait_longer(self):
        garbage.settle(None)
        self.gc.set_threshold.assert_called_once_with(garbage.YOUNG, 10, 5)

    def test_gives_back_what_it_is_given(self):
        service = object()
        self.assertIs(garbage.settle(service), service)

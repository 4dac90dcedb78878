from __future__ import annotations

import io

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from interceptor.hooks.events import EVENTS
from interceptor.hooks.reference import as_rst, as_text, describe


class ReferenceTests(SynchronousTestCase):
    def test_every_event_is_in_one_group(self) -> None:
        self.assertEqual(
            [event for group in describe() for event in group.events], [*EVENTS.values()]
        )

    def test_text_has_every_signature_and_no_markup(self) -> None:
        lines = as_text().splitlines()
        for event in EVENTS.values():
            self.assertIn(f"  {event.signature}", lines)
        self.assertNotIn("`", as_text())
        self.assertLessEqual(max(map(len, lines)), 88)

    def test_text_says_what_may_be_returned(self) -> None:
        self.assertIn("      May return the layer to use instead.", as_text().splitlines())

    def test_restructured_text_is_sound(self) -> None:
        warnings = io.StringIO()
        publish_doctree(as_rst(), settings_overrides={"warning_stream": warnings})
        self.assertEqual(warnings.getvalue(), "")

"""The instructions: complete, without loose ends, and naming one thing each."""

from __future__ import annotations

import re
import shlex

from twisted.trial.unittest import SynchronousTestCase

from interceptor.trusthelp import GUIDES, Files, find_guide


class GuidesTests(SynchronousTestCase):
    """`GUIDES`."""

    def test_names_are_unique(self):
        names = [name for guide in GUIDES for name in (guide.key, *guide.aliases)]
        self.assertEqual(len(set(names)), len(names))
        self.assertTrue(all(name == name.lower() for name in names))

    def test_everything_asked_for_is_there(self):
        for name in (
            "debian ubuntu fedora rhel alpine macos windows firefox nss java keytool node python "
            "curl git android ios"
        ).split():
            self.assertIsNotNone(find_guide(name), name)
        self.assertIsNone(find_guide("plan9"))
        self.assertIs(find_guide("iPhone"), find_guide("ios"))

    def test_each_names_the_file_it_takes(self):
        for guide in GUIDES:
            text = " ".join([each for s in guide.install for each in (s.text, *s.commands)])
            if guide.key != "ios":
                self.assertIn(f"{{{guide.file}}}", text, guide.key)

    def test_only_known_placeholders(self):
        for guide in GUIDES:
            for step in (*guide.install, *guide.remove):
                for text in (step.text, *step.commands):
                    found = set(re.findall(r"\{(.*?)\}", text))
                    self.assertLessEqual(found, {"pem", "cer", "p12", "name"})
                    self.assertNotIn("{", Files().fill(text))

    def test_commands_are_words_of_a_shell(self):
        files = Files(pem="'/a b/c.pem'", name="interceptor CA 12")
        for guide in GUIDES:
            for step in (*guide.install, *guide.remove):
                for command in step.commands:
                    self.assertTrue(shlex.split(files.fill(command)))

    def test_everything_can_be_undone(self):
        self.assertEqual([guide.key for guide in GUIDES if not guide.remove], [])

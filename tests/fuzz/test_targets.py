"""A short turn of every target, always the same; and whatever was found before."""

from __future__ import annotations

import random
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.mutation import LONGEST, Mutator
from tests.fuzz.targets import TARGETS, Target
from tests.smuggling.judges import MISSING

CORPUS = Path(__file__).parent / "corpus"
TURNS = 120
LIMIT = 20.0
"""Seconds of CPU time that one input may take; usual are milliseconds."""


def kept(target: Target) -> list[bytes]:
    """The inputs that the corpus has for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target.name).glob("*.bin"))]


class TargetTests(SynchronousTestCase):
    skip = MISSING

    def try_input(self, target: Target, mutator: Mutator, data: bytes) -> None:
        began = time.process_time()
        pieces = mutator.pieces(data)
        try:
            target.run(pieces)
        except Exception as error:
            raise AssertionError(f"{target.name}: {pieces!r}") from error
        self.assertLess(time.process_time() - began, LIMIT, data)

    def check(self, target: Target) -> None:
        mutator = Mutator(random.Random(target.name), target.seeds, target.words)
        for data in (*kept(target), *target.seeds):
            self.try_input(target, mutator, data)
        for _ in range(TURNS):
            data = mutator.make()
            self.assertLessEqual(len(data), LONGEST)
            self.try_input(target, mutator, data)

    def test_every_folder_of_the_corpus_has_a_target(self) -> None:
        folders = {path.name for path in CORPUS.iterdir() if path.is_dir()}
        self.assertEqual(folders - {target.name for target in TARGETS}, set())


def _add(target: Target) -> None:
    name = "test_" + target.name.replace("-", "_")
    setattr(TargetTests, name, lambda self: self.check(target))


for _target in TARGETS:
    _add(_target)

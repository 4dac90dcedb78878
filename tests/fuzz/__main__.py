"""``python -m tests.fuzz``: fuzz for as long as one likes, guided by which code is reached.

An input that makes code run that none before did becomes a seed. What fails is made as short as
possible and kept in the corpus, which the tests try from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import interceptor
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.test_targets import CORPUS, kept

_OURS = str(Path(interceptor.__file__).parent)


class Reached:
    """Notes which lines of ours follow upon which, as a measure of what an input does."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()
        self._new = False
        self._known: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def run(self, target: Target, pieces: Sequence[bytes]) -> bool:
        """Run a target; return whether that reached anything new."""
        self._new = False
        sys.settrace(self._call)
        try:
            target.run(pieces)
        finally:
            sys.settrace(None)
        return self._new

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        ours = self._known.get(name)
        if ours is None:
            ours = self._known[name] = name.startswith(_OURS)
        if not ours:
            return None
        before = 0
        seen = self._seen

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            if event == "line":
                step = (name, before, frame.f_lineno)
                before = frame.f_lineno
                if step not in seen:
                    seen.add(step)
                    self._new = True
            return line

        return line


def fails(target: Target, pieces: Sequence[bytes]) -> Exception | None:
    """Return what a target raises, if it does."""
    try:
        target.run(pieces)
    except Exception as error:
        return error
    return None


def shorten(target: Target, pieces: list[bytes], seconds: float = 20.0) -> list[bytes]:
    """Take away from an input that fails what is not needed for that."""
    end = time.monotonic() + seconds
    if fails(target, [b"".join(pieces)]) is not None:
        pieces = [b"".join(pieces)]
    shorter = True
    while shorter and time.monotonic() < end:
        shorter = False
        for index, piece in enumerate(pieces):
            size = max(1, len(piece) // 2)
            while size and time.monotonic() < end:
                for start in range(0, len(pieces[index]), size):
                    old = pieces[index]
                    tried = [*pieces]
                    tried[index] = old[:start] + old[start + size :]
                    if fails(target, tried) is not None:
                        pieces = tried
                        shorter = True
                size //= 2
    return [piece for piece in pieces if piece] or [b""]


def fuzz(target: Target, seconds: float, source: random.Random) -> tuple[int, list[str]]:
    """Try a target; return how many inputs were, and the failures, each with its place."""
    reached = Reached()
    mutator = Mutator(source, target.seeds, target.words)
    found: dict[str, str] = {}
    tried = seeds = 0
    waiting = [*kept(target), *target.seeds]
    end = time.monotonic() + seconds
    while waiting or time.monotonic() < end:
        data = waiting.pop() if waiting else mutator.make()
        pieces = mutator.pieces(data)
        tried += 1
        try:
            if reached.run(target, pieces):
                seeds += 1
                mutator.add(data)
        except Exception as error:
            place = where(error)
            if place not in found:
                short = shorten(target, list(pieces))
                path = keep(target, b"".join(short))
                found[place] = f"{path}: {short!r}\n    {error!r}\n    at {place}"
    print(f"{target.name}: {tried} inputs, {len(reached)} steps, {seeds} seeds", flush=True)
    return tried, list(found.values())


def where(error: BaseException) -> str:
    """Return the innermost place that an error came from."""
    traceback = error.__traceback__
    place = "nowhere"
    while traceback is not None:
        place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def keep(target: Target, data: bytes) -> Path:
    """Put an input into the corpus."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def main() -> int:
    """Fuzz what the command line names; return the exit status: 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all unless any are named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target; default 60")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run")
    options = parser.parse_args()
    unknown = set(options.targets) - {target.name for target in TARGETS}
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"--seed {seed}")
    failures: list[str] = []
    for target in TARGETS:
        if not options.targets or target.name in options.targets:
            failures += fuzz(target, options.seconds, random.Random(f"{seed} {target.name}"))[1]
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

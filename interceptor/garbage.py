"""Python's garbage collector, set up for a program that serves for long.

What the program consists of is there once it has started, and stays: there is no point in looking
through it again and again. What connections leave behind goes when the last reference does; only
what fails in unusual ways is left to the collector.
"""

from __future__ import annotations

import gc
from typing import Final, TypeVar

YOUNG: Final = 10_000
"""How many more objects than were freed may be made before the young ones are looked through.

Python's own figure is a handful of requests' worth, all of which are still in use by then.
"""

_Result = TypeVar("_Result")


def settle(result: _Result) -> _Result:
    """Look through what exists now no more, and through what is new less often.

    Only for programs of our own, once they have started: whoever embeds a proxy decides about the
    collector. Returns its argument, so that it can be called back with what has started.
    """
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(YOUNG, *older)
    return result

"""Pauses: keeps short what stops the HTTP thread while the loop is busy. In: a block. Out: nothing; undone after it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OLDEST = 2  # generation
THAW_EVERY = 100  # full collections: then all is looked through, for rings that have died since


@contextmanager
def handing_over(switch_s: float) -> Iterator[None]:
    """While the block runs, a busy loop lets the HTTP thread have the interpreter within about `switch_s`."""
    before = sys.getswitchinterval()
    # The default of 5 ms, waited for some three times a request, would be all that /score may take.
    sys.setswitchinterval(switch_s)
    keep = _Keep()
    # What is here by now (modules, a restored state) stays: full collections, which stop every thread, leave it out.
    gc.collect()
    gc.freeze()
    gc.callbacks.append(keep)
    try:
        yield
    finally:
        gc.callbacks.remove(keep)
        gc.unfreeze()
        sys.setswitchinterval(before)


class _Keep:
    """Leaves what has survived a full collection out of the next ones, so that they look at what is new only."""

    def __init__(self) -> None:
        self._since_thaw = 0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] < OLDEST:
            return
        if phase == "stop":
            gc.freeze()
            self._since_thaw += 1
        elif self._since_thaw >= THAW_EVERY:
            gc.unfreeze()
            self._since_thaw = 0

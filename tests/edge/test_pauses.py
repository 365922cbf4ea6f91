"""Full collections stay short, and what dies in rings is found in the end."""

from __future__ import annotations

import gc
import sys
import weakref

from stream_balance.edge.pauses import THAW_EVERY, handing_over


class Ring:
    """Refers to itself: only a collection finds it dead."""

    def __init__(self) -> None:
        self.me = self


def test_what_survived_a_full_collection_is_left_out_of_the_next_but_for_one_in_a_while() -> None:
    before = sys.getswitchinterval()
    with handing_over(0.001):
        ring = Ring()
        dead = weakref.ref(ring)
        gc.collect()
        del ring
        gc.collect()
        assert dead() is not None, "left out"
        for _ in range(THAW_EVERY):
            gc.collect()
        assert dead() is None
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == before

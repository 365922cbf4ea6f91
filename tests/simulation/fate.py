"""Fate: the clock and the chance of a simulated world. Everything that touches the world passes here by name, and may
end the process there, before, within or after what it does.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import Literal

TICK_S = 0.125  # exact in binary, so that sums of ticks are
Moment = Literal["before", "within", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "within", "after")


class ProcessEnds(BaseException):
    """The process is gone: no handler of ours may live through it. `power`: the machine too, with what was not synced.

    Not an Exception, so that nothing that catches those can catch it.
    """

    def __init__(self, where: str, power: bool) -> None:
        super().__init__(where)
        self.power = power


@dataclass(frozen=True)
class Crash:
    """Where a life ends: at the `count`-th passing of operation `name` ("" = of any)."""

    name: str
    count: int
    moment: Moment
    power: bool


class Fate:
    """One seed's chance and clock. `crash` is the present life's end, None = none."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ticks = 0
        self.crash: Crash | None = None
        self.seen: Counter[str] = Counter()  # in the whole seed
        self._passed = 0
        self._of_name = 0
        self._at = ""
        self.ended_at: list[tuple[str, Moment]] = []  # the operations that lives have ended at

    def live(self, crash: Crash | None) -> None:
        """A new life, with its end."""
        self.crash, self._passed, self._of_name = crash, 0, 0

    # Clock

    def now_s(self) -> float:
        return self.ticks * TICK_S

    def sleep(self, seconds: float) -> None:
        """Whole ticks, so that no jitter of the service can change a simulated run."""
        self.ticks += max(1, math.ceil(seconds / TICK_S))

    # Ends

    def passing(self, name: str) -> Moment | None:
        """An operation is about to be done; `within` and `after` are for the one who does it, see `ends`."""
        self.seen[name] += 1
        crash = self.crash
        if crash is None:
            return None
        self._passed += 1
        self._of_name += name == crash.name
        reached = self._of_name if crash.name else self._passed
        if reached != crash.count or (crash.name and name != crash.name):
            return None
        self._at = name
        if crash.moment == "before":
            self.ends()
        return crash.moment

    def ends(self) -> None:
        """End the process here."""
        assert self.crash is not None
        self.ended_at.append((self._at, self.crash.moment))
        power, self.crash = self.crash.power, None
        raise ProcessEnds(self._at, power)

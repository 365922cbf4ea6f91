"""Children: a trainer whose answers take a while of simulated time, or fail. What is under way ends with its process.

An answer is a function of its request: the booster's is the real one, made once in this process; the GAN's are rows
drawn around those that it was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np

from stream_balance.core.arms.booster_fit import fit
from stream_balance.core.synthesis import Quality, Release, TrainingSet, Vetting, outcome_to_bytes
from stream_balance.edge.trainer import Job, Refusal, Tally, Trained, Trainer
from tests.simulation.fate import TICK_S, Fate

REASONS = ("timeout", "crash", "killed", "memory")
QUALITY = Quality(0.6, 0.9, 0.5, 0.0, 0.0, 0.1, 0.2, 0.1)


@cache
def booster(request: bytes) -> bytes:
    """As the child's."""
    return fit(request)


@cache
def gan(request: bytes) -> bytes:
    """A release of the class that was asked for."""
    wanted = TrainingSet.from_bytes(request)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(request).digest()[:8]))
    rows = rng.choice(wanted.rows, 20) + rng.normal(scale=0.1, size=(20, wanted.rows.shape[1]))
    vetting = Vetting("gan", "helps", "gain", 0.1, QUALITY, ())
    return outcome_to_bytes(Release(wanted.label, rows, vetting, weights=request[-4:]))


WORK: dict[str, Callable[[bytes], bytes]] = {"booster": booster, "gan": gan}


class _Later(Job):
    """Done at a tick."""

    def __init__(self, kind: str, request: bytes, fate: Fate, at_tick: int) -> None:
        super().__init__(kind, request)
        self._fate = fate
        self._at_tick = at_tick

    def done(self) -> bool:
        return self._fate.ticks >= self._at_tick


class SimulatedTrainer(Trainer):
    """Of one life. With `fails` some answers never come."""

    def __init__(self, fate: Fate, *, fails: bool) -> None:
        super().__init__({})
        self.tallies = {kind: Tally() for kind in WORK}
        self._fate = fate
        self._fails = fails

    def submit(self, kind: str, request: bytes) -> Job:
        fate = self._fate
        moment = fate.passing(f"child.submit:{kind}")
        job = _Later(kind, request, fate, fate.ticks + fate.rng.choice((0, 1, 8, 40, 200)))
        if self._fails and fate.rng.random() < 0.25:
            job._finish(Refusal(fate.rng.choice(REASONS), "simulated", 3))
        else:
            job._finish(Trained(WORK[kind](request), 0.0, 1))
        if moment is not None:
            fate.ends()
        return job

    def wait(self, job: Job, turn: Callable[[], None] = lambda: None) -> Trained | Refusal:
        moment = self._fate.passing(f"child.answer:{job.kind}")
        while not job.done():
            self._fate.sleep(TICK_S)
            turn()
            if moment == "within":
                self._fate.ends()
        if moment is not None:
            self._fate.ends()
        return job._result()

    def close(self) -> None:
        return

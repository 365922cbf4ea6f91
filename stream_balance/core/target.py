"""Target: the share of positives aimed at, moved by what balancing does to an objective. In: what was served and what
the reference `none` said, on real rows. Out: a target now and then, with the reason.

The evidence is paired: both answers are to the same rows, and the error of their difference is the jackknife's over
blocks of rows. Where balancing harms by more than `errors` standard errors the target steps down, towards the stream
as it is; where it helps, up. What it gained over `none` is kept for each share visited. A step up is followed by
another only while the gain has not fallen (by more than one error from the best one seen). Where a step lost more than
`errors` errors against the share before, or more than one when `blocks_max` blocks are full, it is taken back and that
share is closed; then the other side is tried, and followed as long as the gain rises by more than an error. So the walk
ends at a share whose neighbours are no better, and does not oscillate (hysteresis).

All begins anew at a drift that makes the past out of date, and where a share that helped comes to harm by twice the
evidence, or the other way round. After a step only rows that were scored under the new target count, so steps are at
least `blocks_min` blocks apart. Bounds end the walk.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stream_balance.core.comparison import BLOCKS_MIN, Comparison, ComparisonSettings, Objective, Rows
from stream_balance.core.records import RoomSettings

Reason = Literal["harms", "helps", "fell", "tries", "drift", "few_rows"]
FIXED = "fixed"


class TargetSettings(RoomSettings):
    """What moves the target share, and how far. `balance.target_share` is where it begins."""

    objective: Literal["fixed", "average_precision", "gmean", "normalised_entropy", "ndcg_at_10"] = "fixed"
    factor: float = Field(default=1.5, gt=1.0, le=4.0)  # a step multiplies or divides the odds of the target by this
    share_min: float = Field(default=0.02, gt=0, lt=1)
    share_max: float = Field(default=0.5, gt=0, lt=1)
    errors: PositiveFloat = 3.0  # a difference beyond so many standard errors is evidence; twice that to turn round
    block_rows: PositiveInt = 512
    blocks_min: int = Field(default=16, ge=BLOCKS_MIN)  # of rows scored under the present target, before a decision
    blocks_max: int = Field(default=40, ge=BLOCKS_MIN)  # the latest that the decision rests on
    rare_rows_min: PositiveInt = 50  # with fewer rows of a rare class in the window the target does not rise
    decisions_max: PositiveInt = 50  # latest decisions kept for the report

    @model_validator(mode="after")
    def _ordered(self) -> TargetSettings:
        if self.share_min > self.share_max:
            raise ValueError(f"share_min {self.share_min} is above share_max {self.share_max}")
        if self.blocks_min > self.blocks_max:
            raise ValueError(f"blocks_min {self.blocks_min} is above blocks_max {self.blocks_max}")
        return self


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, or one that was held back (`few_rows`): the share before and after, the evidence (None after a drift).

    What was `gained` is over none; of a step taken back (`fell`), over the share that it goes back to.
    """

    reason: Reason
    before: float
    after: float
    gained: float | None
    error: float | None
    position: int  # rows seen until then


@dataclass(frozen=True, slots=True)
class _Gain:
    """Over none, at one share."""

    value: float
    error: float

    def less(self, other: _Gain) -> _Gain:
        """The difference; the rows are others, so errors add up."""
        return _Gain(self.value - other.value, math.hypot(self.error, other.error))

    def sign(self, errors: float) -> int:
        """1 or -1 beyond so many errors, else 0."""
        return (self.value > errors * self.error) - (self.value < -errors * self.error)


class TargetControl:
    """Watches two answers, `served` (0) and `none` (1); says a new target where the evidence asks for one.

    >>> control = TargetControl(TargetSettings(objective="average_precision"), start=0.2)
    >>> control.target, control.alarm(version=0), control.decide(rare_rows=100, version=0)
    (0.2, None, None)
    """

    def __init__(self, settings: TargetSettings, start: float) -> None:
        self.target = start
        self.objective = settings.objective
        self.steps = 0
        self.decided = 0  # decisions so far, those no longer kept too
        self.decisions: deque[Decision] = deque(maxlen=settings.decisions_max)
        self._settings = settings
        self._start = start
        self._place = 0
        self._position = 0
        self._reopen()
        self._begin(0)

    def _reopen(self) -> None:
        """Nothing is known of any share."""
        self._found: dict[int, _Gain] = {}  # by place, in steps from the start: what it gained when last looked at
        self._closed: set[int] = set()  # places that lost against the one before
        self._direction = 0  # of the last step; 0 once it was taken back, or before the first
        self._sign = 0  # what is certain at this place

    def _begin(self, version: int) -> None:
        settings = self._settings
        kept = ComparisonSettings(block_rows=settings.block_rows, blocks_max=settings.blocks_max)
        self._comparison = Comparison(kept, answers=2)
        self._decided_blocks = 0
        self._since = version

    def add(self, rows: Rows, versions: npt.NDArray[np.int64], served: int, none: int) -> None:
        """Rows of a comparison, with the model's version that scored each; `served` and `none` are answers there."""
        self._comparison.add(rows.taken((served, none), versions >= self._since))
        self._position += len(versions)

    def is_due(self) -> bool:
        """Whether there is a new full block to decide by."""
        full = self._comparison.blocks_filled
        return full >= self._settings.blocks_min and full != self._decided_blocks

    def decide(self, rare_rows: int, version: int) -> float | None:
        """Once a block is full: the new target, or None. `rare_rows`: rows of the rarest class in the window.

        `version` is the model's now.
        """
        if not self.is_due():
            return None
        settings, filled = self._settings, self._comparison.blocks_filled
        is_full = self._decided_blocks < settings.blocks_max <= filled
        self._decided_blocks = filled
        view = self._comparison.view()
        assert view is not None, "full blocks are a view"
        gain = view.gain(0, 1, _OBJECTIVES[settings.objective])
        if gain.value is None or gain.error is None:
            return None
        here = _Gain(gain.value, gain.error)
        step = self._step(here, is_full)
        if step is None:
            return None
        reason, direction, evidence = step
        if direction > 0 and rare_rows < settings.rare_rows_min:
            if not self.decisions or self.decisions[-1].reason != "few_rows":
                self._note("few_rows", self.target, evidence)
            return None
        self._note(reason, self._share(self._place + direction), evidence)
        if reason == "fell":
            self._closed.add(self._place)
        self._direction = 0 if reason == "fell" else direction
        self._sign = 0
        self._place += direction
        self.target = self._share(self._place)
        self.steps += 1
        self._begin(version)
        return self.target

    def _step(self, here: _Gain, is_full: bool) -> tuple[Reason, int, _Gain] | None:
        """Where to go from here, and why; None to stay. Notes what was found here. `is_full`: for the first time."""
        errors = self._settings.errors
        sign = here.sign(errors)
        if sign and self._sign and sign != self._sign:
            if not here.sign(2.0 * errors):
                return None
            self._reopen()  # nothing was changed here, so the stream has changed
        self._sign = sign or self._sign
        self._found[self._place] = here
        former = self._found.get(self._place - self._direction) if self._direction else None
        if former is not None:
            return self._further(here, former, sign, is_full)
        # A neighbour that was visited was left for a reason.
        around = (
            [self._place + sign, self._place - sign] if self._place + sign in self._closed else [self._place + sign]
        )
        after = around[-1]
        if not sign or after in self._found or self._share(after) == self.target:
            return None
        return ("tries" if len(around) > 1 else _REASONS[sign]), after - self._place, here

    def _further(self, here: _Gain, former: _Gain, sign: int, is_full: bool) -> tuple[Reason, int, _Gain] | None:
        """After a step: take it back, wait, or go on."""
        direction, lost = self._direction, here.less(former)
        best = max(self._found.values(), key=lambda gain: gain.value)
        falls = sign >= 0 and here.less(best).sign(1.0) < 0
        # Asked once only: of many looks one shows an error by chance.
        if lost.sign(self._settings.errors) < 0 or (falls and is_full) or sign < 0 < direction:
            return "fell", -direction, lost
        after = self._place + direction
        if falls or not sign or after in self._closed or self._share(after) == self.target:
            return None
        if sign == direction:
            return _REASONS[sign], direction, here
        return ("tries", direction, here) if lost.sign(1.0) > 0 else None

    def _share(self, place: int) -> float:
        """So many steps from the start, in log odds, within the bounds."""
        settings = self._settings
        if not place:
            return self._start
        odds = self._start / (1.0 - self._start) * settings.factor**place
        low, high = min(settings.share_min, self._start), max(settings.share_max, self._start)
        return min(max(odds / (1.0 + odds), low), high)

    def alarm(self, version: int) -> float | None:
        """The past is out of date: what was found out no longer counts. Back to the start, free to go either way."""
        before, self.target, self._place = self.target, self._start, 0
        self._reopen()
        self._begin(version)
        if before == self._start:
            return None
        self.steps += 1
        self._note("drift", self._start, None, before)
        return self._start

    def _note(self, reason: Reason, after: float, evidence: _Gain | None, before: float | None = None) -> None:
        value, error = (None, None) if evidence is None else (evidence.value, evidence.error)
        place = self.target if before is None else before
        self.decisions.append(Decision(reason, place, after, value, error, self._position))
        self.decided += 1

    def digest_state(self) -> object:
        """Target, what is known of each share, decisions, and the rows that the next one rests on."""
        decided = [[d.reason, d.before, d.after, d.gained, d.error, d.position] for d in self.decisions]
        return [
            self.target, self.steps, self.decided, self._place, self._direction, self._sign, self._position,
            self._decided_blocks, self._since, decided, sorted(self._closed),
            [[place, gain.value, gain.error] for place, gain in sorted(self._found.items())],
            self._comparison.digest_state(),
        ]  # fmt: skip


_REASONS: dict[int, Reason] = {1: "helps", -1: "harms"}
_OBJECTIVES: dict[str, Objective] = {
    "average_precision": "average_precision", "gmean": "gmean", "normalised_entropy": "log_loss",
    "ndcg_at_10": "ndcg_at_10",
}  # fmt: skip
__all__ = ["Decision", "TargetControl", "TargetSettings"]

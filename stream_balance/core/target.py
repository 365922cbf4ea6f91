"""Target: the share of positives aimed at, moved by what balancing does to an objective. In: what was served and what
the reference `none` said, on real rows. Out: a target now and then, with the reason.

The evidence is paired: both answers are to the same rows, and the error of their difference is the jackknife's over
blocks of rows. Where balancing harms by more than `errors` standard errors the target steps down, towards the stream
as it is; where it helps, up. Turning round takes twice the evidence (hysteresis). After a step only rows that were
scored under the new target count, so steps are at least `blocks_min` blocks apart. Bounds end the walk.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stream_balance.core.comparison import BLOCKS_MIN, Comparison, ComparisonSettings, Objective, Rows
from stream_balance.core.records import RoomSettings

Reason = Literal["harms", "helps", "drift", "few_rows"]
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
    """A step, or one that was held back (`few_rows`): the share before and after, the evidence (None after a drift)."""

    reason: Reason
    before: float
    after: float
    gained: float | None
    error: float | None
    position: int  # rows seen until then


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
        self.decisions: deque[Decision] = deque(maxlen=settings.decisions_max)
        self._settings = settings
        self._start = start
        self._direction = 0  # of the last step
        self._position = 0
        self._begin(0)

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
        settings, self._decided_blocks = self._settings, self._comparison.blocks_filled
        view = self._comparison.view()
        assert view is not None, "full blocks are a view"
        gain = view.gain(0, 1, _OBJECTIVES[settings.objective])
        if gain.value is None or gain.error is None:
            return None
        direction = 1 if gain.value > 0 else -1
        needed = settings.errors * (2.0 if direction == -self._direction else 1.0)
        if abs(gain.value) <= needed * gain.error:
            return None
        after = self._stepped(direction)
        if direction > 0 and rare_rows < settings.rare_rows_min:
            if not self.decisions or self.decisions[-1].reason != "few_rows":
                self._note("few_rows", self.target, gain.value, gain.error)
            return None
        if after == self.target:
            return None
        self._note("helps" if direction > 0 else "harms", after, gain.value, gain.error)
        self._direction = direction
        self.steps += 1
        self.target = after
        self._begin(version)
        return after

    def _stepped(self, direction: int) -> float:
        """One step in log odds, within the bounds."""
        settings = self._settings
        odds = self.target / (1.0 - self.target) * settings.factor**direction
        share = odds / (1.0 + odds)
        low, high = min(settings.share_min, self._start), max(settings.share_max, self._start)
        return min(max(share, low), high)

    def alarm(self, version: int) -> float | None:
        """The stream has changed: what was found out no longer counts. Back to the start, free to go either way."""
        before, self.target = self.target, self._start
        self._direction = 0
        self._begin(version)
        if before == self._start:
            return None
        self.steps += 1
        self.decisions.append(Decision("drift", before, self._start, None, None, self._position))
        return self._start

    def _note(self, reason: Reason, after: float, gained: float, error: float) -> None:
        self.decisions.append(Decision(reason, self.target, after, gained, error, self._position))

    def digest_state(self) -> object:
        """Target, direction, decisions, and the rows that the next one rests on."""
        decided = [[d.reason, d.before, d.after, d.gained, d.error, d.position] for d in self.decisions]
        return [
            self.target, self.steps, self._direction, self._position, self._decided_blocks, self._since, decided,
            self._comparison.digest_state(),
        ]  # fmt: skip


_OBJECTIVES: dict[str, Objective] = {
    "average_precision": "average_precision", "gmean": "gmean", "normalised_entropy": "log_loss",
    "ndcg_at_10": "ndcg_at_10",
}  # fmt: skip
__all__ = ["Decision", "TargetControl", "TargetSettings"]

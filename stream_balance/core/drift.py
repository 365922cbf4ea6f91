"""Drift watch: two change detectors over matured rows. In: losses, labels, time. Out: alarms, counted.

ADWIN (`core/adwin`) watches the log-loss and the rate of outcomes. At an alarm it drops what it holds for older than
the change; how many rows it kept says which rows the windows may forget.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.adwin import Adwin
from stream_balance.core.records import RoomSettings
from stream_balance.core.report import Alarm, Drift, DriftCounts

LOSS, RATE = "log_loss", "label_rate"


class DriftSettings(RoomSettings):
    """Sensitivity of the detectors."""

    delta: float = Field(default=0.002, gt=0.0, lt=1.0)  # chance of a false alarm at each check
    check_rows: PositiveInt = 32  # a detector looks for a change once in so many rows
    loss_max: PositiveFloat = 8.0  # losses are cut here and scaled to 0..1, the range for which the bound holds
    alarms_max: PositiveInt = 50  # latest alarms kept; older ones only stay in the counts
    # Alarms at which the windows forget what is older than the change: those of a log-loss that rose, all, or none.
    forget_on: Literal["loss_rose", "any", "never"] = "loss_rose"
    keep_min: PositiveInt = 100  # latest rows of each class that stay whatever their age: positives are scarce


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm: what was watched; rows, up to now, that the detector holds for the present; whether the mean rose.

    `position` is the number of rows watched up to and including the one that raised it.
    """

    kind: str
    ts_us: int
    position: int
    kept_rows: int
    rose: bool
    forgotten: int = 0  # rows that left the windows because of it


class _Watch:
    """One detector. It can only raise an alarm at every `check_rows`-th of its rows; those before it wait until then,
    or until it is asked what it holds.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self.detector = Adwin(settings.delta, settings.check_rows)
        self._check_rows = settings.check_rows
        self._until_check = settings.check_rows
        self._waiting: list[float] = []

    def current(self) -> Adwin:
        """The detector, with every row so far."""
        for value in self._waiting:
            self.detector.update(value)
        self._waiting = []
        return self.detector

    def alarms(self, values: Sequence[float]) -> list[tuple[int, int, bool]]:
        """Watch values. Of each alarm: how many had been seen, how many it kept, whether their mean is higher."""
        found: list[tuple[int, int, bool]] = []
        start = 0
        while len(values) - start >= self._until_check:
            detector = self.current()
            mean = detector.estimation
            for value in values[start : start + self._until_check]:
                detector.update(value)
            start += self._until_check
            self._until_check = self._check_rows
            if detector.drift_detected:
                found.append((start, int(detector.width), detector.estimation > mean))
        self._waiting += values[start:]
        self._until_check -= len(values) - start
        return found

    def held(self) -> list[float]:
        """What the digest says of it."""
        one = self.current()
        return [float(one.width), one.total, one.variance, one.n_detections, self._until_check]


class DriftWatch:
    """Watches log-loss and label rate, row by row in the order in which rows mature.

    The position of an alarm is the number of rows watched up to and including the row that raised it.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._loss_max = settings.loss_max
        self._loss, self._rate = _Watch(settings), _Watch(settings)
        self._counts = {LOSS: 0, RATE: 0}
        self._alarms: deque[Change] = deque(maxlen=settings.alarms_max)
        self._position = 0

    def observe(self, losses: Sequence[float], labels: Sequence[int], ts_us: int) -> list[Change]:
        """Watch one matured search: the log-loss and the class id of each row; its alarms.

        A NaN counts as the largest loss.
        """
        alarms = []
        most = self._loss_max
        scaled = [loss / most if loss < most else 1.0 for loss in losses]
        outcomes = [1.0 if label else 0.0 for label in labels] if any(labels) else [0.0] * len(labels)
        for kind, watch, values in ((LOSS, self._loss, scaled), (RATE, self._rate, outcomes)):
            for place, kept, rose in watch.alarms(values):
                self._counts[kind] += 1
                alarms.append(Change(kind, ts_us, self._position + place, kept + len(values) - place, rose))
        self._position += len(outcomes)
        self._alarms.extend(alarms)
        return alarms

    def is_reason_to_forget(self, change: Change) -> bool:
        """Whether the windows are to forget what is older than this change.

        A log-loss that falls is a model that learns: what it learned from is not out of date. A rate that changes says
        nothing of the rows of either class.
        """
        wanted = self._settings.forget_on
        return wanted == "any" or (wanted == "loss_rose" and change.kind == LOSS and change.rose)

    def note(self, change: Change, forgotten: int) -> None:
        """What became of an alarm: so many rows left the windows."""
        if change in self._alarms:
            self._alarms[self._alarms.index(change)] = replace(change, forgotten=forgotten)

    @property
    def counts(self) -> dict[str, int]:
        """Alarms since the start, by what was watched."""
        return self._counts

    def metrics(self) -> Drift:
        """Counts, the means the detectors hold for current, and the latest alarms."""
        loss, rate = self._loss.current(), self._rate.current()
        return Drift(
            counts=DriftCounts(**self._counts),
            log_loss_mean=loss.estimation * self._loss_max if loss.width else math.nan,
            label_rate_mean=rate.estimation if rate.width else math.nan,
            alarms=tuple(Alarm(**asdict(change)) for change in self._alarms),
        )

    def digest_state(self) -> object:
        """Counts, alarms, and what the detectors hold."""
        return [
            self._position,
            self._counts,
            [list(astuple(change)) for change in self._alarms],
            self._loss.held(),
            self._rate.held(),
        ]

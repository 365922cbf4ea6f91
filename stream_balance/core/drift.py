"""Drift watch: two change detectors over matured rows. In: losses, labels, time. Out: alarms, counted; nothing acts.

River's ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007) on the log-loss
and on the rate of outcomes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from river.drift import ADWIN

from stream_balance.core.records import RoomSettings
from stream_balance.core.report import Alarm, Drift, DriftCounts

LOSS, RATE = "log_loss", "label_rate"


class DriftSettings(RoomSettings):
    """Sensitivity of the detectors."""

    delta: float = Field(default=0.002, gt=0.0, lt=1.0)  # chance of a false alarm at each check
    check_rows: PositiveInt = 32  # a detector looks for a change once in so many rows
    loss_max: PositiveFloat = 8.0  # losses are cut here and scaled to 0..1, the range for which the bound holds
    alarms_max: PositiveInt = 50  # latest alarms kept; older ones only stay in the counts


class DriftWatch:
    """Watches log-loss and label rate, row by row in the order in which rows mature.

    The position of an alarm is the number of rows watched up to and including the row that raised it.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self._scale = 1.0 / settings.loss_max
        detector: Any = ADWIN  # untyped
        self._loss = detector(delta=settings.delta, clock=settings.check_rows)
        self._rate = detector(delta=settings.delta, clock=settings.check_rows)
        self._counts = {LOSS: 0, RATE: 0}
        self._alarms: deque[tuple[str, int, int]] = deque(maxlen=settings.alarms_max)
        self._position = 0

    def observe(self, losses: Iterable[float], labels: Iterable[int], ts_us: int) -> None:
        """Watch one matured search: the log-loss and class id of each row. A loss that is NaN is passed over."""
        values = losses.tolist() if isinstance(losses, np.ndarray) else losses
        loss, rate, scale, position = self._loss, self._rate, self._scale, self._position
        watch_loss, watch_rate = loss.update, rate.update
        for value, label in zip(values, labels, strict=True):
            position += 1
            scaled = value * scale
            if scaled == scaled:  # noqa: PLR0124  # false for NaN only, and cheaper than a call
                watch_loss(scaled if scaled < 1.0 else 1.0)
                if loss.drift_detected:
                    self._alarm(LOSS, ts_us, position)
            watch_rate(1.0 if label else 0.0)
            if rate.drift_detected:
                self._alarm(RATE, ts_us, position)
        self._position = position

    def _alarm(self, kind: str, ts_us: int, position: int) -> None:
        self._counts[kind] += 1
        self._alarms.append((kind, ts_us, position))

    def metrics(self) -> Drift:
        """Counts, the means the detectors hold for current, and the latest alarms."""
        loss = self._loss.estimation / self._scale if self._loss.width else math.nan
        return Drift(
            counts=DriftCounts(**self._counts),
            log_loss_mean=loss,
            label_rate_mean=self._rate.estimation if self._rate.width else math.nan,
            alarms=tuple(Alarm(kind=kind, ts_us=ts_us, position=place) for kind, ts_us, place in self._alarms),
        )

    def digest_state(self) -> object:
        """Counts, alarms, and what the detectors hold."""
        held = [[float(one.width), one.total, one.variance, one.n_detections] for one in (self._loss, self._rate)]
        return [self._position, self._counts, [list(alarm) for alarm in self._alarms], held]

"""Race: several pipelines over one stream, with one front. In: events or rows. Out: each one's report and answers.

Order, features, tiers and join are worked out once, by the first; scoring, learning and measuring are each one's own.
So every one comes to the report and the digest that it would come to alone. Fits run here, where their cost is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.panel import Panel
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Examples, Floats, Scored, Search
from stream_balance.core.report import Report
from stream_balance.core.settings import CoreSettings

ROWS_MAX = 2_000_000  # of these latest rows every answer is kept; beyond it figures are over them alone


@dataclass(frozen=True, slots=True)
class _Said(Scored):
    """A search as the first scored it, and as the others did."""

    others: tuple[Scored, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows measured, n, in the order in which they matured, and what k runners served for them."""

    probability: npt.NDArray[np.float32]  # (k, n), of any outcome
    decided: npt.NDArray[np.bool_]  # (k, n): for an outcome, at the threshold of then; of several the likeliest class
    labels: npt.NDArray[np.uint8]  # (n,)
    tiers: npt.NDArray[np.uint8]  # (n,)


class Race(Pipeline):
    """The first of `runners` (settings by name) with the others in tow; push into it, then ask `reports`.

    `clock` gives CPU seconds; `costs` are those of scoring, learning and measuring, by runner. The settings may differ
    in what learns (arms, model, strategy, calibration, thresholds) only: of the rest the first one's count.
    """

    def __init__(
        self, runners: Sequence[tuple[str, CoreSettings]], seed: int, class_names: tuple[str, ...],
        clock: Callable[[], float], *, delay_rows: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(runners[0][1], seed, class_names, delay_rows=delay_rows)
        self.names = [name for name, _ in runners]
        self.costs = [0.0] * len(runners)
        self.rows_left_out = 0
        self._clock = clock
        self._others = [Pipeline(settings, seed, class_names, delay_rows=delay_rows) for _, settings in runners[1:]]
        for each in self._others:
            each.reorder, each.featurizer, each.tiers = self.reorder, self.featurizer, self.tiers
            each.joiner, each.delay, each.events, each.bad = self.joiner, self.delay, self.events, self.bad
        self._kept: deque[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Sequence[int], bytes]] = deque()
        self._kept_rows = 0

    @property
    def panels(self) -> list[Panel]:
        """Of the runners, in their order."""
        return [each.panel for each in (self, *self._others)]

    @property
    def tail_only(self) -> frozenset[int]:
        """Places of those of whom every arm speaks of tail items only; in the head they serve the base rate."""
        return frozenset(
            place
            for place, panel in enumerate(self.panels)
            if not any(arm.speaks_everywhere for arm in panel.members[: panel.arms])
        )

    def attach(self, fits: object) -> None:
        """Nobody else runs fits."""

    def _count(self, event: Event) -> None:
        super()._count(event)
        events = sum(self.events.values())
        for each in self._others:
            if each.retrain is not None and each.retrain.is_due(events):
                each._retrain(each.retrain, event.ts_us)

    def _score(self, search: Search, values: Floats, tiers: bytes) -> Scored:
        at = self._clock()
        first = super()._score(search, values, tiers)
        at = self._spent(0, at)
        others = []
        for place, each in enumerate(self._others, 1):
            others.append(each._score(search, values, tiers))
            at = self._spent(place, at)
        return _Said(
            first.event_id, first.user_id, first.item_ids, first.positions, first.tiers, first.width, first.block,
            first.truths, first.said, tuple(others),
        )  # fmt: skip

    def _mature(self, matured: Iterable[Examples], between: Callable[[], None] = lambda: None) -> None:
        for examples in matured:
            first = examples.scored
            assert isinstance(first, _Said), "what matures was scored here"
            self._keep(examples, first)
            at = self._clock()
            super()._mature([examples], between)
            at = self._spent(0, at)
            for place, (each, scored) in enumerate(zip(self._others, first.others, strict=True), 1):
                each._mature([Examples(scored, examples.labels, examples.known, examples.revenue)])
                at = self._spent(place, at)

    def _catch_up(self) -> None:
        super()._catch_up()
        for each in self._others:
            each._catch_up()

    def _spent(self, place: int, since: float) -> float:
        now = self._clock()
        self.costs[place] += now - since
        return now

    def _keep(self, examples: Examples, first: _Said) -> None:
        new = [i for i, known in enumerate(examples.known) if not known]
        served, decided = [], []
        for each in (first, *first.others):
            outcomes = each.probability[new]
            any_outcome = outcomes.sum(axis=1)
            served.append(any_outcome)
            several = outcomes.shape[1] > 1
            decided.append(outcomes.max(axis=1) > 1.0 - any_outcome if several else any_outcome >= each.threshold[new])
        labels, tiers = [examples.labels[i] for i in new], bytes(examples.scored.tiers[i] for i in new)
        self._kept.append((np.array(served, dtype=np.float32), np.array(decided), labels, tiers))
        self._kept_rows += len(new)
        while self._kept_rows > ROWS_MAX:
            gone = len(self._kept.popleft()[2])
            self._kept_rows -= gone
            self.rows_left_out += gone

    def reports(self) -> list[Report]:
        """Each runner's report now, in their order."""
        return [self.report(), *(each.report() for each in self._others)]

    def answers(self) -> Answers:
        """What was served for the rows measured so far, the latest `ROWS_MAX` of them."""
        if not self._kept:
            none, k = np.zeros(0, dtype=np.uint8), len(self.names)
            return Answers(np.zeros((k, 0), dtype=np.float32), np.zeros((k, 0), dtype=np.bool_), none, none)
        said, decided, labels, tiers = zip(*self._kept, strict=True)
        return Answers(
            np.concatenate(said, axis=1),
            np.concatenate(decided, axis=1),
            np.array([label for each in labels for label in each], dtype=np.uint8),
            np.frombuffer(b"".join(tiers), dtype=np.uint8),
        )

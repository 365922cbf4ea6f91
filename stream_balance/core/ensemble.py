"""Ensemble: the default arms behind their calibrators, and their mixture, as one model. In: samples, rows. Out: scores.

What `auto` does with a stream whose labels come at once, without what a service does beside (tiers, references,
figures, a trail). Rows are scored before they are learned: what was said of them is what calibrators, weights and drift
watch learn from. Rows learned together were all scored before the first of them. Rows that come singly are taught to
the arms a few together, at a fraction of the cost a row; at first each at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_balance.core.arms import make_model, share_encoder
from stream_balance.core.arms.model import abstention
from stream_balance.core.calibrate import Calibrator, CalibratorSettings, make_last
from stream_balance.core.drift import DriftSettings, DriftWatch
from stream_balance.core.gather import Gather, Patience, joined, worth_learning
from stream_balance.core.lineup import DEFAULT_ARMS
from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.odds import logits
from stream_balance.core.rates import RateWatch
from stream_balance.core.records import HEAD, Columns, Floats, Samples, Scores
from stream_balance.core.said import calibrated_odds, losses_at, probability_of

BLOCK_ROWS = 64  # after which calibrators and weights move
MARKS_MAX = 1_024  # blocks of which it is known how much each arm had learned by then


@dataclass(frozen=True, slots=True)
class _Said:
    """Of the rows with these bytes: the arms' own and calibrated log odds, (n, C-1) each, NaN where an arm says
    nothing, the mixed ones, (n, C-1), and the probabilities that are served, (n, C-1). Of an only row of two classes
    each is a float.
    """

    rows: bytes
    raw: list[Any]
    odds: list[Any]
    mixed: Any
    served: Any


class Ensemble:
    """Arms of classes 0..C-1 that learn side by side, and one answer: a `Model`.

    >>> ensemble, columns = Ensemble(), Columns()
    >>> columns.add("x")
    0
    >>> for x in range(100):
    ...     ensemble.learn(Samples.of(np.array([x % 2]), x % 2), columns)
    >>> ensemble.predict(np.array([[0.0], [1.0]]), columns).probability.round().tolist()
    [[0.0], [1.0]]
    """

    supports_offset = False
    honours_weights = False

    def __init__(self, classes: int = 2, seed: int = 0, *, forgets: bool = True) -> None:
        self.classes = classes
        self.models = [make_model(pair.model, classes, seed, one_vs_rest=True) for pair in DEFAULT_ARMS]
        self.calibrators = [Calibrator(CalibratorSettings(), classes) for _ in self.models]
        self.calibrator = make_last(CalibratorSettings(), classes)  # the last word, see `core/panel`
        sure_early = [place for place, model in enumerate(self.models) if getattr(model, "sure_early", False)]
        self.mixture = Mixture(MixtureSettings(), len(self.models), sure_early)
        self._rate_watch = RateWatch(classes)
        self.learned = 0
        self._encoder = share_encoder(self.models)
        self._settings = DriftSettings(forget_on="loss_rose" if forgets else "never")
        self._drift = DriftWatch(self._settings)
        self._block: list[tuple[_Said, Sequence[int]]] = []
        self._patience = Patience(BLOCK_ROWS)
        self._gather: Gather[Samples] = Gather()  # rows to be taught, and what the answers to them lost
        self._losses: list[float] = []
        self._by_arm = [0] * len(self.models)  # rows learned
        self._marks: deque[tuple[int, list[int]]] = deque([(0, list(self._by_arm))], MARKS_MAX)
        self._latest: _Said | None = None  # until something is learned

    # -- serving

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Probabilities of classes 1..C-1, (n, C-1), on the stream as it is."""
        if not self.learned:
            return abstention(len(values), self.classes)
        said = self._ask(values, columns).served
        served = np.array([[said]]) if isinstance(said, float) else said
        return Scores(served, np.zeros(len(values), dtype=np.bool_))

    def _ask(self, values: Floats, columns: Columns) -> _Said:
        """All arms that run; rows that were asked about last, once more only after something was learned."""
        rows = values.tobytes()
        if self._latest is None or self._latest.rows != rows:
            raw, tiers = self._words(values, columns), bytes([HEAD]) * len(values)
            calibrated = [each.apply(word, tiers) for each, word in zip(self.calibrators, raw, strict=True)]
            odds = calibrated_odds(raw, calibrated)
            mixed = logits(probability_of(self.mixture.combine(odds, tiers)))
            self._latest = _Said(rows, raw, odds, mixed, self.calibrator.apply(mixed, tiers))
        return self._latest

    def _words(self, values: Floats, columns: Columns) -> list[Any]:
        """Own log odds of the arms, (n, C-1) each; of an only row of two classes, floats."""
        found: list[Any] = []
        single = len(values) == 1 and self.classes == 2
        for model, runs in zip(self.models, self.mixture.running, strict=True):
            if runs:
                probability = model.predict(values, columns).probability
                found.append(logits(probability.item() if single else probability))
            else:
                found.append(math.nan if single else np.full((len(values), self.classes - 1), np.nan))
        return found

    # -- learning

    def learn(self, samples: Samples, columns: Columns) -> None:
        """Learn rows, each as often as it says; they are scored first."""
        samples = samples.unrolled()
        said, labels = self._ask(samples.rows, columns), samples.labels
        self._block.append((said, labels))
        self._gather.add(samples)
        self._losses += losses_at(said.served, labels)
        self.learned += len(labels)
        since = self._rate_watch.changed(labels)
        if since is not None:
            self._latest = None
            for calibrator in (*self.calibrators, self.calibrator):
                calibrator.begin_anew(since)
        if self._patience.has_enough(labels):
            self._fold()
        if worth_learning(len(self._gather), self.learned):
            self._teach(columns)

    def _fold(self) -> None:
        """Calibrators and weights learn from what was said of the latest rows."""
        raw, odds, mixed = self._tables([said for said, _ in self._block])
        labels = [label for _, several in self._block for label in several]
        tiers = bytes([HEAD]) * len(labels)
        for calibrator, mine in zip(self.calibrators, raw, strict=True):
            calibrator.learn_many(mine, tiers, labels)
        self.calibrator.learn_many(mixed[0], tiers, labels)
        self.mixture.observe(odds, np.array(labels), tiers)
        self._block, self._latest = [], None

    def _tables(self, said: Sequence[_Said]) -> list[Floats]:
        """Own, calibrated and mixed log odds of all these rows, (arms or 1, n, C-1) each."""
        parts = [(each.raw, each.odds, [each.mixed]) for each in said]
        if all(isinstance(each.served, float) for each in said):  # one array of all is several times as fast as many
            return [np.array(several).T[:, :, None] for several in zip(*parts, strict=True)]
        tables = [[np.reshape(each, (len(each), -1, self.classes - 1)) for each in part] for part in parts]
        return [np.concatenate(several, axis=1) for several in zip(*tables, strict=True)]

    def _teach(self, columns: Columns) -> None:
        """The arms that run learn the rows that wait, and the drift watch sees what was said of them.

        At an alarm all arms run again, and what they keep of the time before the change is forgotten.
        """
        samples, losses = joined(self._gather.taken()), self._losses
        if self._encoder is not None:  # whoever is paused
            self._encoder.learn(samples.rows, columns)
        for i, (model, runs) in enumerate(zip(self.models, self.mixture.running, strict=True)):
            if runs:
                model.learn(samples, columns)
                self._by_arm[i] += len(samples)
        if self.learned - self._marks[-1][0] >= BLOCK_ROWS:
            self._marks.append((self.learned, list(self._by_arm)))
        self._latest, self._losses = None, []
        changes = self._drift.observe(losses, samples.labels, self.learned)
        if changes:
            self.mixture.alarm()
        for change in changes:
            if self._drift.is_reason_to_forget(change):
                self._forget(change.kept_rows)

    def _forget(self, kept_rows: int) -> None:
        before = next((by_arm for rows, by_arm in reversed(self._marks) if rows <= self.learned - kept_rows), None)
        for i, model in enumerate(self.models):
            forget = getattr(model, "forget", None)
            if forget is not None and before is not None:
                forget(self._by_arm[i] - before[i], self._settings.keep_min)

    def digest_state(self) -> object:
        """Every arm, its calibrator, and the mixture."""
        return [
            self.learned, [each.digest_state() for each in self.models],
            [each.digest_state() for each in (*self.calibrators, self.calibrator)], self.mixture.digest_state(),
            self._drift.digest_state(), self._rate_watch.digest_state(),
            [[each.rows, each.labels] for each in self._gather.waiting], self._losses,
        ]  # fmt: skip

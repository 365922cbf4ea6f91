"""Calibrate: from a learner's logits to probabilities of the stream as it is.

In: logits at scoring time, labels at maturity; only real examples. Out: probabilities, (n, C-1).
Training on a bent stream moves the logit (by the offset, and by what synthetic rows do to p(x|y)); two parts put it
right: `RatioCorrection` for models that cannot learn with an offset, `Calibrator` for all.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.fading import FadingShares
from stream_balance.core.gather import Patience
from stream_balance.core.line import Line
from stream_balance.core.marginals import Marginals
from stream_balance.core.memory import Memory
from stream_balance.core.odds import logits, probability_of_one
from stream_balance.core.records import TIERS, Floats, RoomSettings
from stream_balance.core.straighten import Straightener, Trust

BaseRate = FadingShares
Number = TypeVar("Number")
# How far is trusted, before any outcome: the model's own word, the line that follows, the one that remembers, the same
# straightened, and the rate whatever the row: what a model says before it knows anything is nearer to a half. Later the
# rate does not come back: it would hide from the drift watch that the model has become wrong. Nor has it ever more than
# at first: the order of rows would drown in the rate's own changes.
FIRST_TRUST = (0.125, 0.125, 0.125, 0.125, 0.5)
LATER_TRUST = (0.25, 0.25, 0.25, 0.25, 0.0)
# How long shifts of classes are remembered. By rows: of many classes outcomes of each are far rarer than those of any.
MARGINAL_ROWS = 20_000.0
RATIO_ROWS, RATIO_ROWS_MAX = 1_000.0, 20_000.0  # the realised ratio of samples is remembered over so many rows


class CalibratorSettings(RoomSettings):
    """How fast the calibration follows, and how firmly it holds to "as the model says"."""

    decay: float = Field(default=0.9995, gt=0, lt=1)  # forgetting per example of a tier, of the line that follows
    # Lengths in outcomes of the rarer kind; where that is more than a tenth of all rows, ten rows count as one.
    slow_outcomes: float = Field(default=1_000.0, gt=0, le=1e9)  # of the line that remembers
    shape_outcomes: float = Field(default=1_000.0, gt=0, le=1e9)  # of what a line cannot put right
    trust_outcomes: float = Field(default=10_000.0, gt=0, le=1e9)  # of the weights of corrections
    block_rows: PositiveInt = 64  # learned from at once: a Newton step for each row costs more than it brings
    youth: float = Field(default=2.0, ge=0)  # at first never more than the last 1 / youth of all rows is remembered
    slope_precision: PositiveFloat = 20.0  # prior of the slope around 1, for log odds that spread by 1 or more
    bend_precision: PositiveFloat = 10.0  # around 0 of what the remembering line is steeper below its mean than above
    far_bend_precision: PositiveFloat = 3.0  # the same, a deviation below its mean
    shift_precision: PositiveFloat = 2.0  # prior of the shift around 0
    shape_prior: float = Field(default=2.0, ge=0.001)  # outcomes in each bin that all is right as it is
    rate_decay: float = Field(default=0.999, gt=0, lt=1)  # of the base rate, served where the model abstains
    base_rate: float = Field(default=0.02, gt=0, lt=1)  # of all outcomes together, before any example
    base_weight: PositiveFloat = 50.0  # examples that this first guess is worth

    def quick_memory(self) -> Memory:
        """Of the line that follows."""
        return Memory(rows=-1.0 / math.log(self.decay), youth=self.youth)

    def slow_memory(self) -> Memory:
        """Of the line that remembers."""
        return Memory(outcomes=self.slow_outcomes, youth=self.youth)

    def bend_precisions(self) -> tuple[float, ...]:
        """Of the line that remembers, one for each of its elbows."""
        return self.bend_precision, self.far_bend_precision

    def shape_memory(self) -> Memory:
        """Of what a line cannot put right."""
        return Memory(outcomes=self.shape_outcomes, youth=self.youth)

    def marginal_memory(self) -> Memory:
        """Of the shifts of several classes."""
        return Memory(rows=MARGINAL_ROWS, youth=self.youth)

    def trust_memory(self) -> Memory:
        """Of the weights of corrections."""
        return Memory(outcomes=self.trust_outcomes)


def _sigmoid(logit: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-logit))
    return found


class RatioCorrection:
    """What resampling did to the odds, as it really came out: decayed counts of samples over those of examples.

    For models that do not learn with an offset. Exact for a constant ratio, late by its memory for a changing one: it
    fades by e in a thousand rows, or, where that is longer, in `outcomes` rows of the rarest class, but 20,000 rows.

    >>> correction = RatioCorrection(classes=2)
    >>> correction.observe(examples=[100, 10], samples=[10, 10])
    >>> round(correction.offset()[0] - math.log(10.0), 1)
    -0.1
    """

    def __init__(self, classes: int, outcomes: float = 0.0) -> None:
        self._outcomes = outcomes
        self._examples = [1.0] * classes  # one example, learned once, of each: no correction
        self._samples = [1.0] * classes

    def observe(self, examples: Sequence[int], samples: Sequence[float]) -> None:
        """Count one matured search: real examples and learned samples (or their weights), by class."""
        rows = self._outcomes * sum(self._examples) / min(self._examples)
        fading = math.exp(-sum(examples) / min(max(rows, RATIO_ROWS), RATIO_ROWS_MAX))
        for label, (real, learned) in enumerate(zip(examples, samples, strict=True)):
            self._examples[label] = self._examples[label] * fading + real + (1 - fading)
            self._samples[label] = self._samples[label] * fading + learned + (1 - fading)

    def offset(self) -> tuple[float, ...]:
        """ln(multiplier of the class / multiplier of class 0) for classes 1..C-1: to be taken out of the logits."""
        ratios = [math.log(s / e) for s, e in zip(self._samples, self._examples, strict=True)]
        return tuple(ratio - ratios[0] for ratio in ratios[1:])

    def digest_state(self) -> object:
        """The decayed counts."""
        return [list(self._examples), list(self._samples)]


def make_base_rate(settings: CalibratorSettings, classes: int) -> BaseRate:
    """The decayed share of each class 1..C-1, before any example."""
    return BaseRate(settings.rate_decay, settings.base_rate, settings.base_weight, classes - 1)


def _column(trust: Trust, quick: Line, slow: Line, flat_logit: float) -> list[float]:
    """Slope and intercept of all versions together and of the line that remembers, the weight of the shape, then for
    each elbow its place and how much the two bend there. The mean of lines is a line.
    """
    *others, flat = trust.weights.tolist()
    flat = min(flat, FIRST_TRUST[-1])
    share = (1.0 - flat) / sum(others)
    raw, follows, straight, bent = (share * each for each in others)
    remembers = straight + bent
    slope = raw + follows * quick.slopes[0] + remembers * slow.slopes[0]
    intercept = follows * quick.intercept + remembers * slow.intercept + flat * flat_logit
    found = [slope, intercept, slow.slopes[0], slow.intercept, bent]
    for place, bend in slow.elbows():
        found += place, remembers * bend, bend
    return found


# Slope and intercept of all versions together and of the line that remembers, of one piece between their elbows.
_Piece = tuple[float, float, float, float]
# By tier: the elbows from below up and the pieces between them, the weight of the shape, and what it adds.
_OfTier = tuple[list[float], list[_Piece], float, Callable[[float], float]]


def _of_tier(
    curve: Callable[[float], float], slope: float, intercept: float, slow_slope: float, slow_intercept: float,
    bent: float, *elbows: float,
) -> _OfTier:  # fmt: skip
    """A column of a calibrator's tables, for single rows."""
    places, pieces = [], [(slope, intercept, slow_slope, slow_intercept)]
    for place, bend, slow_bend in _threes(elbows):
        slope, intercept = slope + bend, intercept - bend * place
        slow_slope, slow_intercept = slow_slope + slow_bend, slow_intercept - slow_bend * place
        places.append(place)
        pieces.append((slope, intercept, slow_slope, slow_intercept))
    return places[::-1], pieces[::-1], bent, curve


def _threes(flat: Sequence[Number]) -> Iterable[tuple[Number, Number, Number]]:
    """The place of each elbow, how much all versions together bend there, and the line that remembers."""
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


_Places = list[tuple[int, npt.NDArray[np.bool_] | slice]]


def _places_of(tiers: npt.NDArray[np.uint8]) -> _Places:
    """The tiers there are and where; all rows are mostly of one, and a slice is quicker than a mask."""
    masks = [(tier, tiers == tier) for tier in range(len(TIERS))]
    found = [(tier, mask) for tier, mask in masks if mask.any()]
    return found if len(found) > 1 else [(tier, slice(None)) for tier, _ in found]


class Calibrator:
    """Recursive calibration on real examples as they were scored: a line per tier, straightened, as far as trusted.

    Two classes: one map per tier. More: one per class (class 0 included) and tier, normalised to sum 1 under a factor
    for each class that keeps its mean at its rate. What a map says is the weighted mean of several log odds: as the
    model says, on a line that follows and on one with elbows that remembers, this one straightened, and the rate
    whatever the row; every map is monotone.
    Where the model abstained (NaN) the decayed base rate is served, and nothing is learned but that rate; not even that
    where `base_rate` is handed in: who has several calibrators of the same rows keeps it for all.

    >>> calibrator = Calibrator(CalibratorSettings())
    >>> calibrator.apply(np.array([[0.0], [np.nan]]), tiers=bytes([0, 1])).round(3).tolist()
    [[0.125], [0.02]]
    """

    def __init__(
        self, settings: CalibratorSettings, classes: int = 2, base_rate: BaseRate | None = None,
        first_trust: tuple[float, ...] = FIRST_TRUST,
    ) -> None:  # fmt: skip
        self.classes = classes
        rate = settings.base_rate / (classes - 1)
        rates = [rate] if classes == 2 else [1.0 - settings.base_rate, *[rate] * (classes - 1)]
        centres = [math.log(r / (1.0 - r)) for r in rates]
        precisions = settings.slope_precision, settings.shift_precision
        self._quick, self._slow = (
            [[Line(centre, memory(), *precisions, bends) for centre in centres] for _ in TIERS]
            for memory, bends in ((settings.quick_memory, ()), (settings.slow_memory, settings.bend_precisions()))
        )
        # The shape is the model's, whatever the tier; whether it helps is not.
        self._shapes = [Straightener(settings.shape_memory(), settings.shape_prior) for _ in centres]
        self._trusts = [[Trust(first_trust, LATER_TRUST, settings.trust_memory()) for _ in centres] for _ in TIERS]
        # Of each tier, where there are more than two classes.
        self._marginals = [Marginals(classes, settings.marginal_memory()) for _ in TIERS if classes > 2]
        self._rate = base_rate or make_base_rate(settings, classes)
        self._observes = base_rate is None
        self._flat = self._logits_of_rates()  # as the rates were when rows were folded in last
        self._waiting: list[tuple[Floats, bytes, Sequence[int]]] = []
        self._patience = Patience(settings.block_rows)
        self._table: Floats | None = None  # of the maps as they are; made when asked for
        self._floats: list[_OfTier] | None = None  # the same for single rows

    @overload
    def apply(self, logits: float, tiers: bytes) -> float: ...
    @overload
    def apply(self, logits: Floats, tiers: bytes) -> Floats: ...
    def apply(self, logits: float | Floats, tiers: bytes) -> float | Floats:
        """Served probabilities, (n, C-1), of logits of classes 1..C-1, each against the rest, (n, C-1). Of a float, an
        only row of two classes, it is a float.
        """
        if isinstance(logits, float):
            if logits != logits:  # noqa: PLR0124  # the model abstains
                return self._rate.rates[0]
            if self._floats is None:
                curve = self._shapes[0].curve()
                self._floats = [_of_tier(curve, *numbers) for numbers in self._tables()[:, :, 0].T.tolist()]
            elbows, pieces, bent, curve = self._floats[tiers[0]]
            slope, intercept, slow_slope, slow_intercept = pieces[bisect_right(elbows, logits)]
            return probability_of_one(slope * logits + intercept + bent * curve(slow_slope * logits + slow_intercept))
        at = np.frombuffer(tiers, dtype=np.uint8)
        found = self._mapped(self._columns(logits), at)
        if self.classes > 2:
            found = self._together(found, at)[:, 1:]
        absent = np.isnan(found[:, 0])
        if absent.any():
            found[absent] = self._rate.rates
        return found

    def _mapped(self, columns: Floats, at: npt.NDArray[np.uint8]) -> Floats:
        """Each map's probability by itself, (n, maps), of its logits, by tier."""
        slope, intercept, slow_slope, slow_intercept, bent, *elbows = self._tables()[:, at]
        served, lined = slope * columns + intercept, slow_slope * columns + slow_intercept
        for place, bend, slow_bend in _threes(elbows):
            below = np.minimum(columns - place, 0.0)
            served += bend * below
            lined += slow_bend * below
        for i, shape in enumerate(self._shapes):
            served[:, i] += bent[:, i] * shape.shift(lined[:, i])
        return _sigmoid(served)

    def _together(self, mapped: Floats, at: npt.NDArray[np.uint8]) -> Floats:
        """Of all classes, (n, C), summing to 1."""
        found: Floats = mapped * np.array([each.factors for each in self._marginals])[at]
        found /= found.sum(axis=1, keepdims=True)
        return found

    def _tables(self) -> Floats:
        if self._table is None:
            self._table = self._tabulated()
        return self._table

    def _tabulated(self) -> Floats:
        """(rows, tiers, maps), a column by `_column`."""
        flat = self._flat.tolist()
        found = [
            [_column(*each) for each in zip(trusts, quick, slow, flat, strict=True)]
            for trusts, quick, slow in zip(self._trusts, self._quick, self._slow, strict=True)
        ]
        return np.array(found).transpose(2, 0, 1)

    def _logits_of_rates(self) -> Floats:
        """Log odds of each map's class whatever the row, (maps,)."""
        rates = np.array(self._rate.rates)
        return logits(rates if self.classes == 2 else np.append(max(1.0 - rates.sum(), 0.0), rates))

    def __getstate__(self) -> dict[str, Any]:
        """Without what follows from the rest."""
        return self.__dict__ | {"_table": None, "_floats": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_table": None, "_floats": None})

    def _columns(self, logits: Floats) -> Floats:
        """(n, 1) as it is; for more classes (n, C) with class 0's logit in front."""
        if self.classes == 2:
            return logits
        rest = np.minimum(np.maximum(1.0 - _sigmoid(logits).sum(axis=1, keepdims=True), 1e-7), 1 - 1e-7)
        return np.concatenate([np.log(rest / (1 - rest)), logits], axis=1)

    def learn_many(
        self, scores: Floats, tiers: bytes, labels: Sequence[int],
        logits_of: Callable[[Floats, bytes], Floats] | None = None,
    ) -> None:  # fmt: skip
        """A matured search: logits, (n, C-1), or scores that `logits_of` (given their tiers too) turns into logits when
        they are folded in.

        Folded in once `block_rows` have come together (at first fewer), with one step a tier.
        """
        if self._observes:
            self._rate.observe_all(labels)
        self._waiting.append((scores, tiers, labels))
        if self._patience.has_enough(labels):
            self._fold(logits_of)

    def _fold(self, logits_of: Callable[[Floats, bytes], Floats] | None) -> None:
        scores, tiers = np.concatenate([each[0] for each in self._waiting]), b"".join(each[1] for each in self._waiting)
        columns = self._columns(scores if logits_of is None else logits_of(scores, tiers))
        at = np.frombuffer(tiers, dtype=np.uint8)
        outcomes = np.array([label for each in self._waiting for label in each[2]])
        known = ~np.isnan(columns[:, 0])
        if not known.all():
            columns, at, outcomes = columns[known], at[known], outcomes[known]
        places = _places_of(at)
        if self._marginals and len(outcomes):
            self._learn_marginals(columns, at, places, outcomes)
        self._waiting, self._table, self._floats = [], None, None
        if len(outcomes):
            for i in range(columns.shape[1]):
                self._learn_map(i, columns[:, i], places, outcomes == (i if self.classes > 2 else 1))
        self._flat = self._logits_of_rates()

    def _learn_marginals(
        self, columns: Floats, at: npt.NDArray[np.uint8], places: _Places, outcomes: npt.NDArray[np.intp]
    ) -> None:
        said = self._together(self._mapped(columns, at), at)
        for tier, mine in places:
            self._marginals[tier].learn(said[mine], outcomes[mine])

    def _learn_map(self, i: int, logits: Floats, places: _Places, outcomes: npt.NDArray[np.bool_]) -> None:
        """The versions are weighed as they are before they learn these rows."""
        versions = np.empty((len(FIRST_TRUST), len(logits)))
        versions[0] = logits
        for tier, mine in places:
            versions[1, mine] = self._quick[tier][i].apply(logits[mine])
            versions[2, mine] = self._slow[tier][i].apply(logits[mine])
        slow = versions[2]
        np.add(slow, self._shapes[i].shift(slow), out=versions[3])
        versions[4] = self._flat[i]
        self._shapes[i].learn(slow, outcomes)
        for tier, mine in places:
            self._trusts[tier][i].learn(versions[:, mine], outcomes[mine])
            for lines in (self._quick, self._slow):
                lines[tier][i].learn_many(logits[mine], outcomes[mine])

    def begin_anew(self, rows: int) -> None:
        """The rates have changed so many rows ago: what is older is soon forgotten, and what comes now too.

        Learners that have not followed yet say far too much or too little, and follow soon: what puts that right is
        wrong as soon, for as long as it is remembered.
        """
        for lines in (*self._quick, *self._slow):
            for line in lines:
                line.memory.begin_anew(rows)
        for trusts in self._trusts:
            for trust in trusts:
                trust.begin_anew()
        for shape in self._shapes:
            shape.begin_anew(rows)
        for marginals in self._marginals:
            marginals.begin_anew(rows)
        self._table, self._floats = None, None

    def parameters(self) -> list[list[tuple[float, float]]]:
        """By tier and map: slope and intercept of the line that follows."""
        return [[(line.slopes[0], line.intercept) for line in lines] for lines in self._quick]

    def base_rates(self) -> list[float]:
        """Decayed share of each class 1..C-1."""
        return list(self._rate.rates)

    def digest_state(self) -> object:
        """All parameters and rates."""
        waiting = [list(each) for each in self._waiting]
        return [
            self._rate.state(),
            [[[line.state() for line in lines] for lines in each] for each in (self._quick, self._slow)],
            [shape.state() for shape in self._shapes],
            [[trust.state() for trust in trusts] for trusts in self._trusts], self._flat, waiting,
            [each.state() for each in self._marginals],
        ]  # fmt: skip


def make_last(settings: CalibratorSettings, classes: int = 2, base_rate: BaseRate | None = None) -> Calibrator:
    """The calibrator of what several arms say together. It begins without the rate: while nothing is known each of them
    is drawn to the rate by its own already.
    """
    return Calibrator(settings, classes, base_rate, LATER_TRUST)

"""Strata: each class of each tier has its own keep rate, copies and offset; few rows of a tier fall back to all."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.stratified import Stratified
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Arrivals, Columns, Samples
from stream_balance.core.window import Window, WindowSettings
from tests.contract.streams import core, pushed, shop

RATES = (0.1, 0.02)  # of outcomes, in the head and in the tail
NAMES = ["random_over", "random_under", "smote_under", "hard_mining", "oob", "neighbour_under", "class_weight"]


def columns() -> Columns:
    found = Columns()
    for name in "xyz":
        found.add(name)
    return found


class Cells:
    """A strategy over a stream of two tiers, and what it drew."""

    def __init__(self, name: str, *, by_tier: bool = True, tail: float = 0.4, seed: int = 0) -> None:
        self.rng, self.chance = np.random.default_rng(seed), Random(seed)
        self.rates, self.tiers = Rates(RateSettings()), [Rates(RateSettings()) for _ in range(2)]
        settings = BalanceSettings(strategy=name)
        self.strategy = make_strategy(settings, self.rates, self.tiers if by_tier else (), weighs=True)
        self.window, self.columns, self.tail = Window(WindowSettings()), columns(), tail
        self.drawn: list[Samples] = []

    def run(self, searches: int) -> Counter[tuple[int, int]]:
        """Weight learned, by tier and class, of the second half."""
        counted: Counter[tuple[int, int]] = Counter()
        for step in range(searches):
            at = (self.rng.random(20) < self.tail).astype(np.uint8)
            labels = (self.rng.random(20) < np.array(RATES)[at]).astype(int)
            values = self.rng.normal(size=(20, 3)) + labels[:, None]
            probability = np.array(RATES)[at][:, None]
            arrivals = Arrivals(values, labels.tolist(), at.tobytes(), probability)
            samples = self.strategy.draw(arrivals, self.window, self.columns, self.chance)
            if samples is not None:
                self.drawn.append(samples)
                weights = samples.weights or [1.0] * len(samples)
                rows = zip(samples.tiers, samples.labels, samples.times, weights, strict=True)
                for tier, label, times, weight in rows if step >= searches // 2 else ():
                    counted[tier, label] += times * weight  # type: ignore[assignment]
            self.window.add_many(values, labels.tolist(), at.tobytes(), step)
            self.rates.observe_many(labels.tolist())
            for tier, rates in enumerate(self.tiers):
                rates.observe_many(labels[at == tier].tolist())
        return counted


@pytest.mark.parametrize("name", NAMES)
def test_each_tier_comes_to_the_target_and_its_offsets_say_how(name: str) -> None:
    cells = Cells(name)
    counted = cells.run(600)
    assert isinstance(cells.strategy, Stratified)
    for tier in range(2):
        share = counted[tier, 1] / (counted[tier, 0] + counted[tier, 1])
        assert share == pytest.approx(0.2, abs=0.05)
        m0, m1 = cells.strategy.parts()[tier].multipliers()
        needed = 0.25 * (1 - RATES[tier]) / RATES[tier]
        assert m1 / m0 == pytest.approx(needed, rel=0.4)
        if name not in ("hard_mining", "neighbour_under"):  # which say what became of a row, not of its class
            mine = {
                offset for offset, at in zip(cells.drawn[-1].offsets, cells.drawn[-1].tiers, strict=True) if at == tier
            }
            assert all(offset[0] == pytest.approx(math.log(m1 / m0), abs=0.3) for offset in mine)
    assert cells.strategy.target_share_after_clamps() == pytest.approx(0.2, abs=0.02)
    head, tail = (each.multipliers()[1] for each in cells.strategy.parts())
    shown = cells.strategy.multipliers()[1]
    assert shown == pytest.approx(0.6 * head + 0.4 * tail, abs=0.05 * abs(tail - head)), "by the tail's share, .4"


def test_without_strata_the_tail_gets_less_than_the_target() -> None:
    counted = Cells("random_under", by_tier=False).run(400)
    shares = [counted[tier, 1] / (counted[tier, 0] + counted[tier, 1]) for tier in range(2)]
    assert shares[1] < 0.1
    assert shares[0] > 0.2


def test_a_tier_with_few_rows_of_a_class_goes_by_all_tiers() -> None:
    cells = Cells("random_under", tail=0.01)
    cells.run(300)  # some 60 rows of the tail, with one outcome or two
    assert isinstance(cells.strategy, Stratified)
    head, tail = cells.strategy.cells
    assert head.enough
    assert not tail.enough
    assert tail.shares() == cells.rates.shares() != head.shares()
    one = Arrivals(np.zeros((1, 3)), [1], b"\1", np.full((1, 1), 0.1))
    samples = cells.strategy.draw(one, cells.window, cells.columns, Random(1))
    assert samples is not None
    assert samples.tiers == b"\1"


def test_the_rows_beside_a_row_are_of_its_tier() -> None:
    cells = Cells("smote")
    cells.run(60)
    for samples in cells.drawn:
        assert len(samples.tiers) == len(samples.labels)
        assert len(samples.unrolled().tiers) == sum(samples.times)
    made = [s for s in cells.drawn if any(s.origins)]
    assert made


@pytest.mark.parametrize("model", ["logistic", "naive_bayes"])
def test_a_pipeline_with_strata_is_honest_in_each_tier_and_goes_on_from_a_pickle(model: str) -> None:
    events = shop(700, seed=5, rate=0.08, signal=1.0)
    rooms: dict[str, Any] = {
        "balance": {"strategy": "smote_under", "by_tier": True}, "model": {"name": model},
        "arms": {"references": False}, "tiers": {"first": 100, "every": 100},
    }  # fmt: skip
    pipeline = Pipeline(core(**rooms), 7, ("none", "bought"))
    pushed(pipeline, events[:300])
    again: Pipeline = pickle.loads(pickle.dumps(pipeline))
    for each in (pipeline, again):
        pushed(each, events[300:])
        each.run_out()
    assert again.state_digest() == pipeline.state_digest()
    for tier in ("head", "tail"):
        scope = getattr(pipeline.report().metrics.tiers, tier)
        assert scope.positives > 30
        assert 0.7 < scope.mean_probability_over_rate < 1.35  # of some 90 outcomes; over six seeds .74 to 1.05

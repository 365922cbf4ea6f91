"""The pool of releases: rows in their turn, one release a class, none too old; and what the strategy makes of it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.generated import Generated
from stream_balance.core.pool import Pool
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import ORIGINS, Columns
from stream_balance.core.synthesis import Quality, Release, Vetting
from stream_balance.core.window import Window, WindowSettings
from stream_balance.testing import make_arrivals

QUALITY = Quality(0.6, 0.9, 0.5, 0.0, 0.0, 0.1, 0.2, 0.1)
GENERATED = ORIGINS.index("generated")


def release(rows: int = 4, share: float = 0.1, label: int = 1, width: int = 2) -> Release:
    values = np.arange(rows * width, dtype=float).reshape(rows, width)
    return Release(label, values, Vetting("gan", "helps", "gain", share, QUALITY, ()))


def test_rows_come_in_turn_each_as_often() -> None:
    pool = Pool(60.0)
    pool.adopt(release(3), 0)
    drawn = np.vstack([pool.draw(1, wanted, 2) for wanted in (2, 2, 5)])
    assert drawn[:, 0].tolist() == [0, 2, 4] * 3


def test_a_class_without_release_has_no_rows() -> None:
    pool = Pool(60.0)
    pool.adopt(release(), 0)
    assert pool.draw(2, 5, 2).shape == (0, 2)
    assert pool.shares() == {1: 0.1}


@pytest.mark.parametrize(("width", "expected"), [(1, [0.0]), (2, [0.0, 1.0]), (3, [0.0, 1.0, np.nan])])
def test_rows_have_the_width_that_is_asked_for_and_lack_new_columns(width: int, expected: list[float]) -> None:
    pool = Pool(60.0)
    pool.adopt(release(), 0)
    np.testing.assert_array_equal(pool.draw(1, 1, width), [expected])


def test_a_release_too_old_leaves_and_is_counted() -> None:
    pool = Pool(60.0)
    pool.adopt(release(), 0)
    pool.expire(60_000_000)
    assert pool.release(1) is not None
    pool.expire(60_000_001)
    assert pool.release(1) is None
    assert (pool.expired, len(pool.draw(1, 3, 2))) == (1, 0)


def test_a_newer_release_takes_the_place_of_the_one_before() -> None:
    pool = Pool(60.0)
    pool.adopt(release(4), 0)
    pool.draw(1, 3, 2)
    pool.adopt(release(2, share=0.2), 50_000_000)
    assert pool.draw(1, 3, 2)[:, 0].tolist() == [0, 2, 0]
    figures = pool.metrics(55_000_000, ("none", "bought"))["bought"]
    assert (figures.rows, figures.share, figures.age_s, figures.drawn) == (2, 0.2, 5.0, 3)


def learned(share: float, target: float = 0.5, searches: int = 400) -> np.ndarray:
    """Samples by origin of a strategy `gan` with a release of that share, at 5 % positives."""
    rates = Rates(RateSettings(block_rows=1_000, warm_start_weight=1e-9), classes=2)
    rates.observe_many([0] * 950 + [1] * 50)
    strategy = make_strategy(BalanceSettings(strategy="gan", target_share=target), rates)
    assert isinstance(strategy, Generated)
    strategy.pool = Pool(60.0)
    strategy.pool.adopt(release(50, share), 0)
    chance, rng, columns, window = np.random.default_rng(3), Random(3), Columns(), Window(WindowSettings())
    columns.add("a"), columns.add("b")
    counts = np.zeros(len(ORIGINS))
    for _ in range(searches):
        labels = (chance.random(20) < 0.05).astype(int).tolist()
        samples = strategy.draw(make_arrivals(np.full((20, 2), -1.0), labels), window, columns, rng)
        if samples is not None:
            np.add.at(counts, list(samples.origins), samples.times)
            assert {samples.labels[i] for i, origin in enumerate(samples.origins) if origin == GENERATED} <= {1}
    return counts


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_generated_rows_have_the_share_that_vetting_chose_and_the_target_stays(share: float) -> None:
    counts = learned(share)
    assert share * 0.9 < counts[GENERATED] / counts.sum() <= share
    assert counts.sum() == pytest.approx(learned(0.0).sum(), rel=0.02)
    assert counts[ORIGINS.index("copied")] > 0


def test_where_the_target_asks_for_less_the_share_is_not_reached() -> None:
    counts = learned(0.2, target=0.1)
    assert 0 < counts[GENERATED] / counts.sum() < 0.1
    assert counts[ORIGINS.index("copied")] < 0.02 * counts.sum()


def test_a_share_of_nothing_gives_no_rows() -> None:
    assert learned(0.0)[GENERATED] == 0

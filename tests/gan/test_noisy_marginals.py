"""Noisy marginals: one row changes no chance by more than its epsilon; little noise gives the marginals back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.gan.noisy_marginals import Grid, noisy_rows, stretches
from stream_balance.gan.quality import marginal_distances
from tests.gan.tables import NOMINAL, Floats, mixed

GRID = Grid.make()
SMALL = Grid(np.array([-np.inf, -2.0, -1.0, 0.0, 1.0, 2.0]), np.array([0.0, 3.0, 4.0, 6.0, 9.0, 10.0, 11.0]))


def log_chances(part: np.ndarray, epsilon: float) -> Floats:
    """Of every place of the small grid to be the noisy median."""
    starts, ends, _, worth = stretches(np.sort(part), SMALL, 0, 5)
    weights = np.repeat(worth, ends - starts) * epsilon + np.log(np.diff(SMALL.mass))
    found: Floats = weights - np.logaddexp.reduce(weights)
    return found


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 5), st.integers(1, 30))
def test_one_row_more_changes_no_chance_of_a_median_by_more_than_epsilon(
    part: list[int], more: int, tenths: int
) -> None:
    epsilon = tenths / 10
    before = log_chances(np.array(part, dtype=np.int64), epsilon)
    ratio = log_chances(np.array([*part, more], dtype=np.int64), epsilon) - before
    # A bounded range is what its share of rho is reckoned by: Cesar and Rogers, "Bounding, concentrating, truncating".
    assert ratio.max() - ratio.min() <= epsilon + 1e-9


def test_the_grid_has_four_digits() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=5_000) * 10.0 ** rng.uniform(-7, 8, 5_000)
    assert np.allclose(GRID.values[GRID.places(values)], values, rtol=6e-4, atol=1e-8)


def test_the_grid_ascends_and_an_absent_value_is_its_lowest() -> None:
    assert (np.diff(GRID.values) > 0).all()
    assert (np.diff(GRID.mass) > 0).all()
    assert GRID.places(np.array([np.nan, 0.0, 1.0, 12.5, -3e9, np.inf, 1e-12])).tolist()[0] == 0
    assert GRID.values[GRID.places(np.array([0.0, 1.0, 12.5, 1e-12]))].tolist() == [0.0, 1.0, 12.5, 0.0]


def test_with_hardly_any_noise_the_marginals_are_those_of_the_rows() -> None:
    rows = mixed(2_000, 3)
    made = noisy_rows(rows, mixed(500, 4), NOMINAL, 1e6, np.random.default_rng(0))
    assert made.shape == rows.shape
    assert max(marginal_distances(made, rows, NOMINAL)) < 0.06
    # Prices have cents, absent values are as many, and zeros.
    assert np.nanmean(made[:, 3] == 0.0) == pytest.approx(np.nanmean(rows[:, 3] == 0.0), abs=0.02)
    assert np.isnan(made[:, 3]).mean() == pytest.approx(np.isnan(rows[:, 3]).mean(), abs=0.02)


def test_more_noise_means_other_marginals_and_no_column_depends_on_another() -> None:
    rows, distances = mixed(1_000, 3), []
    for rho in (10.0, 0.1, 0.001):
        made = noisy_rows(rows, mixed(500, 4), NOMINAL, rho, np.random.default_rng(0))
        distances.append(np.mean(marginal_distances(made, rows, NOMINAL)))
    assert distances == sorted(distances)


def test_a_level_that_one_row_has_is_not_told() -> None:
    rows = np.column_stack([np.repeat([0.0, 1.0], [150, 150]), np.arange(300) % 7.0])
    rows[0, 0] = 9.0
    others = np.column_stack([np.arange(300) % 10.0, np.arange(300) % 7.0])
    levels = [set(noisy_rows(rows, others, (0,), 0.5, np.random.default_rng(seed))[:, 0]) for seed in range(50)]
    assert not [each for each in levels if 9.0 in each]

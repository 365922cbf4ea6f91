"""Copula: marginals and dependence of mixed columns, from a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from stream_balance.gan.copula import Copula
from stream_balance.gan.table import Table, layout_of
from tests.gan.tables import NOMINAL, mixed


def copula_of(rows: np.ndarray, nominal: tuple[int, ...] = ()) -> Copula:
    return Copula(rows, Table(rows, layout_of(rows, nominal, levels_max=20, level_rows_min=2)))


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.5, 0.8])
@pytest.mark.parametrize("cut", ["neither", "one", "both"])
def test_cut_columns_are_as_dependent_in_made_rows_as_in_real_ones(correlation: float, cut: str) -> None:
    rng = np.random.default_rng(1)
    rows = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=4_000)
    if cut != "neither":
        rows[:, 1] = rows[:, 1] > 0.5
    if cut == "both":
        rows[:, 0] = np.digitize(rows[:, 0], [-0.5, 0.5])
    made = copula_of(rows).rows(20_000, rng)
    assert np.corrcoef(made.T)[0, 1] == pytest.approx(np.corrcoef(rows.T)[0, 1], abs=0.05)


def test_a_nominal_column_keeps_its_shares_and_its_tie_to_a_number() -> None:
    rows, rng = mixed(3_000, 0), np.random.default_rng(0)
    made = copula_of(rows, NOMINAL).rows(10_000, rng)
    assert made[:, 4].mean() == pytest.approx(rows[:, 4].mean(), abs=0.02)
    gap = [each[each[:, 4] == 1, 0].mean() - each[each[:, 4] == 0, 0].mean() for each in (rows, made)]
    assert gap[1] == pytest.approx(gap[0], abs=0.25)


def test_columns_that_repeat_each_other_are_no_trouble() -> None:
    x = np.random.default_rng(0).normal(size=(200, 1))
    made = copula_of(np.hstack([x, x, -x, 2 * x])).rows(500, np.random.default_rng(1))
    assert np.abs(np.corrcoef(made.T)).min() > 0.97


def test_the_same_seed_makes_the_same_rows() -> None:
    one, two, other = (copula_of(mixed(200, 0), NOMINAL).rows(50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.tobytes() == two.tobytes() != other.tobytes()

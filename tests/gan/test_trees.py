"""Trees: what a copula cannot hold, as likely in made rows as in real ones, for few rows and absences too."""

from __future__ import annotations

import numpy as np
import pytest

from stream_balance.gan.copula import Copula
from stream_balance.gan.quality import c2st, dcr_share, encoded
from stream_balance.gan.table import Table, layout_of
from stream_balance.gan.trees import Trees
from tests.gan.tables import NOMINAL, mixed

SEEDS = range(3)


def table_of(rows: np.ndarray) -> Table:
    return Table(rows, layout_of(rows, NOMINAL, levels_max=20, level_rows_min=2))


def made_of(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return Trees(rows, table_of(rows), rng).rows(count, rng)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_bends_and_comes_in_kinds_is_told_from_real_rows_less_than_the_copulas(seed: int) -> None:
    rows, fresh = mixed(600, seed), mixed(600, seed + 100)
    copulas = Copula(rows, table_of(rows)).rows(600, np.random.default_rng(seed))
    assert c2st(made_of(rows, 600, seed), fresh, seed) < c2st(copulas, fresh, seed) - 0.1


def test_each_column_has_the_marginals_of_its_rows() -> None:
    rows = mixed(1_000, 0)
    made = made_of(rows, 4_000, 0)
    assert np.isnan(made[:, 3]).mean() == pytest.approx(np.isnan(rows[:, 3]).mean(), abs=0.03)
    assert (made[:, 3] == 0).mean() == pytest.approx((rows[:, 3] == 0).mean(), abs=0.04)
    for level in range(12):
        assert (made[:, 5] == level).mean() == pytest.approx((rows[:, 5] == level).mean(), abs=0.03)
    for share in (0.1, 0.5, 0.9):
        places = [(each[:, 0] < np.quantile(rows[:, 0], share)).mean() for each in (rows, made)]
        assert places[1] == pytest.approx(places[0], abs=0.04)


def test_made_rows_are_no_copies_of_those_learned() -> None:
    shares = []
    for seed in SEEDS:
        rows, fresh, made = mixed(600, seed), mixed(600, seed + 100), made_of(mixed(600, seed), 600, seed)
        shares.append(dcr_share(*(encoded(each, table_of(rows)) for each in (made, rows, fresh))))
    assert np.mean(shares) < 0.65


@pytest.mark.parametrize("n", [2, 30, 150])
def test_few_rows_are_no_trouble(n: int) -> None:
    rows = mixed(n, 4)
    rows[0, :2] = rows[1, :2] + 1.0  # so that these vary
    assert made_of(rows, 50, 0).shape == (50, 6)


@pytest.mark.parametrize("columns", ["numeric", "nominal", "many"])
def test_columns_of_one_kind_and_many_of_them_are_no_trouble(columns: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (200, 3)).astype(np.float64) if columns == "nominal" else rng.normal(size=(200, 3))
    rows = np.hstack([rows, rows + 0.1, rows - 0.1]) if columns == "many" else rows
    nominal = (0, 1, 2) if columns == "nominal" else ()
    table = Table(rows, layout_of(rows, nominal, levels_max=20, level_rows_min=2))
    made = Trees(rows, table, rng).rows(300, rng)
    assert made.shape == (300, rows.shape[1])
    if columns == "many":
        assert np.abs(np.corrcoef(made[:, [0, 3, 6]].T)).min() > 0.8


def test_the_same_seed_makes_the_same_rows() -> None:
    one, two, other = (made_of(mixed(200, 0), 50, seed) for seed in (3, 3, 4))
    assert one.tobytes() == two.tobytes() != other.tobytes()

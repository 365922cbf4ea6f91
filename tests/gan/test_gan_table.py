"""Table: what is encoded comes back; ties, absences and rare levels keep their shares."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest

from stream_balance.gan.table import Layout, Table, layout_of
from tests.gan.tables import NOMINAL, mixed

VALUES = st.one_of(st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), st.sampled_from([0.0, 1.0, float("nan")]))


@settings(deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 4)), elements=VALUES))
def test_rows_come_back_from_their_encoding(rows: np.ndarray) -> None:
    nominal = [0] if np.isin(rows[:, 0], [0.0, 1.0]).all() else []
    table = Table(rows, layout_of(rows, nominal, levels_max=9, level_rows_min=1))
    back = table.decode(*table.middle(rows), np.random.default_rng(0))
    # A value that is alone lies on a straight line between its neighbours, so it comes back up to rounding.
    np.testing.assert_allclose(back, rows, rtol=1e-9, atol=1e-6)


def test_every_numeric_column_is_learned_as_a_normal_one() -> None:
    rows = mixed(2_000, 1)
    scores, _ = Table(rows, layout_of(rows, NOMINAL, levels_max=20, level_rows_min=5)).scores(
        rows, np.random.default_rng(0)
    )
    assert [kstest(column, "norm").pvalue > 0.05 for column in scores.T] == [True] * 4


def test_decoded_chance_has_the_marginals_of_the_rows() -> None:
    rows, rng = mixed(2_000, 1), np.random.default_rng(0)
    table = Table(rows, layout_of(rows, NOMINAL, levels_max=3, level_rows_min=5))
    slots = np.column_stack([rng.choice(len(f), 20_000, p=f) for f in table.frequencies])
    made = table.decode(rng.normal(size=(20_000, 4)), slots, rng)
    for share in (np.isnan, lambda v: v == 0.0, lambda v: v > 2.0):
        np.testing.assert_allclose(share(made[:, 3]).mean(), share(rows[:, 3]).mean(), atol=0.015)
    assert np.array_equal(np.round(made[:, 2], 2), made[:, 2])  # prices are made in cents
    assert made[:, 2].min() >= rows[:, 2].min()
    assert made[:, 2].max() <= rows[:, 2].max()
    levels = [np.bincount(each[:, 5].astype(int), minlength=12) / len(each) for each in (rows, made)]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.015)  # nine rare levels came from one shared slot


def test_levels_that_are_new_share_the_slot_of_the_rare() -> None:
    rows = np.array([[0.0], [0.0], [1.0], [1.0], [2.0]])
    table = Table(rows, layout_of(rows, [0], levels_max=9, level_rows_min=2))
    assert table.slots(np.array([[0.0], [1.0], [2.0], [7.0], [np.nan]])).ravel().tolist() == [0, 1, 2, 2, 2]
    assert table.decode(np.empty((3, 0)), np.array([[0], [1], [2]]), np.random.default_rng(0)).ravel().tolist() == [
        0.0, 1.0, 2.0,
    ]  # fmt: skip


def test_constant_columns_stay_out_of_the_layout_and_come_back() -> None:
    rows = np.array([[5.0, np.nan, 1.0], [5.0, np.nan, 2.0]])
    layout = layout_of(rows, [1], levels_max=9, level_rows_min=1)
    assert layout == Layout(3, (2,), (), ())
    made = Table(rows, layout).decode(np.zeros((1, 1)), np.empty((1, 0), dtype=np.int64), np.random.default_rng(0))
    assert made[0, 0] == 5.0
    assert np.isnan(made[0, 1])


def test_a_layout_survives_being_written() -> None:
    rows = mixed(100, 0)
    layout = layout_of(rows, NOMINAL, levels_max=4, level_rows_min=2)
    assert Layout.from_plain(layout.as_plain()) == layout
    assert layout.size == 4 + 3 + 5

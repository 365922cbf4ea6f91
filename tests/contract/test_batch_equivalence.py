"""On a frozen window the strategies find what imbalanced-learn finds on the same table: rows in danger, weights, rows
that are cleaned or kept, segments on which new rows lie. Both see columns of variance 1, so that distances agree.
Seen with imbalanced-learn 0.14.2 (any from 0.13 on is taken); NearMiss in its versions 1 and 2.
"""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from imblearn.over_sampling import ADASYN, SMOTENC, BorderlineSMOTE
from imblearn.under_sampling import EditedNearestNeighbours, NearMiss, TomekLinks
from sklearn.neighbors import NearestNeighbors

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.over import Hardest
from stream_balance.core.balance.reference import Reference
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Columns, Floats
from stream_balance.core.window import Window, WindowSettings
from stream_balance.testing import Sample, each_of, make_arrivals

ROWS, WIDTH = 600, 4
SEEDS = range(3)
Labels = npt.NDArray[np.int64]


def table_of(seed: int, classes: int = 2) -> tuple[Floats, Labels]:
    """Rows whose classes overlap, every column with mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    shares = [0.85, 0.15] if classes == 2 else [0.75, 0.15, 0.1]
    labels = rng.choice(classes, size=ROWS, p=shares)
    rows = rng.normal(size=(ROWS, WIDTH)) + 1.2 * labels[:, None]
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), labels


def numeric() -> Columns:
    columns = Columns()
    for i in range(WIDTH):
        columns.add(f"x{i}")
    return columns


def frozen(rows: Floats, labels: Labels) -> Window:
    window = Window(WindowSettings())
    for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        window.add(row, label, 0, i)
    return window


def drawn(name: str, rows: Floats, labels: Labels, seed: int, **settings: object) -> list[Sample]:
    """The whole table arrives at once, before a window that holds it."""
    rates = Rates(RateSettings(block_rows=ROWS, warm_start_weight=1e-9), classes=int(labels.max()) + 1)
    rates.observe_many(labels.tolist())
    chosen = {"strategy": name, "mixed_rows_max": ROWS, "neighbour_rows_max": ROWS, **settings}
    strategy = make_strategy(BalanceSettings.model_validate(chosen), rates)
    arrivals = make_arrivals(rows, labels.tolist())
    return each_of(strategy.draw(arrivals, frozen(rows, labels), numeric(), Random(seed)))


def lines(rows: Floats) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(rows)}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_of_all_classes_are_the_nearest(seed: int, classes: int) -> None:
    rows, labels = table_of(seed, classes)
    places, squares = Reference(rows, labels, numeric()).nearest(rows, 7)
    distances, expected = NearestNeighbors(n_neighbors=8).fit(rows).kneighbors(rows)
    np.testing.assert_array_equal(places, expected[:, 1:])
    np.testing.assert_allclose(np.sqrt(squares), distances[:, 1:], atol=1e-7)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "oracle"), [("neighbour_under", EditedNearestNeighbours(kind_sel="all")), ("tomek", TomekLinks())]
)
def test_cleaning_drops_the_same_rows(name: str, oracle: object, seed: int, classes: int) -> None:
    rows, labels = table_of(seed, classes)
    kept = lines(oracle.fit_resample(rows, labels)[0])  # type: ignore[attr-defined]
    assert len(kept) < ROWS
    assert lines(np.array([s.row for s in drawn(name, rows, labels, seed, target_share=0.01)])) == kept


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_near_miss_keeps_the_same_rows(seed: int, version: int) -> None:
    rows, labels = table_of(seed)
    oracle = NearMiss(version=version, n_neighbors=5)
    kept = lines(oracle.fit_resample(rows, labels)[0])
    found = drawn("near_miss", rows, labels, seed, target_share=0.5, near_miss_version=version)
    assert lines(np.array([s.row for s in found])) == kept


def hardness_of(name: str, rows: Floats, labels: Labels, label: int) -> Floats:
    strategy = make_strategy(BalanceSettings(strategy=name), Rates(RateSettings(), classes=int(labels.max()) + 1))
    assert isinstance(strategy, Hardest)
    return strategy.hardness(rows[labels == label], label, Reference(rows, labels, numeric()))


@pytest.mark.parametrize("name", ["borderline_smote", "borderline_smote_2"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_rows_are_in_danger(seed: int, name: str) -> None:
    rows, labels = table_of(seed, 3)
    oracle = BorderlineSMOTE(random_state=0)
    oracle.fit_resample(rows, labels)
    for label, expected in oracle.in_danger_indices.items():
        danger = np.flatnonzero(labels == label)[hardness_of(name, rows, labels, label) > 0]
        np.testing.assert_array_equal(danger, expected)
        assert 0 < len(danger) < (labels == label).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_adasyn_adds_as_much_beside_each_row(seed: int) -> None:
    rows, labels = table_of(seed)
    oracle = ADASYN(random_state=0)
    oracle.fit_resample(rows, labels)
    near = oracle.nn_.fit(rows).kneighbors(rows[labels == 1], return_distance=False)[:, 1:]
    expected = (labels[near] != 1).mean(axis=1)
    np.testing.assert_allclose(hardness_of("adasyn", rows, labels, 1), expected)
    # Over many draws each row's new rows have the share that its weight says.
    beside = np.zeros(len(expected))
    for turn in range(40):
        at = -1
        for sample in drawn("adasyn", rows, labels, 1_000 * seed + turn, target_share=0.5):
            if sample.label == 1:
                at += sample.origin == "observed"
                beside[at] += sample.origin == "interpolated"
    assert np.abs(beside / beside.sum() - expected / expected.sum()).max() < 0.004
    assert (beside[expected == 0] == 0).all()


@pytest.mark.parametrize(
    "name",
    [
        "smote", "smote_under", "borderline_smote", "adasyn", "adasyn_under", "borderline_under", "smote_enn",
        "smote_tomek",
    ],
)  # fmt: skip
def test_new_rows_lie_between_two_rows_of_their_class(name: str) -> None:
    rows, labels = table_of(1)
    own = rows[labels == 1]
    near = NearestNeighbors(n_neighbors=6).fit(own / own.std(axis=0)).kneighbors(return_distance=False)[:, :5]
    base = np.repeat(own, 5, axis=0)
    step = own[near].reshape(-1, WIDTH) - base
    new = [s.row for s in drawn(name, rows, labels, 1, target_share=0.5) if s.origin == "interpolated"]
    assert len(new) > 30
    for row in new:
        gap = ((row - base) * step).sum(axis=1) / (step * step).sum(axis=1)
        apart = np.abs(base + gap[:, None] * step - row).max(axis=1)
        assert ((apart < 1e-9) & (gap >= 0) & (gap <= 1)).any()


def test_borderline_2_goes_less_than_half_of_the_way_towards_others() -> None:
    rows, labels = table_of(2)
    near = NearestNeighbors(n_neighbors=6).fit(rows).kneighbors(rows, return_distance=False)[:, 1:]
    mine = np.flatnonzero(labels == 1)
    base = np.repeat(rows[mine], 5, axis=0)
    ends = near[mine].ravel()
    step, reach = rows[ends] - base, np.where(labels[ends] == 1, 1.0, 0.5)
    new = [s.row for s in drawn("borderline_smote_2", rows, labels, 1, target_share=0.5) if s.origin == "interpolated"]
    towards_others = 0
    for row in new:
        gap = ((row - base) * step).sum(axis=1) / (step * step).sum(axis=1)
        apart = np.abs(base + gap[:, None] * step - row).max(axis=1)
        fits = (apart < 1e-9) & (gap >= 0) & (gap <= reach)
        assert fits.any()
        towards_others += bool((fits & (reach < 1)).any())
    assert 0 < towards_others < len(new)


def test_levels_are_those_of_smote_nc() -> None:
    """The level of a new row is the commonest among the neighbours, in both."""
    rng = np.random.default_rng(5)
    rows, labels = table_of(5)
    rows[:, -1] = np.where(labels == 1, 2.0, rng.integers(0, 2, ROWS))  # the rare class has one level
    columns = Columns()
    for i in range(WIDTH):
        columns.add(f"x{i}", nominal=i == WIDTH - 1)
    made, of = SMOTENC([WIDTH - 1], random_state=0).fit_resample(rows, labels)
    assert set(made[ROWS:][of[ROWS:] == 1][:, -1].tolist()) == {2.0}
    rates = Rates(RateSettings(block_rows=ROWS), classes=2)
    rates.observe_many(labels.tolist())
    strategy = make_strategy(BalanceSettings(strategy="smote", target_share=0.5), rates)
    arrivals = make_arrivals(rows, labels.tolist())
    new = each_of(strategy.draw(arrivals, frozen(rows, labels), columns, Random(0)))
    assert {s.row[-1] for s in new if s.origin == "interpolated"} == {2.0}

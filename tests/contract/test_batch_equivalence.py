"""On a frozen window the strategies find what imbalanced-learn finds on the same table: rows in danger, weights, rows
that are cleaned or kept, segments on which new rows lie. Both see columns of variance 1, so that distances agree; where
neighbours are sought within a class, imbalanced-learn sees columns whose variance in that class is 1.
Seen with imbalanced-learn 0.14.2 (any from 0.13 on is taken); NearMiss in its versions 1 and 2.
"""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from imblearn.over_sampling import ADASYN, SMOTE, SMOTENC, BorderlineSMOTE
from imblearn.under_sampling import EditedNearestNeighbours, NearMiss, TomekLinks
from sklearn.neighbors import NearestNeighbors

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.neighbours import Interpolator
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


def neighbours_of_imbalanced_learn(rows: Floats, labels: Labels) -> npt.NDArray[np.intp]:
    """Of each row of class 1 the places of its 5 nearest among those, nearest first, as a fitted SMOTE finds them."""
    oracle = SMOTE(random_state=0)
    oracle.fit_resample(rows, labels)
    found: npt.NDArray[np.intp] = oracle.nn_k_.kneighbors(rows[labels == 1], return_distance=False)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(found)))  # each is nearest to itself
    return found[:, 1:]


ALIKE, UNEQUAL = np.ones(WIDTH), np.array([1.0, 1e3, 1e-3, 30.0])


@pytest.mark.parametrize("spread", [pytest.param(ALIKE, id="alike"), pytest.param(UNEQUAL, id="unequal")])
@pytest.mark.parametrize("seed", SEEDS)
def test_smote_finds_the_same_neighbours(seed: int, spread: Floats) -> None:
    """Ours measures in standard deviations of the class's own rows, as a stream's columns come in any unit;
    imbalanced-learn in raw units. So it is given columns divided by these deviations, and ours the columns as they are.
    """
    rows, labels = table_of(seed)
    rows = rows * spread - 3.0 * spread
    own = rows[labels == 1]
    interpolator, columns = Interpolator(5), numeric()
    found = np.array([interpolator.near(row, own, columns)[0] for row in own])
    expected = neighbours_of_imbalanced_learn(rows / own.std(axis=0), labels)
    np.testing.assert_array_equal(found, own[expected])
    raw = neighbours_of_imbalanced_learn(rows, labels)
    assert (np.sort(raw) != np.sort(expected)).any()  # the unit matters


def on_segments(new: Floats, own: Floats, near: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Whether each new row lies between each of `own` and one of its neighbours, (new, own)."""
    base = np.repeat(own, near.shape[1], axis=0)
    step = own[near].reshape(base.shape) - base
    gap = ((new[:, None] - base) * step).sum(axis=2) / (step * step).sum(axis=1)
    apart = np.abs(base + gap[:, :, None] * step - new[:, None]).max(axis=2)
    found: npt.NDArray[np.bool_] = ((apart < 1e-9) & (gap >= 0) & (gap <= 1)).reshape(len(new), *near.shape).any(axis=2)
    return found


@pytest.mark.parametrize("spread", [pytest.param(ALIKE, id="alike"), pytest.param(UNEQUAL, id="unequal")])
@pytest.mark.parametrize(
    "name",
    [
        "smote", "smote_under", "borderline_smote", "adasyn", "adasyn_under", "borderline_under", "smote_enn",
        "smote_tomek",
    ],
)  # fmt: skip
def test_new_rows_lie_between_two_rows_of_their_class(name: str, spread: Floats) -> None:
    """A row and one that imbalanced-learn's SMOTE holds for its neighbour, in the class's own standard deviations."""
    rows, labels = table_of(1)
    rows = rows * spread
    deviation = rows[labels == 1].std(axis=0)
    near = neighbours_of_imbalanced_learn(rows / deviation, labels)
    new = [s.row for s in drawn(name, rows, labels, 1, target_share=0.5) if s.origin == "interpolated"]
    assert len(new) > 30
    assert on_segments(np.array(new) / deviation, rows[labels == 1] / deviation, near).any(axis=1).all()


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


@pytest.mark.parametrize("seed", SEEDS)
def test_levels_are_those_of_smote_nc(seed: int) -> None:
    """The level of a new row is the commonest among its base's neighbours, in both; of levels equally common ours is
    the nearest neighbour's, imbalanced-learn's one by chance. Numeric columns have variance 1 in the rare class.
    """
    rng = np.random.default_rng(100 + seed)
    rows, labels = table_of(seed)
    rows /= rows[labels == 1].std(axis=0)
    rows[:, -1] = rng.choice(3, size=ROWS, p=[0.45, 0.35, 0.2])
    own, columns = rows[labels == 1], Columns()
    for i in range(WIDTH):
        columns.add(f"x{i}", nominal=i == WIDTH - 1)
    oracle = SMOTENC([WIDTH - 1], random_state=seed)
    made, of = oracle.fit_resample(rows, labels)
    near = oracle.nn_k_.kneighbors(return_distance=False)[:, :5]
    levels = own[near, -1]
    counts = (levels[:, :, None] == np.arange(3)).sum(axis=1)
    commonest = counts == counts.max(axis=1, keepdims=True)
    expected = np.array([next(x for x in each if commonest[i, int(x)]) for i, each in enumerate(levels)])
    for other in (own[:, -1], levels[:, 0], np.argmax(commonest, axis=1)):
        assert (expected != other).sum() >= 2  # not its own, nor the nearest's, nor the lowest of equally common ones

    theirs = made[ROWS:][of[ROWS:] == 1]
    bases = on_segments(theirs[:, :-1], own[:, :-1], near)
    assert (bases & commonest[:, theirs[:, -1].astype(int)].T).any(axis=1).all()

    rates = Rates(RateSettings(block_rows=ROWS), classes=2)
    rates.observe_many(labels.tolist())
    settings = BalanceSettings(strategy="smote", target_share=0.5, neighbour_rows_max=ROWS)
    samples = make_strategy(settings, rates).draw(
        make_arrivals(rows, labels.tolist()), frozen(rows, labels), columns, Random(seed)
    )
    at, new = -1, 0
    for sample in each_of(samples):
        if sample.label == 1:
            at += sample.origin == "observed"
            new += sample.origin == "interpolated"
            assert sample.row[-1] == (own if sample.origin == "observed" else expected[:, None])[at, -1]
    assert at == len(own) - 1
    assert new > 100

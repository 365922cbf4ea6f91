"""Balance: the arithmetic of multipliers, and neighbours against a slow oracle and imbalanced-learn."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from pydantic import ValidationError

from stream_balance.core.arms import MODELS, make_model
from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.distances import scale_of, squared_distances
from stream_balance.core.balance.neighbours import SCALE_DRAWS, Interpolator
from stream_balance.core.balance.reference import Reference
from stream_balance.core.balance.under import EASY_SHARE, PATIENCE, NearMiss
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Arrivals, Columns, Samples
from stream_balance.core.window import Window, WindowSettings
from stream_balance.testing import make_arrivals


def multipliers(strategy: str, rate: float, **settings: object) -> tuple[float, ...]:
    rates = Rates(RateSettings(warm_start_rate=rate))
    return make_strategy(BalanceSettings.model_validate({"strategy": strategy, **settings}), rates).multipliers()


@pytest.mark.parametrize(
    ("strategy", "rate", "settings", "expected"),
    [
        ("none", 0.02, {"target_share": 0.5}, (1, 1)),
        ("random_over", 0.02, {"target_share": 0.5}, (1, 49)),
        ("random_over", 0.01, {"target_share": 0.5}, (1, 50)),  # 99 is beyond copies_max
        ("random_under", 0.02, {"target_share": 0.5}, (1 / 49, 1)),
        ("random_under", 0.001, {"target_share": 0.5}, (0.002, 1)),  # 1/999 is below keep_min
        ("smote", 0.1, {"target_share": 0.5}, (1, 9)),
        ("smote_under", 0.02, {"target_share": 0.5}, (1 / 7, 7)),
        ("smote_under", 0.02, {}, (1 / 3.5, 3.5)),  # .2: odds 1/4
        ("smote_under", 0.02, {"target_share": 0.5, "copies_max": 4}, (4 / 49, 4)),
        ("smote_under", 0.02, {"target_share": 0.5, "keep_min": 0.5}, (0.5, 24.5)),
    ],
)
def test_multipliers(strategy: str, rate: float, settings: dict[str, object], expected: tuple[float, float]) -> None:
    assert multipliers(strategy, rate, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("strategy", ["oob", "uob"])
@pytest.mark.parametrize(("rate", "copies_max"), [(0.01, 50), (0.01, 5), (0.03, 50), (0.1, 9), (0.1, 1), (0.3, 2)])
def test_poisson_copies_come_to_their_multipliers_where_they_are_cut(
    strategy: str, rate: float, copies_max: int
) -> None:
    settings = BalanceSettings(strategy=strategy, target_share=0.5, copies_max=copies_max)
    balance, rng, rows = make_strategy(settings, Rates(RateSettings(warm_start_rate=rate))), Random(1), 20_000
    for label, expected in enumerate(balance.multipliers()):
        copies = np.array([balance.plan(label, 0, rng).copies for _ in range(rows)])
        assert copies.max() <= copies_max
        assert copies.mean() == pytest.approx(expected, abs=3 * copies.std() / math.sqrt(rows))
    one, other = balance.multipliers()
    assert balance.plan(1, 0, rng).offset == pytest.approx((math.log(other / one),))
    assert balance.target_share_after_clamps() == pytest.approx(other * rate / (one * (1 - rate) + other * rate))


def test_the_mean_of_cut_poisson_copies_is_exact() -> None:
    few = multipliers("oob", 0.01, target_share=0.5, copies_max=5)  # of means of 1 and of 5
    assert few == pytest.approx((0.999311, 4.122663), abs=1e-6)
    assert multipliers("oob", 0.01, target_share=0.5)[1] == pytest.approx(47.183750, abs=1e-6)  # of 50
    far = multipliers("oob", 0.1, target_share=0.5, copies_max=1_000)
    assert far == multipliers("random_over", 0.1, target_share=0.5, copies_max=1_000)  # to the last bit


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_target_share_is_a_share(share: float) -> None:
    with pytest.raises(ValidationError):
        BalanceSettings(target_share=share)


def slow_distance(row: np.ndarray, other: np.ndarray, deviation: np.ndarray, nominal: list[int]) -> float:
    total = 0.0
    for i, (x, y) in enumerate(zip(row.tolist(), other.tolist(), strict=True)):
        if np.isnan(x) and np.isnan(y):
            continue
        if np.isnan(x) or np.isnan(y):
            total += 1
        elif i in nominal:
            total += x != y
        elif deviation[i] > 0:
            total += ((x - y) / deviation[i]) ** 2
    return total


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_distances_are_in_standard_deviations_with_penalties(absent: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=[1, 100, 1, 1], size=(50, 4))
    rows[:, 2] = rng.integers(0, 3, 50)
    rows[:, 3] = 7
    rows[rng.random(rows.shape) < absent] = np.nan
    for row in rows[:10]:
        found = squared_distances(row, rows, scale_of(rows, [2]))
        expected = [slow_distance(row, other, np.nanstd(rows, axis=0), [2]) for other in rows]
        np.testing.assert_allclose(found, expected)


def test_a_constant_column_drowns_no_other() -> None:
    rows = np.random.default_rng(3).normal(size=(300, 3))
    rows[:, 2] = 0.1
    row = np.array([0.0, 0.0, 77.0])
    whole = squared_distances(row, rows, scale_of(rows, []))
    np.testing.assert_allclose(whole, squared_distances(row[:2], rows[:, :2], scale_of(rows[:, :2], [])))


def test_a_column_that_is_constant_or_absent_tells_rows_apart_by_its_absence() -> None:
    rows, columns = np.array([[1.0], [np.nan], [1.0], [np.nan]]), Columns()
    columns.add("x")
    assert squared_distances(rows[0], rows, scale_of(rows, [])).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert Reference(rows, np.zeros(4, dtype=np.int64), columns).squares(rows[:1]).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_neighbours_do_not_depend_on_what_else_is_asked_about() -> None:
    """Nor do equally near ones, of which the oldest are taken."""
    rng = np.random.default_rng(8)
    rows, columns = rng.integers(0, 2, (200, 8)).astype(float), Columns()
    for i in range(8):
        columns.add(f"x{i}")
    reference = Reference(rows, np.zeros(200, dtype=np.int64), columns)
    asked = rng.integers(0, 2, (60, 8)).astype(float)
    together = reference.nearest(asked, 5)[0]
    for row, places in zip(asked, together, strict=True):
        np.testing.assert_array_equal(reference.nearest(row[None, :], 5)[0][0], places)


def test_a_scale_is_kept_for_some_draws_and_not_beyond_a_new_column() -> None:
    rng = np.random.default_rng(9)
    interpolator, columns, pool = Interpolator(3), Columns(), (1, None)
    for name in "abc":
        columns.add(name)

    def weights(rows: np.ndarray) -> list[float]:
        interpolator.beside(rows[0], rows, 1, columns, Random(1), pool)
        ((*_, kept, _),) = interpolator.digest_state()
        return [round(weight, 6) for weight in kept.tolist()]

    narrow, broad = rng.normal(size=(40, 2)), rng.normal(scale=9.0, size=(40, 2))
    first, other = (scale_of(rows, []).weights.round(6).tolist() for rows in (narrow, broad))
    assert weights(narrow) == first
    assert [weights(broad) for _ in range(SCALE_DRAWS)] == [first] * (SCALE_DRAWS - 1) + [other]
    assert len(weights(rng.normal(size=(40, 3)))) == 3


@pytest.mark.parametrize("times", [1, 3, 5, 8, 14])
def test_neighbours_are_learned_in_the_row_s_stead_the_nearest_first(times: int) -> None:
    """So many times together, each as often as the others or once more, at most five of them."""
    rng = np.random.default_rng(7)
    settings = BalanceSettings(strategy="neighbour_over", copies_max=times + 1, target_share=0.999)
    rates, window, columns = Rates(RateSettings()), Window(WindowSettings()), Columns()
    for name in "abc":
        columns.add(name)
    labels, rows = [int(i % 10 == 0) for i in range(1_000)], rng.normal(size=(1_000, 3))
    rates.observe_many(labels)
    window.add_many(rows, labels, bytes(1_000), 0)
    row = rng.normal(size=3)
    rare = rows[::10]
    nearest = np.argsort((((rare - row) / rare.std(axis=0)) ** 2).sum(axis=1))[:5]
    samples = make_strategy(settings, rates).draw(
        Arrivals(row[None, :], [1], bytes(1), np.full((1, 1), 0.1)), window, columns, Random(1)
    )
    assert samples is not None
    k = min(times, 5)
    np.testing.assert_array_equal(samples.rows, np.vstack([row, rare[nearest[:k]]]))
    assert list(samples.times) == [1, *(times // k + (i < times % k) for i in range(k))]


def test_new_rows_lie_on_lines_to_the_nearest_neighbours() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 3))
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)  # plain distances are then the right ones
    near = rows[np.argsort(((rows - rows[0]) ** 2).sum(axis=1))[1:4]]
    beside = Interpolator(3).beside(rows[0], rows, 200, Columns(), Random(1))
    reached, gaps = set(), []
    for each in beside:
        steps = (each - rows[0]) / (near - rows[0])
        gap = steps.mean(axis=1)
        hits = np.flatnonzero((steps.std(axis=1) < 1e-9) & (gap >= 0) & (gap <= 1))
        assert len(hits) == 1
        reached.add(int(hits[0]))
        gaps.append(float(gap[hits[0]]))
    assert reached == {0, 1, 2}
    assert len(set(gaps)) > 100  # a way of its own each
    assert np.abs(np.sort(gaps) - (np.arange(200) + 0.5) / 200).max() < 0.1  # evenly over the whole way
    assert min(gaps) < 0.05
    assert max(gaps) > 0.95


def test_whether_the_row_is_in_the_window_already_makes_no_difference() -> None:
    rows = np.random.default_rng(2).normal(size=(40, 3))
    offers = (rows, np.vstack([rows[1:], rows[:1] + 50])[:39])
    with_row, without = (Interpolator._nearest(rows[0], each, scale_of(each, []), 5) for each in offers)
    assert sorted(with_row - 1) == sorted(without)


@pytest.mark.parametrize(("absent", "absent_asked"), [(0.0, 0.0), (0.3, 0.3), (0.3, 0.0), (0.0, 0.3)])
def test_many_distances_at_once_are_the_single_ones(absent: float, absent_asked: float) -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(loc=1e4, scale=[1, 100, 1, 1], size=(60, 4))
    rows[:, 2] = rng.integers(0, 3, 60)
    rows[:, 3] = 7
    asked = rows[:9].copy()
    rows[rng.random(rows.shape) < absent] = np.nan
    asked[rng.random(asked.shape) < absent_asked] = np.nan
    columns = Columns()
    for i in range(4):
        columns.add(f"x{i}", nominal=i == 2)
    labels = np.arange(60) % 2
    reference, scale = Reference(rows, labels, columns), scale_of(rows, [2])
    single = np.array([squared_distances(row, rows, scale) for row in asked])
    np.testing.assert_allclose(reference.squares(asked), single, atol=1e-9)
    for label in (0, 1):
        part = reference.of_class(label)
        assert part is not None
        np.testing.assert_allclose(part.squares(asked), single[:, labels == label], atol=1e-9)


@pytest.mark.parametrize(("name", "behind"), [("tomek", 8), ("near_miss", 32)])
def test_rows_are_judged_by_a_window_so_far_behind(name: str, behind: int) -> None:
    """Gathered anew after `refresh_rows` more; `near_miss`, which then measures a thousand rows, waits four times."""
    rng = np.random.default_rng(3)
    rates, window, columns = Rates(RateSettings(), classes=2), Window(WindowSettings()), Columns()
    columns.add("x")
    strategy = make_strategy(BalanceSettings(strategy=name, target_share=0.01, refresh_rows=8), rates)
    labels = [int(i % 5 == 0) for i in range(200)]
    rates.observe_many(labels)
    window.add_many(rng.normal(size=(200, 1)), labels, bytes(200), 0)
    gathered = []
    for turn in range(70):
        strategy.draw(make_arrivals(rng.normal(size=(1, 1)), [0]), window, columns, Random(turn))
        ((_, at, _),) = strategy.digest_state()[0][2]
        gathered.append(at)
        window.add(rng.normal(size=1), 0, 0, turn)
    assert sorted(set(gathered)) == list(range(200, 270, behind))


@pytest.mark.parametrize("name", ["tomek", "near_miss"])
def test_what_a_window_is_made_to_forget_judges_no_row_any_more(name: str) -> None:
    rng = np.random.default_rng(4)
    rates, window, columns = Rates(RateSettings(), classes=2), Window(WindowSettings()), Columns()
    columns.add("x")
    strategy = make_strategy(BalanceSettings(strategy=name, target_share=0.01), rates)
    labels = [int(i % 5 == 0) for i in range(200)]
    rates.observe_many(labels)
    window.add_many(rng.normal(size=(200, 1)), labels, bytes(200), 0)
    judged_by = []
    for kept in (200, 50):
        window.forget(kept, 1)
        strategy.draw(make_arrivals(rng.normal(size=(1, 1)), [0]), window, columns, Random(1))
        ((_, _, rows),) = strategy.digest_state()[0][2]
        judged_by.append(rows)
    assert judged_by == [200, 50]


def near_miss_with(classes: int) -> NearMiss:
    strategy = make_strategy(BalanceSettings(strategy="near_miss"), Rates(RateSettings(), classes=classes))
    assert isinstance(strategy, NearMiss)
    return strategy


def test_near_miss_measures_rows_and_arrivals_by_the_same_rare_class() -> None:
    """Also where two are about equally rare, and now one of them is the rarest, now the other."""
    rng, columns, strategy = np.random.default_rng(5), Columns(), near_miss_with(3)
    columns.add("x")
    labels = np.repeat([0, 1, 2], [80, 10, 10])
    reference = Reference(rng.normal(size=(100, 1)) + np.array([0.0, 4.0, -9.0])[labels][:, None], labels, columns)
    for rarest in (1, 2, 1):
        rare = reference.of_class(rarest)
        assert rare is not None
        expected = np.sort(strategy.scores(reference.rows[labels == 0], rare))
        np.testing.assert_allclose(strategy._measured(0, reference, rarest), expected, rtol=1e-8)


def test_near_miss_holds_rows_that_equal_rare_ones_for_equally_near() -> None:
    """Whether they are asked about together or one by one: by rounding none is nearer."""
    rng, columns, strategy = np.random.default_rng(6), Columns(), near_miss_with(2)
    for name in "abcd":
        columns.add(name)
    labels = (rng.random(1_000) < 0.1).astype(np.int64)
    rows = rng.integers(0, 2, (1_000, 4)) * np.array([1.0, 3.7, 0.013, 1e4]) + np.array([0.0, 1e3, 5.0, -7e5])
    reference = Reference(rows, labels, columns)
    rare, measured = reference.of_class(1), strategy._measured(0, reference, 1)
    assert rare is not None
    together = measured.searchsorted(strategy.scores(rows[labels == 0], rare))
    alone = [measured.searchsorted(strategy.scores(row[None, :], rare))[0] for row in rows[labels == 0]]
    assert alone == together.tolist()
    assert (together == 0).sum() > 400


def test_a_weight_is_one_step_of_that_length() -> None:
    """`class_weight` gives the fast model what River's own gets, within the promise of their equality."""
    rng = np.random.default_rng(6)
    columns = Columns()
    for name in "ab":
        columns.add(name)
    fast, slow = make_model("logistic"), make_model("river_logistic")
    for _ in range(30):
        rows, labels = rng.normal(size=(9, 2)), rng.integers(0, 2, 9).tolist()
        samples = Samples(rows, labels, bytes(9), [1, 2, 1] * 3, [(0.0,)] * 9, (rng.random(9) * 9).tolist())
        fast.learn(samples, columns)
        slow.learn(samples, columns)
    probe = rng.normal(size=(20, 2))
    found = fast.predict(probe, columns).probability
    np.testing.assert_allclose(found, slow.predict(probe, columns).probability, atol=1e-9)
    assert found.std() > 0.01


def test_weights_reach_the_models_that_honour_them_and_copies_the_others() -> None:
    honouring = {name for name in MODELS if make_model(name).honours_weights}
    assert {"logistic", "river_logistic", "linear_svm", "hoeffding_adaptive_tree"} <= honouring
    assert "naive_bayes" not in honouring
    rates = Rates(RateSettings(warm_start_rate=0.1))
    arrivals = make_arrivals(np.zeros((40, 2)), [0, 1] * 20)
    for weighs in (True, False):
        strategy = make_strategy(BalanceSettings(strategy="class_weight", target_share=0.5), rates, weighs=weighs)
        samples = strategy.draw(arrivals, Window(WindowSettings()), Columns(), Random(1))
        assert samples is not None
        if weighs:
            assert samples.weights == pytest.approx([0.5 / 0.9, 5.0] * 20)
            assert set(samples.times) == {1}
        else:
            assert samples.weights is None
            copies = [times for times, label in zip(samples.times, samples.labels, strict=True) if label]
            assert sum(copies) == 100


@pytest.mark.parametrize("majority", [0, 1])
@pytest.mark.parametrize(
    ("rate", "always"), [pytest.param(0.02, False, id="by chance"), pytest.param(0.1, True, id="the wrong ones always")]
)
def test_hard_mining_keeps_rows_rather_by_how_wrong_the_model_was(rate: float, always: bool, majority: int) -> None:
    """With chance m (1/2 + w / 2W), at most 1: w the chance that was given to the other class, W its mean over the
    majority. The offset undoes just that, so that what was kept stands for all that came, of each kind.
    """
    rates = Rates(RateSettings(warm_start_rate=rate if majority == 0 else 1 - rate))
    strategy = make_strategy(BalanceSettings(strategy="hard_mining"), rates)
    window, columns = Window(WindowSettings()), Columns()
    multiplier = strategy.multipliers()[majority]
    wrong = np.array([0.5] + [0.001] * 9 + [0.5])  # the last is of the rare class
    probability = wrong if majority == 0 else 1.0 - wrong
    arrivals = Arrivals(np.arange(11.0)[:, None], [majority] * 10 + [1 - majority], bytes(11), probability[:, None])
    expected = multiplier * (EASY_SHARE + (1 - EASY_SHARE) * wrong / wrong[:10].mean())
    assert (expected[0] > 1) == always
    expected = np.minimum(expected, 1.0)
    assert expected[0] / expected[1] > 4
    kept, stands_for, searches = np.zeros(11), np.zeros(11), 2_000
    for seed in range(100 + searches):
        samples = strategy.draw(arrivals, window, columns, Random(seed))
        assert samples is not None  # the rare row always is
        if seed < 100:
            continue  # the mean is not the mean yet
        for place, (offset,) in zip(samples.rows[:, 0].astype(int).tolist(), samples.offsets, strict=True):
            raised = offset if majority == 0 else -offset  # log odds of the rare class
            assert abs(math.exp(-raised) / expected[place] - 1) < 0.02
            kept[place] += 1
            stands_for[place] += math.exp(raised)
    assert kept[10] == searches
    for kind in (slice(0, 1), slice(1, 10)):
        assert kept[kind].mean() / searches == pytest.approx(expected[kind].mean(), rel=0.08)
        assert stands_for[kind].mean() / searches == pytest.approx(1.0, rel=0.08)
    if always:
        assert kept[0] == searches


@pytest.mark.parametrize("moving", [-0.05, 0.0, 0.05])
def test_near_miss_keeps_as_many_as_asked_for_wherever_the_rows_go(moving: float) -> None:
    """Farther from the rare rows with each search, or nearer, so that no row lies where those before it lay."""
    search, rate = 10, 0.1
    rng = np.random.default_rng(8)
    rates = Rates(RateSettings(), classes=2)
    strategy = make_strategy(BalanceSettings(strategy="near_miss", target_share=0.5), rates)
    window, columns, chance = Window(WindowSettings()), Columns(), Random(8)
    columns.add("x")
    asked = kept = 0.0
    for turn in range(1_000):
        labels = [int(each) for each in rng.random(search) < rate]
        away = 100.0 + moving * turn
        rows = np.array([[rng.normal() + (0.0 if label else away)] for label in labels])
        if turn >= 100:  # there are rare rows
            samples = strategy.draw(make_arrivals(rows, labels), window, columns, chance)
            kept += samples.labels.count(0) if samples is not None else 0
            asked += strategy.multipliers()[0] * labels.count(0)
        rates.observe_many(labels)
        for row, label in zip(rows, labels, strict=True):
            window.add(row, label, 0, turn)
    share = strategy.multipliers()[0]
    assert asked > 500
    assert -search - PATIENCE * math.log(2 * share * 1_000) <= asked - kept <= search + PATIENCE * math.log(1 / share)

"""One suite for all balancing strategies."""

from __future__ import annotations

import math
import pickle
from random import Random

import numpy as np
import pytest

from stream_balance.core.balance import STRATEGIES, BalanceSettings, Strategy, make_strategy
from stream_balance.core.balance.informed import Informed
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Arrivals, Columns, Plan
from stream_balance.core.window import Window, WindowSettings
from stream_balance.errors import SettingsError
from stream_balance.testing import Sample, each_of, make_arrivals

pytestmark = pytest.mark.parametrize("name", list(STRATEGIES))


def strategy_at(name: str, shares: list[float], **settings: object) -> Strategy:
    """A strategy that knows these shares."""
    rates = Rates(RateSettings(block_rows=1_000, warm_start_weight=1e-9), classes=len(shares))
    for label, share in enumerate(shares):
        rates.observe_many([label] * round(share * 1_000))
    return make_strategy(BalanceSettings.model_validate({"strategy": name, "target_share": 0.5, **settings}), rates)


def table(width: int = 3, nominal: bool = True) -> Columns:
    columns = Columns()
    for i in range(width):
        columns.add(f"x{i}", nominal=nominal and i == width - 1)
    return columns


def window_of(rows: int, label: int = 1, width: int = 3, seed: int = 0, tier: int = 0) -> Window:
    rng = np.random.default_rng(seed)
    window = Window(WindowSettings())
    for ts_us in range(rows):
        row = rng.normal(loc=10 * label, size=width)
        row[-1] = rng.integers(0, 3)
        window.add(row, label, tier, ts_us)
    return window


def mixed_window() -> Window:
    """Sixty rows of each class, amid each other."""
    window = window_of(60, label=1)
    for row in window_of(60, label=1, seed=1).rows(1):
        window.add(row + np.array([0.5, 0.5, 0.0]), 0, 0, 100)
    return window


ROW = np.array([10.0, 10.5, 1.0])


def drawn(strategy: Strategy, window: Window, seed: int = 0, row: np.ndarray = ROW, label: int = 1) -> list[Sample]:
    return each_of(strategy.draw(make_arrivals(row[None, :], (label,)), window, table(), Random(seed)))


def planned(plan: Plan) -> int:
    return plan.copies + plan.synthetic


def learned(samples: list[Sample]) -> int:
    return sum(sample.times for sample in samples)


def informed(name: str) -> bool:
    return issubclass(STRATEGIES[name], Informed)


def test_plans_and_samples_add_up(name: str) -> None:
    if informed(name):
        pytest.skip("looks at the row: in the mean only, see below")
    strategy, window, rng = strategy_at(name, [0.9, 0.1]), window_of(60), Random(3)
    for label in (0, 1) * 100:
        state = rng.getstate()
        plan = strategy.plan(label, 0, rng)
        rng.setstate(state)
        samples = each_of(strategy.draw(make_arrivals(ROW[None, :], (label,)), window, table(), rng))
        assert learned(samples) == planned(plan)
        assert sum(sample.times for sample in samples if sample.origin == "interpolated") == plan.synthetic * label
        assert [sample.origin for sample in samples][:1] == ["observed"][: planned(plan)]


def test_a_class_counts_as_often_as_its_multiplier_says_in_the_mean(name: str) -> None:
    shares = [0.85, 0.15]
    strategy, rng = strategy_at(name, shares), Random(7)
    settled = np.zeros(2)
    numbers = np.random.default_rng(7)
    window = Window(WindowSettings())
    for turn in range(600):
        labels = (numbers.random(20) < shares[1]).astype(int)
        values = numbers.normal(size=(20, 3)) + 1.5 * labels[:, None]
        values[:, -1] = numbers.integers(0, 3, 20)
        arrivals = make_arrivals(values, labels.tolist(), bytes((np.arange(20) % 2).tolist()))
        samples = strategy.draw(arrivals, window, table(), rng)
        window.add_many(values, labels.tolist(), arrivals.tiers, turn)
        if turn >= 200 and samples is not None:
            np.add.at(settled, samples.labels, np.array(samples.times) * np.array(samples.weights or 1.0))
    shares_of = settled / settled.sum()
    assert shares_of[1] == pytest.approx(strategy.target_share_after_clamps(), abs=0.03)
    if informed(name):  # what the offsets say came of it
        offset = samples.offsets[0][0] if samples is not None else math.nan
        if name != "hard_mining":  # where each row has its own
            assert offset == pytest.approx(math.log(settled[1] / settled[0] * shares[0] / shares[1]), abs=0.15)


def learned_and_asked(name: str, shares: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By tier and class, of a stream with these shares (tiers, classes): samples, the sum of multipliers, rows."""
    tiers, classes = shares.shape
    numbers, rng = np.random.default_rng(seed), Random(seed)
    rates, *each_tiers = (Rates(RateSettings(), classes) for _ in range(1 + tiers))
    strategy = make_strategy(BalanceSettings(strategy=name), rates, each_tiers if tiers > 1 else ())
    window, centres = Window(WindowSettings()), 1.2 * np.eye(classes, 3, k=-1)
    samples_of, asked, came = np.zeros((3, *shares.shape))
    for turn in range(rows // 20):
        at = numbers.integers(0, tiers, 20)
        labels = (numbers.random(20)[:, None] > shares[at].cumsum(axis=1)[:, :-1]).sum(axis=1)
        values = numbers.normal(size=(20, 3)) + centres[labels]
        odds = shares[at] * np.exp(-((values[:, None] - centres) ** 2).sum(axis=2) / 2)
        probability = (odds / odds.sum(axis=1, keepdims=True))[:, 1:]
        arrivals = Arrivals(values, labels.tolist(), bytes(at.tolist()), probability)
        multipliers = np.array([part.multipliers() for part in strategy.parts()] * tiers)
        np.add.at(asked, (at, labels), multipliers[at, labels])
        np.add.at(came, (at, labels), 1)
        samples = strategy.draw(arrivals, window, table(nominal=False), rng)
        if samples is not None:
            np.add.at(samples_of, (list(samples.tiers), samples.labels), samples.times)
        window.add_many(values, labels.tolist(), arrivals.tiers, turn)
        rates.observe_many(labels.tolist())
        for tier, each in enumerate(each_tiers):
            each.observe_many(labels[at == tier].tolist())
    return samples_of, asked, came


@pytest.mark.parametrize(
    "shares",
    [
        pytest.param([[0.95, 0.027, 0.023]], id="two rare"),
        pytest.param([[0.88, 0.1, 0.02]], id="a rare and a rarer"),
        pytest.param([[0.7, 0.26, 0.04]], id="one between"),  # above the target itself
        pytest.param([[0.8, 0.12, 0.08], [0.94, 0.03, 0.03]], id="by tier"),
    ],
)
def test_each_of_three_classes_is_learned_as_often_as_asked(name: str, shares: list[list[float]]) -> None:
    found, asked, came = learned_and_asked(name, np.array(shares), rows=3_000 * len(shares), seed=0)
    off = 4 * np.sqrt(asked) + 0.15 * asked  # chance, and decayed means that begin with a guess
    least = np.minimum(asked, came) if name.startswith("borderline") else asked  # few are in danger
    assert (found >= least - off).all(), f"{found} of {asked}"
    assert (found <= asked + off).all(), f"{found} of {asked}"


def test_multipliers_are_what_plans_come_to(name: str) -> None:
    strategy, rng = strategy_at(name, [0.93, 0.07]), Random(5)
    for label, expected in enumerate(strategy.multipliers()):
        mean = np.mean([planned(strategy.plan(label, 0, rng)) for _ in range(4_000)])
        assert mean == pytest.approx(expected, rel=0.06)


def test_equal_classes_are_reached_and_the_offset_says_how(name: str) -> None:
    strategy = strategy_at(name, [0.9, 0.1])
    one, other = strategy.multipliers()
    aimed = 0.1 if name == "none" else 0.5
    assert strategy.target_share_after_clamps() == pytest.approx(aimed)
    assert strategy.plan(1, 0, Random(0)).offset == pytest.approx((math.log(other / one),))
    assert strategy.plan(0, 0, Random(0)).offset == strategy.plan(1, 0, Random(0)).offset


def test_what_is_above_the_target_is_never_lowered(name: str) -> None:
    assert strategy_at(name, [0.6, 0.4], target_share=0.2).multipliers() == (1.0, 1.0)


def test_with_more_positives_than_negatives_the_negatives_are_raised(name: str) -> None:
    strategy = strategy_at(name, [0.2, 0.8])
    assert strategy.target_share_after_clamps() == pytest.approx(0.8 if name == "none" else 0.5)


def test_three_classes_become_equal(name: str) -> None:
    strategy = strategy_at(name, [0.9, 0.08, 0.02], copies_max=200)  # Poisson copies around 45 are cut by 50
    expected = [0.9, 0.08, 0.02] if name == "none" else [1 / 3] * 3
    assert strategy.target_shares_after_clamps() == pytest.approx(expected)
    assert len(strategy.plan(2, 0, Random(0)).offset) == 2


def test_bounds_hold_whatever_the_rates(name: str) -> None:
    strategy, rng = strategy_at(name, [1.0, 0.0], copies_max=7, keep_min=0.25), Random(1)
    # Poisson copies of a mean of .25 are seven at most.
    assert all(0.25 - 1e-9 <= m <= 7 for m in strategy.multipliers())
    assert max(planned(strategy.plan(1, 0, rng)) for _ in range(200)) <= 7
    window = mixed_window()
    assert max(learned(drawn(strategy, window, seed, label=label)) for seed in range(100) for label in (0, 1)) <= 7
    assert strategy.target_share_after_clamps() < 0.5


def test_what_a_bound_takes_the_other_side_gives(name: str) -> None:
    if name != "smote_under":
        pytest.skip("one side only")
    assert strategy_at(name, [0.99, 0.01], copies_max=5).target_share_after_clamps() == pytest.approx(0.5)
    assert strategy_at(name, [0.99, 0.01], keep_min=0.3).target_share_after_clamps() == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_inputs_stay_as_they_were(name: str, label: int) -> None:
    strategy, window = strategy_at(name, [0.9, 0.1]), mixed_window()
    arrivals = make_arrivals(np.stack([ROW, ROW + 0.25]), (label, 1))
    before = [arrivals.values.copy(), arrivals.probability.copy(), window.rows(0), window.rows(1)]
    strategy.draw(arrivals, window, table(), Random(0))
    after = [arrivals.values, arrivals.probability, window.rows(0), window.rows(1)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_seed_draws_the_same(name: str) -> None:
    one, other = (drawn(strategy_at(name, [0.9, 0.1]), window_of(60), seed=4) for _ in range(2))
    assert [sample.row.tolist() for sample in one] == [sample.row.tolist() for sample in other]


def test_samples_never_cross_the_label(name: str) -> None:
    window = window_of(60, label=1)
    for row in window_of(60, label=0, seed=1).rows(0):
        window.add(row, 0, 0, 100)
    samples = drawn(strategy_at(name, [0.95, 0.05]), window)
    assert {sample.label for sample in samples} == {1}
    assert all(sample.row[0] > 5 for sample in samples)


@pytest.mark.parametrize("label", [0, 1])
def test_among_others_samples_keep_the_label_of_what_arrived(name: str, label: int) -> None:
    strategy, window = strategy_at(name, [0.95, 0.05]), mixed_window()
    samples = [sample for seed in range(20) for sample in drawn(strategy, window, seed, label=label)]
    assert {sample.label for sample in samples} <= {label}
    own = {tuple(row) for row in window.rows(label).tolist()} | {tuple(ROW.tolist())}
    assert all(tuple(sample.row.tolist()) in own for sample in samples if sample.origin != "interpolated")


def test_new_rows_lie_between_and_take_the_commonest_level(name: str) -> None:
    window = window_of(60)
    rows = np.vstack([window.rows(1), ROW])
    for sample in drawn(strategy_at(name, [0.95, 0.05]), window):
        assert (rows.min(axis=0) <= sample.row).all()
        assert (sample.row <= rows.max(axis=0)).all()
        assert sample.row[-1] in (0, 1, 2)


@pytest.mark.parametrize("rows", [0, 1])
def test_before_there_is_a_minority_copies_stand_in(name: str, rows: int) -> None:
    strategy = strategy_at(name, [0.9, 0.1])
    samples = drawn(strategy, window_of(rows))
    assert {sample.origin for sample in samples} <= {"observed", "copied"}
    assert learned(samples) == planned(strategy.plan(1, 0, Random(0)))


def test_fewer_rows_than_neighbours_are_enough(name: str) -> None:
    samples = drawn(strategy_at(name, [0.9, 0.1], neighbours=50), window_of(3))
    assert all(np.isfinite(sample.row).all() for sample in samples)


def test_equal_rows_give_equal_rows(name: str) -> None:
    window = Window(WindowSettings())
    for ts_us in range(30):
        window.add(ROW, 1, 0, ts_us)
    assert all((sample.row == ROW).all() for sample in drawn(strategy_at(name, [0.9, 0.1]), window))


def test_absent_values_stay_absent_and_harm_no_other(name: str) -> None:
    window = window_of(30)
    window.add(np.array([np.nan, 9.0, np.nan]), 1, 0, 99)
    row = np.array([10.0, np.nan, 1.0])
    for sample in drawn(strategy_at(name, [0.9, 0.1], neighbours=40), window, row=row):
        if name == "neighbour_over" and sample.origin == "copied":  # another row as it is
            continue
        assert np.isnan(sample.row).tolist() == [False, True, np.isnan(sample.row[2])]


def test_rows_wider_or_narrower_than_the_window_are_drawn_in_their_own_width(name: str) -> None:
    window = window_of(30, width=2)
    wide = drawn(strategy_at(name, [0.9, 0.1]), window, row=np.array([10.0, 1.0, 2.0]))
    narrow = drawn(strategy_at(name, [0.9, 0.1]), window, row=np.array([10.0]))
    assert {len(sample.row) for sample in wide} == {3}
    assert {len(sample.row) for sample in narrow} == {1}


def test_a_tier_with_too_few_rows_uses_those_of_all(name: str) -> None:
    window = window_of(30, tier=1)
    samples = drawn(strategy_at(name, [0.9, 0.1]), window)
    origins = {sample.origin for sample in samples}
    assert ("interpolated" in origins) == name.startswith("smote")


def test_a_tier_with_enough_rows_uses_its_own(name: str) -> None:
    window = window_of(30, tier=0)
    for ts_us in range(30):
        window.add(ROW + np.array([0.001, 0.001, 0.0]), 1, 1, 50 + ts_us)  # nearer, but of the other tier
    for sample in drawn(strategy_at(name, [0.95, 0.05]), window):
        assert (sample.row == ROW).all() or abs(sample.row - ROW)[:2].max() > 0.001


def test_one_class_only_is_learned_without_end(name: str) -> None:
    strategy, rng = strategy_at(name, [1.0, 0.0]), Random(0)
    arrivals = make_arrivals(ROW[None, :], (0,))
    total = sum(learned(each_of(strategy.draw(arrivals, window_of(0), table(), rng))) for _ in range(999))
    assert 0 < total <= 999


def test_a_pickled_strategy_goes_on_as_before(name: str) -> None:
    strategy = strategy_at(name, [0.9, 0.1])
    strategy.plan(0, 0, Random(0))
    other = pickle.loads(pickle.dumps(strategy))
    assert [s.row.tolist() for s in drawn(strategy, window_of(40))] == [
        s.row.tolist() for s in drawn(other, window_of(40))
    ]
    assert repr(strategy.digest_state()) == repr(other.digest_state())


def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        strategy_at("smoat", [0.9, 0.1])

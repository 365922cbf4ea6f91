"""Lines: the recursion is the regression of all rows at once; with elbows it finds the slope of each piece."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from stream_balance.core.line import _SLOPE_MAX, _SLOPE_MIN, ELBOWS, Line, _stepped, of_slopes
from stream_balance.core.memory import Memory
from stream_balance.core.odds import logits
from tests.core.test_calibrate import drawn, sigmoid, taught

ROWS = 60_000


PRIORS = 10.0, 3.0  # of elbows
SOME = pytest.mark.parametrize("elbows", range(len(ELBOWS) + 1))


def alone(elbows: int, memory: Memory, centre: float = -4.0) -> Line:
    """A line with the priors that a calibrator gives it."""
    return Line(centre, memory, 20.0, 2.0, PRIORS[:elbows])


def learned(said: np.ndarray, labels: np.ndarray, elbows: int) -> Line:
    """A line that has learned this in blocks of 64 and forgets nothing."""
    line = Line(float(said.mean()), Memory(), 1e-3, 1e-3, (1e-3, 1e-3)[:elbows])
    for start in range(0, len(said), 64):
        line.learn_many(said[start : start + 64], labels[start : start + 64] > 0)
    return line


def bent(x: np.ndarray, above: float, below: float) -> np.ndarray:
    found: np.ndarray = above * np.maximum(x, 0.0) + below * np.minimum(x, 0.0)
    return found


@SOME
def test_it_is_the_logistic_regression_of_all_rows(elbows: int) -> None:
    rng = np.random.default_rng(1)
    said = rng.normal(-2.0, 1.5, ROWS)
    labels = drawn(rng, bent(said + 2.0, above=0.9, below=0.4) - 2.2 + 0.3 * np.minimum(said + 3.5, 0.0))
    line = learned(said, labels, elbows)
    x = said - said.mean()
    columns = np.stack([x, *(np.minimum(x - elbow * said.std(), 0.0) for elbow in ELBOWS[:elbows])], axis=1)
    whole = LogisticRegression(C=np.inf).fit(columns, labels).decision_function(columns)
    asked = np.argsort(said)[:: ROWS // 50]
    np.testing.assert_allclose(line.apply(said[asked]), whole[asked], atol=0.08)
    assert [place for place, _ in line.elbows()] == pytest.approx(
        [said.mean(), said.mean() - said.std()][:elbows], abs=0.01
    )
    told = line.slopes[0] * said[asked] + line.intercept
    for place, bend in line.elbows():
        told += bend * np.minimum(said[asked] - place, 0.0)
    np.testing.assert_allclose(line.apply(said[asked]), told)


def test_a_prior_of_bends_is_one_of_slopes() -> None:
    h, away = np.diag([20.0, 10.0, 3.0, 2.0]), np.array([0.3, -0.2, 0.5, 0.7])
    bends = np.array([0.3, -0.2 - 0.3, 0.5 + 0.2, 0.7])
    assert away @ of_slopes(h) @ away == pytest.approx(bends @ h @ bends)


@pytest.mark.parametrize(("spread", "worth"), [(3.0, 1.0), (0.5, 0.25), (0.0, 1e-12)])
def test_the_prior_of_slopes_is_worth_less_where_log_odds_hardly_differ(spread: float, worth: float) -> None:
    """Seen where rows tell nothing, so that the prior alone is left."""
    line = alone(2, Memory(rows=100.0), centre=-40.0)
    said = -40.0 + spread * np.tile([-1.0, 1.0], 32)
    for _ in range(100):
        line.learn_many(said, np.zeros(64, dtype=np.bool_))
    expected = worth * of_slopes(np.diag([20.0, *PRIORS, 0.0]))
    expected[-1, -1] = 2.0
    np.testing.assert_allclose(line._h, expected, rtol=1e-2, atol=1e-2 * worth)


def test_a_shift_is_bounded() -> None:
    line = alone(2, Memory(rows=100.0), centre=-40.0)
    for _ in range(100):
        line.learn_many(np.linspace(-41.0, -39.0, 64), np.ones(64, dtype=np.bool_))
    assert line.shift == 20.0


@given(st.integers(0, 2**31), st.integers(0, len(ELBOWS)))
@settings(max_examples=25, deadline=None)
def test_it_never_falls_and_stays_as_it_is_where_nothing_is_learned(seed: int, elbows: int) -> None:
    rng = np.random.default_rng(seed)
    line = alone(elbows, Memory(rows=500.0, youth=2.0))
    asked = np.linspace(-12.0, 8.0, 101)
    np.testing.assert_allclose(line.apply(asked), asked)
    for _ in range(int(rng.integers(1, 40))):
        said = rng.normal(rng.uniform(-6, 2), rng.uniform(0, 3), 64)
        line.learn_many(said, rng.random(64) < rng.random())
    made = line.apply(asked)
    assert (np.diff(made) > 0.0).all()
    assert np.abs(made).max() < 1e3


@SOME
def test_a_new_centre_moves_nothing_above_it(elbows: int) -> None:
    rng = np.random.default_rng(4)
    line = alone(elbows, Memory(rows=5_000.0))
    for _ in range(50):
        said = rng.normal(-3.0, 1.5, 64)
        line.learn_many(said, drawn(rng, bent(said + 3.0, 1.4, 0.6) - 2.5) > 0)
    before, centre, h = line.apply(asked := np.linspace(0.0, 5.0, 11)), line.moments.mean, line._h
    line._move(rng.normal(-1.0, 0.1, 500), 0.9)
    moved = line.moments.mean - centre
    assert 0.3 < moved < 3.0
    np.testing.assert_allclose(line.apply(asked), before, atol=1e-12)
    # What lies above is less by as much: the same rows, seen from the new centre.
    turned = np.eye(len(h))
    turned[0, -1] = -moved
    np.testing.assert_allclose(line._h, turned @ h @ turned.T, atol=1e-9)


def test_a_margin_that_hardly_varies_is_stretched_in_every_piece() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(-2.0, 1.0, ROWS)
    said = bent(truth + 2.0, 0.1, 0.05)
    line = alone(2, Memory(rows=20_000.0), centre=0.0)
    labels = drawn(rng, truth) > 0
    for start in range(0, ROWS, 64):
        line.learn_many(said[start : start + 64], labels[start : start + 64])
    above, middle, below = line.slopes
    assert above == pytest.approx(10.0, rel=0.25)
    assert 13.0 < middle < 25.0  # 500 outcomes below, and the prior
    assert 11.0 < below < 30.0


@given(st.integers(0, 2**31), st.integers(0, len(ELBOWS)))
@settings(max_examples=100, deadline=None)
def test_a_slope_that_is_held_leaves_the_others_the_best_beside_it(seed: int, elbows: int) -> None:
    """Against SciPy's bounded minimum of the same parabola, where one slope is beyond its bounds."""
    rng, slopes = np.random.default_rng(seed), elbows + 1
    root = rng.normal(size=(slopes + 1, slopes + 1)) * rng.uniform(0.5, 5.0, slopes + 1)
    h = root @ root.T + 0.1 * np.eye(slopes + 1)
    theta, g = np.array([1.0] * slopes + [0.0]), rng.normal(0.0, 30.0, slopes + 1)
    free = theta + np.linalg.solve(h, g)
    found = _stepped(theta, h, g)
    assert ((found[:-1] >= _SLOPE_MIN) & (found[:-1] <= _SLOPE_MAX)).all()
    beyond = (free[:-1] < _SLOPE_MIN) | (free[:-1] > _SLOPE_MAX)
    held = (found[:-1] == _SLOPE_MIN) | (found[:-1] == _SLOPE_MAX)
    assert held[beyond].all()
    # What is not held is where the parabola is flat beside what is; the shift always is.
    forces = h @ (found - free)
    assert (np.abs(forces[:-1][~held]) < 1e-6 * (1 + np.abs(h).max() * np.abs(found - free).max())).all()
    assert abs(forces[-1]) < 1e-6 * (1 + np.abs(h).max() * np.abs(found - free).max())
    if not beyond.any():
        np.testing.assert_allclose(found, free, rtol=1e-6, atol=1e-6)
    elif held.sum() == 1:
        best = minimize(
            lambda t: (t - free) @ h @ (t - free) / 2, theta, jac=lambda t: h @ (t - free), method="L-BFGS-B",
            bounds=[(_SLOPE_MIN, _SLOPE_MAX)] * slopes + [(None, None)], options={"ftol": 1e-14, "gtol": 1e-10},
        )  # fmt: skip
        cost = (found - free) @ h @ (found - free) / 2
        assert cost <= best.fun * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("rate", [0.05, 0.95])
def test_a_word_that_turns_around_costs_an_elbow_hardly_more(rate: float) -> None:
    """The slopes come to their lower bound: what is left must fit them."""
    rng, centre = np.random.default_rng(6), np.log(rate / (1 - rate))
    away = rng.normal(0.0, 1.3, 40_000)
    truth = centre + np.where(np.arange(len(away)) > 20_000, -away, away)
    labels, losses = drawn(rng, truth), []
    for elbows in range(len(ELBOWS) + 1):
        line, lost = alone(elbows, Memory(outcomes=1_000.0, youth=2.0)), 0.0
        for start in range(0, len(away), 64):
            said, outcomes = centre + away[start : start + 64], labels[start : start + 64] > 0
            made = line.apply(said)
            lost += float(np.logaddexp(0.0, np.where(outcomes, -made, made)).sum())
            line.learn_many(said, outcomes)
        losses.append(lost / len(away))
    assert max(losses) < losses[0] + 0.002


@SOME
def test_a_model_that_says_the_same_for_ever_is_borne(elbows: int) -> None:
    """The spread of its log odds fades to nothing, and with it what is known of slopes."""
    line, outcomes = alone(elbows, Memory(rows=50.0)), np.arange(64) < 7
    for _ in range(3_000):
        line.learn_many(np.zeros(64), outcomes)
    assert line.apply(np.zeros(1))[0] == pytest.approx(logits(7 / 64), abs=0.5)  # the prior of the shift
    assert np.isfinite([*line.slopes, line.shift, *line._h.ravel()]).all()


def test_a_curvature_of_nothing_moves_nothing() -> None:
    theta = np.array([1.0, 0.8, -0.3])
    assert _stepped(theta, np.zeros((3, 3)), np.ones(3)).tolist() == theta.tolist()


Truth = Callable[[np.ndarray], np.ndarray]


def lowest_tenth(seed: int, truth_of: Truth, **settings: float) -> float:
    """What is said of the tenth of rows with the lowest scores over its true mean, as a logarithm. `truth_of` are true
    log odds by those said, both from their mean.
    """
    rng = np.random.default_rng(seed)
    said = rng.normal(-3.6, 1.3, 2 * ROWS)
    truth = truth_of(said + 3.6) - 3.6
    calibrator = taught(said, drawn(rng, truth), **settings)
    asked = np.argsort(said)[: len(said) // 10]
    served = calibrator.apply(said[asked, None], bytes(len(asked))).mean()
    return float(np.log(served / sigmoid(truth[asked]).mean()))


@pytest.mark.parametrize(
    ("truth_of", "held"),
    [
        (lambda x: bent(x, above=1.0, below=0.5), {"bend_precision": 1e9, "far_bend_precision": 1e9}),
        (lambda x: np.logaddexp(1.2 * x - 0.5, -1.5), {"far_bend_precision": 1e9}),
    ],
    ids=["shallower below", "a floor"],
)
def test_the_lowest_tenth_has_slopes_of_its_own(truth_of: Truth, held: dict[str, float]) -> None:
    """As a network's word was found to be, too sure of the rows it thinks least of; and where nothing tells the rows
    apart that are least likely.
    """
    found, without = (
        np.mean([abs(lowest_tenth(seed, truth_of, **settings)) for seed in range(4)]) for settings in ({}, held)
    )
    assert found < 0.3  # the prior and 120 outcomes that are remembered below the mean
    assert found < 0.7 * without


@pytest.mark.parametrize("side", [1, -1])
def test_what_is_sworn_of_ordinary_rows_is_not_believed(side: int) -> None:
    """Some rows, of the ordinary rate, are said to be surer than all others, anew each time: the rarer kind may be
    either.
    """
    rng, n = np.random.default_rng(2), ROWS
    truth = rng.normal(-3.0, 0.7, n)
    said = truth.copy()
    sworn = rng.random(n) < 0.03
    truth[sworn], said[sworn] = -3.0, -8.0 - rng.exponential(2.0, sworn.sum())
    calibrator = taught(side * said, drawn(rng, side * truth))
    served = logits(calibrator.apply(side * np.array([[-25.0], [-15.0], [-8.0], [-5.0]]), bytes(4)))[:, 0]
    assert side * served[0] > -5.0
    assert (np.diff(side * served) > 0.0).all()

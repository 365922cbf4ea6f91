"""Lines: the recursion is the regression of all rows at once; with an elbow it finds the slope below the centre."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from stream_balance.core.line import _SLOPE_MAX, _SLOPE_MIN, Line, _stepped
from stream_balance.core.memory import Memory
from stream_balance.core.odds import logits
from tests.core.test_calibrate import drawn, sigmoid, taught

ROWS = 60_000


def alone(elbow: bool, memory: Memory, centre: float = -4.0) -> Line:
    """A line with the priors that a calibrator gives it."""
    return Line(centre, memory, 20.0, 2.0, 10.0 if elbow else None)


def matrix(line: Line) -> np.ndarray:
    """P of slope, bend and shift."""
    h = np.zeros((3, 3))
    h[np.triu_indices(3)] = line._h
    found: np.ndarray = h + np.triu(h, 1).T
    return found


def learned(said: np.ndarray, labels: np.ndarray, elbow: bool) -> Line:
    """A line that has learned this in blocks of 64 and forgets nothing."""
    line = Line(float(said.mean()), Memory(), 1e-3, 1e-3, 1e-3 if elbow else None)
    for start in range(0, len(said), 64):
        line.learn_many(said[start : start + 64], labels[start : start + 64] > 0)
    return line


def bent(x: np.ndarray, above: float, below: float) -> np.ndarray:
    found: np.ndarray = above * np.maximum(x, 0.0) + below * np.minimum(x, 0.0)
    return found


@pytest.mark.parametrize("elbow", [False, True])
def test_it_is_the_logistic_regression_of_all_rows(elbow: bool) -> None:
    rng = np.random.default_rng(1)
    said = rng.normal(-2.0, 1.5, ROWS)
    labels = drawn(rng, bent(said + 2.0, above=0.9, below=0.4) - 2.2)
    line = learned(said, labels, elbow)
    x = said - said.mean()
    columns = np.stack([x, np.minimum(x, 0.0)][: 1 + elbow], axis=1)
    whole = LogisticRegression(C=np.inf).fit(columns, labels).decision_function(columns)
    asked = np.argsort(said)[:: ROWS // 50]
    np.testing.assert_allclose(line.apply(said[asked]), whole[asked], atol=0.05)


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=25, deadline=None)
def test_it_never_falls_and_stays_as_it_is_where_nothing_is_learned(seed: int, elbow: bool) -> None:
    rng = np.random.default_rng(seed)
    line = alone(elbow, Memory(rows=500.0, youth=2.0))
    asked = np.linspace(-12.0, 8.0, 101)
    np.testing.assert_allclose(line.apply(asked), asked)
    for _ in range(int(rng.integers(1, 40))):
        said = rng.normal(rng.uniform(-6, 2), rng.uniform(0, 3), 64)
        line.learn_many(said, rng.random(64) < rng.random())
    made = line.apply(asked)
    assert (np.diff(made) > 0.0).all()
    assert np.abs(made).max() < 1e3


@pytest.mark.parametrize("elbow", [False, True])
def test_a_new_centre_moves_nothing_above_it(elbow: bool) -> None:
    rng = np.random.default_rng(4)
    line = alone(elbow, Memory(rows=5_000.0))
    for _ in range(50):
        said = rng.normal(-3.0, 1.5, 64)
        line.learn_many(said, drawn(rng, bent(said + 3.0, 1.4, 0.6) - 2.5) > 0)
    before, centre, h = line.apply(asked := np.linspace(0.0, 5.0, 11)), line.moments.mean, matrix(line)
    line._move(rng.normal(-1.0, 0.1, 500), 0.9)
    moved = line.moments.mean - centre
    assert 0.3 < moved < 3.0
    np.testing.assert_allclose(line.apply(asked), before, atol=1e-12)
    # x is less by as much: the same rows, seen from the new centre.
    turned = np.array([[1.0, 0.0, -moved], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(matrix(line), turned @ h @ turned.T, atol=1e-9)


def test_a_margin_that_hardly_varies_is_stretched_on_either_side() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(-2.0, 1.0, ROWS)
    said = bent(truth + 2.0, 0.1, 0.05)
    line = alone(True, Memory(rows=20_000.0), centre=0.0)
    labels = drawn(rng, truth) > 0
    for start in range(0, ROWS, 64):
        line.learn_many(said[start : start + 64], labels[start : start + 64])
    assert line.slope == pytest.approx(10.0, rel=0.25)
    assert 13.0 < line.slope + line.bend < 25.0  # 500 outcomes below, and the prior


@given(st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_slope_that_is_held_leaves_the_others_the_best_beside_it(seed: int) -> None:
    """Against SciPy's bounded minimum of the same parabola, where not both slopes are beyond their bounds."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3)) * rng.uniform(0.5, 5.0, 3)
    h = root @ root.T + 0.1 * np.eye(3)
    theta, g = np.array([1.0, 0.0, 0.0]), rng.normal(0.0, 30.0, 3)
    free = theta + np.linalg.solve(h, g)
    upper = tuple(h[np.triu_indices(3)].tolist())
    found = np.array(_stepped(tuple(theta.tolist()), upper, tuple(g.tolist())))  # type: ignore[arg-type]
    sides = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    assert (sides @ found >= _SLOPE_MIN - 1e-9).all()
    assert (sides @ found <= _SLOPE_MAX + 1e-9).all()
    held = (sides @ free < _SLOPE_MIN) | (sides @ free > _SLOPE_MAX)
    if not held.any():
        np.testing.assert_allclose(found, free, rtol=1e-6, atol=1e-6)
    # One that comes to its bound only because the other is held is held too.
    elif held.sum() == 1 and not np.isclose(sides @ found, _SLOPE_MIN).all():
        bounds = [{"type": "ineq", "fun": lambda t, s=s: s @ t - _SLOPE_MIN} for s in sides]
        bounds += [{"type": "ineq", "fun": lambda t, s=s: _SLOPE_MAX - s @ t} for s in sides]
        best = minimize(
            lambda t: (t - free) @ h @ (t - free) / 2, theta, jac=lambda t: h @ (t - free), constraints=bounds,
            method="SLSQP", options={"ftol": 1e-12, "maxiter": 500},
        )  # fmt: skip
        cost = (found - free) @ h @ (found - free) / 2
        assert cost <= best.fun * (1 + 1e-6) + 1e-6
    shift_force = h[2] @ (found - free)
    assert abs(shift_force) < 1e-6 * (1 + np.abs(h).max() * np.abs(found - free).max())


@pytest.mark.parametrize("rate", [0.05, 0.95])
def test_a_word_that_turns_around_costs_an_elbow_hardly_more(rate: float) -> None:
    """The slopes come to their lower bound: what is left must fit them."""
    rng, centre = np.random.default_rng(6), np.log(rate / (1 - rate))
    away = rng.normal(0.0, 1.3, 40_000)
    truth = centre + np.where(np.arange(len(away)) > 20_000, -away, away)
    labels, losses = drawn(rng, truth), []
    for elbow in (False, True):
        line, lost = alone(elbow, Memory(outcomes=1_000.0, youth=2.0)), 0.0
        for start in range(0, len(away), 64):
            said, outcomes = centre + away[start : start + 64], labels[start : start + 64] > 0
            made = line.apply(said)
            lost += float(np.logaddexp(0.0, np.where(outcomes, -made, made)).sum())
            line.learn_many(said, outcomes)
        losses.append(lost / len(away))
    assert losses[1] < losses[0] + 0.002


@pytest.mark.parametrize("elbow", [False, True])
def test_a_model_that_says_the_same_for_ever_is_borne(elbow: bool) -> None:
    """The spread of its log odds fades to nothing, and with it what is known of slopes."""
    line, outcomes = alone(elbow, Memory(rows=50.0)), np.arange(64) < 7
    for _ in range(3_000):
        line.learn_many(np.zeros(64), outcomes)
    assert line.apply(np.zeros(1))[0] == pytest.approx(logits(7 / 64), abs=0.5)  # the prior of the shift
    assert np.isfinite(line.state()).all()


def lowest_tenth(seed: int, above: float, below: float) -> tuple[float, float]:
    """What is said of the tenth of rows with the lowest scores over its true mean, calibrated and as a straight line
    has it, where so steep a word is right above its mean and below it.
    """
    rng = np.random.default_rng(seed)
    said = rng.normal(-3.6, 1.3, 2 * ROWS)
    truth = bent(said + 3.6, above, below) - 3.6
    labels = drawn(rng, truth)
    asked = np.argsort(said)[: len(said) // 10]
    served = taught(said, labels).apply(said[asked, None], bytes(len(asked))).mean()
    lined = sigmoid(learned(said, labels, elbow=False).apply(said[asked])).mean()
    mean = sigmoid(truth[asked]).mean()
    return float(served / mean), float(lined / mean)


def test_the_lowest_tenth_has_a_slope_of_its_own() -> None:
    """As a network's word was found to be: too sure of the rows it thinks least of."""
    found = np.array([lowest_tenth(seed, above=1.0, below=0.5) for seed in range(4)])
    calibrated, lined = np.abs(np.log(found)).mean(axis=0)
    assert calibrated < 0.3  # the prior and 120 outcomes that are remembered below the mean
    assert lined > 0.6


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

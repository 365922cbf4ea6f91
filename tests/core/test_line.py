"""Lines: the recursion is the regression of all rows at once; with an elbow it finds the slope below the centre."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from stream_balance.core.line import Line
from stream_balance.core.memory import Memory
from stream_balance.core.odds import logits
from tests.core.test_calibrate import drawn, sigmoid, taught

ROWS = 60_000


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
    line = Line(-4.0, Memory(rows=500.0, youth=2.0), 20.0, 2.0, 10.0 if elbow else None)
    asked = np.linspace(-12.0, 8.0, 101)
    np.testing.assert_allclose(line.apply(asked), asked)
    for _ in range(int(rng.integers(1, 40))):
        said = rng.normal(rng.uniform(-6, 2), rng.uniform(0, 3), 64)
        line.learn_many(said, rng.random(64) < rng.random())
    made = line.apply(asked)
    assert (np.diff(made) > 0.0).all()
    assert np.abs(made).max() < 1e3


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

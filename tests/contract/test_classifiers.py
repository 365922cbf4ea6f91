"""Our arms as River classifiers: River's own checks, and what a stream may bring."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from river import datasets, metrics, preprocessing
from river.checks import yield_checks

from stream_balance import AutoClassifier
from stream_balance.core.arms.classifiers import (
    ArmClassifier,
    LinearClassifier,
    ReplayMLPClassifier,
    WindowBoosterClassifier,
)

KINDS = [LinearClassifier, ReplayMLPClassifier, WindowBoosterClassifier, AutoClassifier]
CHECKS = [(kind, check) for kind in KINDS for check in yield_checks(kind())]


@pytest.mark.parametrize(("kind", "check"), CHECKS, ids=[f"{k.__name__}-{c.__name__}" for k, c in CHECKS])
def test_river_s_checks(kind: type[ArmClassifier], check: Any) -> None:
    check(kind().clone())


@pytest.mark.parametrize("every", [2, 200])
def test_a_booster_that_is_fitted_more_often_serves_before_its_next_fit(every: int) -> None:
    model = WindowBoosterClassifier(every=every)
    assert (model.clone().every, model.clone().enter_after) == (every, None)
    rows = list(datasets.Phishing().take(every + 20))
    given = WindowBoosterClassifier(every=every, enter_after=every - 1)
    for each in (model, given):
        each.learn_rows([x for x, _ in rows], [y for _, y in rows])
    assert model.predict_proba_one(rows[0][0]) == given.predict_proba_one(rows[0][0])
    assert model._learner.trees is not None  # type: ignore[attr-defined]  # a booster's


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_in_a_pipeline(kind: type[ArmClassifier]) -> None:
    model, auc = preprocessing.StandardScaler() | kind(), metrics.ROCAUC()
    for x, y in datasets.Phishing():
        auc.update(y, model.predict_proba_one(x).get(True, 0.0))
        model.learn_one(x, y)
    assert auc.get() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_rows_at_once_are_said_as_one_by_one(kind: type[ArmClassifier]) -> None:
    model, rows = kind(), list(datasets.Phishing().take(400))
    for start in range(0, 400, 20):
        block = rows[start : start + 20]
        model.learn_rows([x for x, _ in block], [y for _, y in block])
    many = model.predict_proba_rows([x for x, _ in rows])
    one = [model.predict_proba_one(x) for x, _ in rows]
    np.testing.assert_allclose([p[True] for p in many], [p[True] for p in one], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_strings_absent_values_and_a_third_class(kind: type[ArmClassifier]) -> None:
    rng, model = np.random.default_rng(0), kind()
    colours = ("red", "green", "blue")
    for i in range(1_200):
        label = int(rng.integers(3 if i > 300 else 2))
        x = {"colour": colours[label] if rng.random() < 0.9 else colours[rng.integers(3)], 7: float(rng.normal())}
        if i % 5 == 0:
            x[7] = None  # type: ignore[assignment]  # as River allows
        model.learn_one(x, f"class {label}")
    for label, colour in enumerate(colours):
        said = model.predict_proba_one({"colour": colour})
        assert max(said, key=lambda name: said[name]) == f"class {label}"
        assert sum(said.values()) == pytest.approx(1.0)
    assert set(model.predict_proba_one({"colour": "never seen"})) == {"class 0", "class 1", "class 2"}


def test_columns_and_levels_are_bounded() -> None:
    model = LinearClassifier()
    model.learn_one({f"x{i}": 1.0 for i in range(3_000)}, True)
    for i in range(1_500):
        model.learn_one({"x1": float(i), "level": f"l{i}"}, bool(i % 2))
    assert len(model._rows.columns) == 1_000
    model.learn_one({"x1": 1.0}, False)
    other = LinearClassifier()
    for i in range(1_500):
        other.learn_one({"level": f"l{i}"}, bool(i % 2))
    assert len(other._rows.columns.levels[0]) == 1_000
    assert other._learner.encoder.width <= 64  # type: ignore[attr-defined]  # a linear one


def test_a_row_asked_about_before_its_level_was_known_is_learned_with_it() -> None:
    """The matrix of the row asked about last is kept, but not beyond what changes it."""
    one, other = LinearClassifier(), LinearClassifier()
    for model in (one, other):
        model.learn_one({"level": "a", "x": 1.0}, True)
        model.learn_one({"level": "a", "x": 2.0}, False)
    for x, y in [({"level": "b", "x": 1.5}, True), ({"level": "b", "x": 1.5, "new": 1.0}, True), ({"x": 1}, False)]:
        one.predict_proba_one(x)
        for model in (one, other):
            model.learn_one(x, y)
    changed: dict[Any, Any] = {"level": "a", "x": 1.0}
    one.predict_proba_one(changed)
    changed["x"] = 7.0
    for model in (one, other):
        model.learn_one(changed, True)
    assert pickle.dumps(one._learner.digest_state()) == pickle.dumps(other._learner.digest_state())  # type: ignore[attr-defined]


def test_labels_must_match_rows() -> None:
    with pytest.raises(ValueError, match="2 rows came with 1 labels"):
        LinearClassifier().learn_rows([{}, {}], [True])

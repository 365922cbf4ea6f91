"""What a row does not say: None, NaN and numbers beyond all bounds are absent, for the classifier inside too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import base, linear_model, preprocessing, tree

from stream_balance import AutoClassifier, BalancedClassifier
from stream_balance.core.arms.dict_rows import present

ABSENT = [None, math.nan, math.inf, -math.inf, 1e308, np.float32("nan"), 10**40]
Maker = Callable[[], base.Classifier]
MAKERS: dict[str, Maker] = {
    "smote_under": lambda: BalancedClassifier(
        preprocessing.StandardScaler() | linear_model.LogisticRegression(), "smote_under", seed=1
    ),
    "adasyn": lambda: BalancedClassifier(tree.HoeffdingTreeClassifier(), "adasyn", seed=1),
    "near_miss": lambda: BalancedClassifier(tree.HoeffdingTreeClassifier(), "near_miss", seed=1),
    "auto": lambda: AutoClassifier(seed=1),
}


def said(model: base.Classifier, absent: object, *, leave_out: bool) -> list[float]:
    """One value in ten is not there: it is `absent`, or its key is missing."""
    rng, found = np.random.default_rng(2), []
    for i in range(600):
        y = bool(rng.random() < 0.2)
        x: dict[str, Any] = {"a": float(rng.normal() + 2 * y), "b": float(rng.normal())}
        if i > 10 and rng.random() < 0.1:
            x["a"] = absent
            if leave_out:
                del x["a"]
        before = dict(x)
        answer = model.predict_proba_one(x)
        found.append(answer.get(True, 0.0))
        model.learn_one(x, y)
        assert list(x) == list(before)
    return found


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("absent", ABSENT, ids=repr)
def test_it_is_as_if_its_key_were_missing(name: str, absent: object) -> None:
    found = said(MAKERS[name](), absent, leave_out=False)
    assert found == said(MAKERS[name](), absent, leave_out=True)
    assert np.isfinite(found).all()


def test_only_what_is_absent_is_left_out() -> None:
    row = {"a": 0, "b": False, "c": "", "d": -1e30, "e": np.int64(3)}
    assert present(row) is row


def test_rows_without_any_feature_have_the_rate() -> None:
    model = AutoClassifier(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(700):
        model.learn_one({}, bool(rng.random() < 0.2))
    assert model.predict_proba_one({})[True] == pytest.approx(0.2, abs=0.08)

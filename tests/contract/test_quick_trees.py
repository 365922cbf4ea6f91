"""The trees with quick leaves give River's own answers, bit for bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from river import ensemble, forest, tree

from stream_balance.core.arms.quick_trees import QuickAdaptiveTree, QuickForest, QuickTree

PAIRS = {
    "adaptive_tree": (lambda: QuickAdaptiveTree(seed=3), lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=3), 12_000),
    "tree": (QuickTree, tree.HoeffdingTreeClassifier, 6_000),
    "forest": (lambda: QuickForest(seed=3), lambda: forest.ARFClassifier(seed=3), 1_500),
    "bagging": (
        lambda: ensemble.LeveragingBaggingClassifier(QuickTree(), n_models=3, seed=3),
        lambda: ensemble.LeveragingBaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=3, seed=3),
        1_500,
    ),
}


def stream(rows: int, classes: int) -> list[tuple[dict[str, Any], int]]:
    """Numbers, a level, absent values, and another concept in each third."""
    rng = np.random.default_rng(classes)
    found = []
    for row in range(rows):
        label = int(rng.integers(classes)) if rng.random() < 0.4 else 0
        turn = 1 - 2 * (row * 3 // rows % 2)
        x: dict[str, Any] = {f"x{i}": float(v) for i, v in enumerate(rng.normal(loc=label * turn, size=4))}
        x["brand"] = "abc"[label % 3] if rng.random() < 0.7 else "d"
        if rng.random() < 0.1:
            del x["x1"]
        found.append((x, label))
    return found


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_answers_are_rivers_bit_for_bit(name: str, classes: int) -> None:
    ours, rivers, rows = (made() if callable(made) else made for made in PAIRS[name])
    for x, y in stream(rows, classes):
        assert ours.predict_proba_one(x) == rivers.predict_proba_one(x)
        for _ in range(1 + (y > 0)):  # the same dict again, as when a sample is copied
            ours.learn_one(x, y)
            rivers.learn_one(x, y)
    if name not in {"forest", "bagging"}:
        assert ours.n_nodes == rivers.n_nodes > 1


def test_a_pickled_tree_goes_on_as_before() -> None:
    ours = QuickAdaptiveTree(seed=1)
    rows = stream(3_000, 2)
    for x, y in rows[:2_000]:
        ours.learn_one(x, y)
    other = pickle.loads(pickle.dumps(ours))
    for x, y in rows[2_000:]:
        assert ours.predict_proba_one(x) == other.predict_proba_one(x)
        ours.learn_one(x, y)
        other.learn_one(x, y)

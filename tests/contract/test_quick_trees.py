"""The trees with quick leaves give River's own answers, bit for bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from river import base, ensemble, forest, tree
from river.tree.nodes.branch import DTBranch, NumericBinaryBranch

from stream_balance.core.arms.quick_trees import QuickAdaptiveTree, QuickForest, QuickTree, _QuickBranch

PAIRS = {
    "adaptive_tree": (lambda: QuickAdaptiveTree(seed=3), lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=3), 12_000),
    "tree": (QuickTree, tree.HoeffdingTreeClassifier, 6_000),
    "tree of numbers": (QuickTree, tree.HoeffdingTreeClassifier, 4_000),
    "forest": (lambda: QuickForest(seed=3), lambda: forest.ARFClassifier(seed=3), 1_500),
    "bagging": (
        lambda: ensemble.LeveragingBaggingClassifier(QuickTree(), n_models=3, seed=3),
        lambda: ensemble.LeveragingBaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=3, seed=3),
        1_500,
    ),
}


def stream(rows: int, classes: int, *, levels: bool = True) -> list[tuple[dict[str, Any], int]]:
    """Numbers, a level, absent values, and another concept in each third; or numbers alone, which trees split by."""
    rng, strength = np.random.default_rng(classes), np.array([1, 1, 1, 1] if levels else [3, 2, 1, 1])
    found = []
    for row in range(rows):
        label = int(rng.integers(classes)) if rng.random() < 0.4 else 0
        turn = 1 - 2 * (row * 3 // rows % 2) if levels else 1
        x: dict[str, Any] = {f"x{i}": float(v) for i, v in enumerate(rng.normal(loc=label * turn * strength))}
        if levels:
            x["brand"] = "abc"[label % 3] if rng.random() < 0.7 else "d"
        if rng.random() < 0.1:
            del x["x1"]
        found.append((x, label))
    return found


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_answers_are_rivers_bit_for_bit(name: str, classes: int) -> None:
    ours, rivers, rows = (made() if callable(made) else made for made in PAIRS[name])
    for x, y in stream(rows, classes, levels="numbers" not in name):
        assert ours.predict_proba_one(x) == rivers.predict_proba_one(x)
        for _ in range(1 + (y > 0)):  # the same dict again, as when a sample is copied
            ours.learn_one(x, y)
            rivers.learn_one(x, y)
    trees = zip(inner(ours), inner(rivers), strict=True)
    assert all(one.n_nodes == other.n_nodes for one, other in trees)
    assert any(one.n_nodes > 1 for one in inner(ours))
    if "numbers" in name or name == "forest":
        assert any(type(node) is _QuickBranch for one in inner(ours) for node in branches(one))


def inner(model: Any) -> list[Any]:
    """The trees of an ensemble, or the tree itself."""
    return list(model) if isinstance(model, base.Ensemble) else [model]


def branches(model: Any) -> list[Any]:
    return list(model._root.iter_branches()) if isinstance(model._root, DTBranch) else []


@pytest.mark.parametrize("name", PAIRS)
def test_a_pickled_tree_goes_on_as_before(name: str) -> None:
    ours: Any = PAIRS[name][0]()
    rows = stream(PAIRS[name][2] // 2, 2, levels="numbers" not in name)
    half = len(rows) * 2 // 3
    for x, y in rows[:half]:
        ours.learn_one(x, y)
    other = pickle.loads(pickle.dumps(ours))
    for x, y in rows[half:]:
        assert ours.predict_proba_one(x) == other.predict_proba_one(x)
        ours.learn_one(x, y)
        other.learn_one(x, y)


def test_a_tree_of_rivers_own_branches_goes_on_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkpoint of before `_QuickBranch`."""
    ours, rivers = QuickTree(), tree.HoeffdingTreeClassifier()
    rows = stream(8_000, 2, levels=False)
    with monkeypatch.context() as before:
        before.delattr(QuickTree, "_branch_selector")
        for x, y in rows[:4_000]:
            ours.learn_one(x, y)
            rivers.learn_one(x, y)
    for x, y in rows[4_000:]:
        assert ours.predict_proba_one(x) == rivers.predict_proba_one(x)
        ours.learn_one(x, y)
        rivers.learn_one(x, y)
    assert {NumericBinaryBranch, _QuickBranch} <= {type(node) for node in branches(ours)}

"""Booster fit: scikit-learn's gradient boosting on a window, and its trees as flat arrays. In: bytes. Out: bytes.

The only module that imports scikit-learn. A pure function of the request, run in a child process by the service and
in process where the arm is used as a library. HistGradientBoostingClassifier is after LightGBM (Ke et al. 2017).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import ThreadpoolController

from stream_balance.core.arms.flat_trees import LEAVES_MAX
from stream_balance.core.arrays import pack, unpack
from stream_balance.core.records import Floats

Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

CODES_MAX = 254  # levels of a column that the booster tells apart; others are as absent
_FULL = np.uint16((1 << LEAVES_MAX) - 1)


def fit(request: bytes) -> bytes:
    """Fit on `rows` (n, d), `labels` (n,), `nominal` (d,) bool, with `seed`, `iterations`, `leaves`, `rate`.

    The result has what `FlatTrees` takes, and `classes`, those that are among the labels. At least two must be.
    """
    asked = unpack(request)
    levels = levels_of(asked["rows"], asked["nominal"])
    model = make_model(
        int(asked["seed"]), int(asked["iterations"]), int(asked["leaves"]), float(asked["rate"]), asked["nominal"]
    )
    with _pools().limit(limits=1):  # sums over several threads differ in the last bits with their number
        model.fit(_without_empty(as_ordinals(asked["rows"], levels)), asked["labels"])
    return pack(flatten(model, levels, asked["nominal"]) | {"classes": np.asarray(model.classes_, dtype=np.intp)})


@cache
def _pools() -> ThreadpoolController:
    """The thread pools of the libraries that fit; looking for them takes milliseconds."""
    return ThreadpoolController()


def make_model(seed: int, iterations: int, leaves: int, rate: float, nominal: Bools) -> Any:
    """The classifier, not fitted yet."""
    return HistGradientBoostingClassifier(
        learning_rate=rate, max_iter=iterations, max_leaf_nodes=leaves, early_stopping=False, random_state=seed,
        categorical_features=nominal if nominal.any() else None,
    )  # fmt: skip


def levels_of(rows: Floats, nominal: Bools) -> dict[int, Ints]:
    """By nominal column the level codes that are told apart, in order: the commonest `CODES_MAX` that are present."""
    found = {}
    for column in np.flatnonzero(nominal).tolist():
        codes, counts = np.unique(rows[~np.isnan(rows[:, column]), column], return_counts=True)
        found[column] = np.sort(codes[np.argsort(-counts, kind="stable")[:CODES_MAX]]).astype(np.intp)
    return found


def as_ordinals(rows: Floats, levels: dict[int, Ints]) -> Floats:
    """Rows with the levels of nominal columns numbered from 0; others are absent."""
    found = rows.copy()
    for column, codes in levels.items():
        if not len(codes):
            continue
        at = np.minimum(np.searchsorted(codes, rows[:, column]), len(codes) - 1)
        found[:, column] = np.where(codes[at] == rows[:, column], at, np.nan)
    return found


def _without_empty(rows: Floats) -> Floats:
    """The same rows, columns without a single value 0 throughout: no tree asks for a constant; scikit-learn fails."""
    rows[:, np.isnan(rows).all(axis=0)] = 0.0
    return rows


def flatten(model: Any, levels: dict[int, Ints], nominal: Bools) -> dict[str, npt.NDArray[Any]]:
    """The fitted model's trees as arrays for `FlatTrees`, whose rows have level codes, not ordinals."""
    order = [*np.flatnonzero(nominal), *np.flatnonzero(~nominal)]  # sklearn puts nominal columns first
    trees = [tree for iteration in model._predictors for tree in iteration]
    outputs = [k for iteration in model._predictors for k in range(len(iteration))]
    tests: dict[int, list[_Test]] = {}
    leaves = np.zeros((len(trees), LEAVES_MAX))
    for number, tree in enumerate(trees):
        for test in _walk(tree, number, leaves[number]):
            tests.setdefault(int(order[test.column]), []).append(test)
    edges: list[Floats] = []
    tables: list[npt.NDArray[np.uint16]] = []
    columns = sorted(tests)
    starts = [0]
    for column in columns:
        make = _nominal_table if nominal[column] else _numeric_table
        edge, table = make(tests[column], len(trees), levels.get(column), starts[-1])
        edges.append(edge)
        tables.append(table)
        starts.append(starts[-1] + len(table))
    if not tables:  # no tree has a test: one row that rules nothing out
        columns, edges, tables, starts = [0], [np.zeros(0)], [np.full((2, len(trees)), _FULL)], [0, 2]
    return {
        "columns": np.array(columns, dtype=np.intp),
        "nominal": np.array([nominal[column] for column in columns], dtype=np.bool_),
        "edges": np.concatenate(edges),
        "edge_starts": np.cumsum([0, *map(len, edges)]),
        "row_starts": np.array(starts, dtype=np.intp),
        "masks": np.concatenate(tables),
        "leaves": leaves,
        "output": np.array(outputs, dtype=np.intp),
        "baseline": np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1),
    }


class _Node(NamedTuple):
    """What is read of a node of scikit-learn's."""

    is_leaf: bool
    value: float
    feature_idx: int
    num_threshold: float
    missing_go_to_left: bool
    left: int
    right: int
    is_categorical: bool
    bitset_idx: int


class _Test:
    """A node: where its test fails, and `keeps`, the leaves that remain when it does."""

    __slots__ = ("absent_fails", "column", "keeps", "left", "threshold", "tree")

    def __init__(self, node: _Node, tree: int, keeps: int, left: set[int] | None) -> None:
        self.tree, self.keeps, self.left = tree, keeps, left
        self.column, self.threshold = node.feature_idx, node.num_threshold
        self.absent_fails = not node.missing_go_to_left


def _walk(tree: Any, number: int, leaves: Floats) -> list[_Test]:
    """The tests of a tree; fills in the values of its leaves, numbered from the left."""
    columns = [tree.nodes[name].tolist() for name in _Node._fields]
    nodes, found, count = [_Node(*each) for each in zip(*columns, strict=True)], list[_Test](), 0

    def visit(index: int) -> int:
        """Number the leaves below; return them as bits."""
        nonlocal count
        node = nodes[index]
        if node.is_leaf:
            if count == LEAVES_MAX:
                raise ValueError(f"a tree has more than {LEAVES_MAX} leaves")
            leaves[count] = node.value
            count += 1
            return 1 << (count - 1)
        left = visit(node.left)
        levels = _levels(tree.raw_left_cat_bitsets[node.bitset_idx]) if node.is_categorical else None
        found.append(_Test(node, number, int(_FULL) & ~left, levels))
        return left | visit(node.right)

    visit(0)
    return found


def _levels(bitset: npt.NDArray[np.uint32]) -> set[int]:
    return {32 * i + bit for i, word in enumerate(bitset.tolist()) for bit in range(32) if word >> bit & 1}


def _numeric_table(
    tests: list[_Test], trees: int, levels: Ints | None, start: int
) -> tuple[Floats, npt.NDArray[np.uint16]]:
    """Thresholds in order; row j is for a value above the first j of them, the last row for an absent value."""
    edges = np.unique([test.threshold for test in tests])
    table = np.full((len(edges) + 2, trees), _FULL)
    for test in tests:
        table[np.searchsorted(edges, test.threshold) + 1, test.tree] &= test.keeps
    table[:-1] = np.bitwise_and.accumulate(table[:-1], axis=0)
    _fill_absent(tests, table)
    return edges, table


def _nominal_table(
    tests: list[_Test], trees: int, levels: Ints | None, start: int
) -> tuple[Floats, npt.NDArray[np.uint16]]:
    """By level code the table's row; a row for each level that was there, the last one for absent and unknown."""
    assert levels is not None, "a nominal column has levels"
    table = np.full((len(levels) + 1, trees), _FULL)
    for test in tests:
        assert test.left is not None, "a test of a nominal column has levels"
        for ordinal in range(len(levels)):
            if ordinal not in test.left:
                table[ordinal, test.tree] &= test.keeps
    _fill_absent(tests, table)
    rows = np.full(int(levels.max()) + 1 if len(levels) else 0, float(start + len(levels)))
    rows[levels] = start + np.arange(len(levels))
    return rows, table


def _fill_absent(tests: list[_Test], table: npt.NDArray[np.uint16]) -> None:
    for test in tests:
        if test.absent_fails:
            table[-1, test.tree] &= test.keeps

"""Flat trees: equal to scikit-learn's booster on every row, absent values and levels included."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_balance.core.arms.booster_fit import as_ordinals, fit, flatten, levels_of, make_model
from stream_balance.core.arms.flat_trees import FlatTrees
from stream_balance.core.arrays import pack, unpack


def table(seed: int, rows: int, classes: int = 2, levels: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with ties, constants, absent values, infinities; the last columns nominal if `levels`."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([
        rng.normal(size=rows), rng.integers(0, 5, rows), rng.exponential(size=rows) * 1e6, np.full(rows, 7.0),
        rng.normal(size=rows).round(1),
    ])  # fmt: skip
    score = X[:, 0] + 0.5 * X[:, 1] + X[:, 4]
    if levels:
        codes = rng.integers(0, levels, (rows, 2)).astype(float) * 3  # codes with gaps
        score = score + np.sin(codes[:, 0])
        X = np.column_stack([X[:, :2], codes[:, :1], X[:, 2:], codes[:, 1:]])
    cuts = np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1])
    labels = np.searchsorted(cuts, score + rng.normal(size=rows) * 0.3)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[score > 3, 0] = np.nan  # absence that tells something
    nominal = np.zeros(X.shape[1], dtype=bool)
    if levels:
        nominal[[2, -1]] = True
    return X, labels, nominal


@pytest.mark.parametrize("levels", [0, 6, 300])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_sklearn_s_to_the_last_bit(seed: int, classes: int, levels: int) -> None:
    X, y, nominal = table(seed, 1_500, classes, levels)
    known = levels_of(X[:1_000], nominal)
    ordinals = as_ordinals(X, known)
    model = make_model(seed, 30, 15, 0.1, nominal).fit(ordinals[:1_000], y[:1_000])
    trees = FlatTrees(flatten(model, known, nominal))
    expected = model._raw_predict(ordinals)
    np.testing.assert_array_equal(trees.raw(X), expected)
    np.testing.assert_array_equal(np.concatenate([trees.raw(X[i : i + 1]) for i in range(0, 1_500, 7)]), expected[::7])
    if classes == 2:
        probability = 1 / (1 + np.exp(-trees.raw(X)[:, 0]))
        np.testing.assert_allclose(probability, model.predict_proba(ordinals)[:, 1], rtol=1e-14)
    absent = np.full((1, X.shape[1]), np.nan)
    np.testing.assert_array_equal(trees.raw(absent), model._raw_predict(absent))


@given(st.integers(0, 10_000), st.integers(25, 120), st.booleans())
@settings(max_examples=25, deadline=None)
def test_small_and_odd_tables_too(seed: int, rows: int, mixed: bool) -> None:
    X, y, nominal = table(seed, rows, 2, 4 if mixed else 0)
    X[: rows // 10, 0] = np.inf
    X[rows // 10 : rows // 5, 0] = -np.inf
    known = levels_of(X, nominal)
    ordinals = as_ordinals(X, known)
    model = make_model(0, 8, 15, 0.1, nominal).fit(ordinals, y)
    np.testing.assert_array_equal(FlatTrees(flatten(model, known, nominal)).raw(X), model._raw_predict(ordinals))


def test_a_column_that_was_never_present_changes_nothing() -> None:
    X, y, nominal = table(3, 400, levels=4)
    asked = {"labels": y, "seed": np.array(1), "iterations": np.array(5), "leaves": np.array(15), "rate": np.array(0.1)}
    empty = np.full((len(X), 1), np.nan)
    plain = FlatTrees(unpack(fit(pack({**asked, "rows": X, "nominal": nominal}))))
    wider = np.hstack([X, empty, empty])
    more = FlatTrees(unpack(fit(pack({**asked, "rows": wider, "nominal": np.append(nominal, [False, True])}))))
    np.testing.assert_array_equal(more.raw(wider), plain.raw(X))
    strange = np.hstack([X, np.full((len(X), 2), 3.0)])
    np.testing.assert_array_equal(more.raw(strange), plain.raw(X))


def test_levels_that_the_fit_did_not_see_are_as_absent() -> None:
    X, y, nominal = table(5, 800, levels=6)
    known = levels_of(X, nominal)
    ordinals = as_ordinals(X, known)
    trees = FlatTrees(flatten(make_model(0, 20, 15, 0.1, nominal).fit(ordinals, y), known, nominal))
    strange, absent = X.copy(), X.copy()
    strange[:, 2], absent[:, 2] = 1_000.0, np.nan
    np.testing.assert_array_equal(trees.raw(strange), trees.raw(absent))
    strange[:, 2] = 1.0  # between two that it saw
    np.testing.assert_array_equal(trees.raw(strange), trees.raw(absent))


def test_narrow_rows_lack_their_last_columns() -> None:
    X, y, nominal = table(6, 800)
    trees = FlatTrees(flatten(make_model(0, 20, 15, 0.1, nominal).fit(X, y), {}, nominal))
    cut = X.copy()
    cut[:, 3:] = np.nan
    np.testing.assert_array_equal(trees.raw(X[:, :3]), trees.raw(cut))
    np.testing.assert_array_equal(trees.raw(X[:1, :3]), trees.raw(cut[:1]))


def test_a_fit_is_a_function_of_its_request() -> None:
    X, y, nominal = table(7, 600, levels=5)
    request = pack({
        "rows": X, "labels": y, "nominal": nominal, "seed": np.array(3), "iterations": np.array(10),
        "leaves": np.array(15), "rate": np.array(0.1),
    })  # fmt: skip
    result = fit(request)
    assert fit(request) == result
    trees = FlatTrees(unpack(result))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trees)).raw(X), trees.raw(X))
    assert unpack(result)["classes"].tolist() == [0, 1]


def test_labels_that_nothing_tells_apart_give_the_rate() -> None:
    X, y, nominal = np.ones((200, 2)), (np.arange(200) % 4 == 0).astype(int), np.zeros(2, dtype=bool)
    trees = FlatTrees(flatten(make_model(0, 5, 15, 0.1, nominal).fit(X, y), {}, nominal))
    assert 1 / (1 + np.exp(-trees.raw(X[:2])[:, 0])) == pytest.approx([0.25, 0.25], abs=1e-6)


@pytest.mark.parametrize("data", [b"", b"abc", pack({"a": np.arange(3)})[:-1], pack({"a": np.arange(3)}) + b"x"])
def test_bytes_that_are_no_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed arrays"):
        unpack(data)


def test_packed_arrays_are_what_they_were_and_objects_are_refused() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 4))}
    found = unpack(pack(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
    with pytest.raises(TypeError, match="'a' is an array of object"):
        pack({"a": np.array([None])})

"""One suite for all models; and the logistic ones against bare River."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from river import ensemble, linear_model, naive_bayes, optim, preprocessing

from stream_balance.core.arms import MODELS, Model, make_model
from stream_balance.core.records import Columns, Samples
from stream_balance.errors import SettingsError
from stream_balance.testing import Sample, together

NAMES = [*MODELS, "river.tree:HoeffdingTreeClassifier"]
MANY = [name for name in NAMES if name not in MODELS or MODELS[name][1]]
BINARY = [name for name in NAMES if name not in MANY]


def table(width: int = 4, nominal: bool = False) -> Columns:
    columns = Columns()
    for i in range(width):
        columns.add(f"x{i}")
    if nominal:
        column = columns.add("brand", nominal=True)
        for level in ("a", "b", "c"):
            columns.level(column, level)
    return columns


def stream(n: int, classes: int = 2, seed: int = 0, absent: float = 0.0, nominal: bool = False) -> list[Sample]:
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(n):
        label = int(rng.integers(classes))
        row = rng.normal(loc=[label, -label, 0, 5 * label], scale=[1, 2, 1, 9])
        row[rng.random(4) < absent] = np.nan
        if nominal:
            level = label % 3 if rng.random() < 0.7 else int(rng.integers(3))
            row = np.append(row, np.nan if rng.random() < absent else level)
        samples.append(Sample(row, label, "observed"))
    return samples


def taught(name: str, samples: list[Sample], columns: Columns, classes: int = 2) -> Model:
    model = make_model(name, classes, seed=7)
    for sample in samples:
        model.learn(together([sample]), columns)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_learned_nothing_abstains(name: str) -> None:
    scores = make_model(name).predict(np.zeros((3, 4)), table())
    assert scores.abstained.tolist() == [True] * 3
    assert np.isnan(scores.probability).all()
    assert scores.probability.shape == (3, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nominal", [False, True])
def test_a_model_learns(name: str, nominal: bool) -> None:
    columns = table(nominal=nominal)
    model = taught(name, stream(600, nominal=nominal, absent=0.05), columns)
    test = stream(300, seed=1, nominal=nominal)
    scores = model.predict(np.array([sample.row for sample in test]), columns)
    assert not scores.abstained.any()
    assert ((scores.probability >= 0) & (scores.probability <= 1)).all()
    right = np.mean((scores.probability[:, 0] > 0.5) == [sample.label for sample in test])
    assert right > 0.65


@pytest.mark.parametrize("name", NAMES)
def test_levels_alone_can_be_learned(name: str) -> None:
    columns = Columns()
    column = columns.add("brand", nominal=True)
    for level in ("a", "b", "c"):
        columns.level(column, level)
    samples = [Sample(np.array([float(i % 3)]), int(i % 3 == 2), "observed") for i in range(900)]
    scores = taught(name, samples, columns).predict(np.array([[0.0], [1.0], [2.0]]), columns).probability[:, 0]
    assert scores[2] > max(scores[:2])


@pytest.mark.parametrize("name", NAMES)
def test_a_class_never_learned_has_no_probability(name: str) -> None:
    columns = table()
    classes = 3 if name in MANY else 2
    model = taught(name, [s for s in stream(300, classes) if s.label < classes - 1], columns, classes)
    scores = model.predict(np.array([sample.row for sample in stream(20)]), columns)
    assert scores.probability.shape == (20, classes - 1)
    assert (scores.probability[:, -1] < 0.5).all()


@pytest.mark.parametrize("name", MANY)
def test_three_classes(name: str) -> None:
    columns = table()
    model = taught(name, stream(900, classes=3), columns, classes=3)
    test = stream(300, classes=3, seed=1)
    probability = model.predict(np.array([sample.row for sample in test]), columns).probability
    whole = np.column_stack([1 - probability.sum(axis=1), probability])
    assert (whole > -1e-9).all()
    assert np.mean(whole.argmax(axis=1) == [sample.label for sample in test]) > 0.45


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_model_is_refused_for_three_classes_or_wrapped(name: str) -> None:
    with pytest.raises(SettingsError, match=r"hoeffding_adaptive_tree.*--one-vs-rest"):
        make_model(name, classes=3)
    columns = table()
    model = make_model(name, classes=3, one_vs_rest=True)
    assert model.predict(np.zeros((2, 4)), columns).abstained.all()
    for sample in stream(900, classes=3):
        model.learn(together([sample]), columns)
    test = stream(300, classes=3, seed=1)
    probability = model.predict(np.array([sample.row for sample in test]), columns).probability
    assert probability.shape == (300, 2)
    whole = np.column_stack([1 - probability.sum(axis=1), probability])
    assert (whole > -1e-9).all()
    assert np.mean(whole.argmax(axis=1) == [sample.label for sample in test]) > 0.45


@pytest.mark.parametrize("name", NAMES)
def test_predicting_changes_no_later_answer(name: str) -> None:
    columns, samples = table(), stream(300)
    rows = np.array([sample.row for sample in samples[:20]])
    asked, left = make_model(name, seed=3), make_model(name, seed=3)
    for sample in samples:
        asked.predict(rows, columns)
        asked.learn(together([sample]), columns)
        left.learn(together([sample]), columns)
    np.testing.assert_array_equal(asked.predict(rows, columns).probability, left.predict(rows, columns).probability)


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_model_goes_on_as_before(name: str) -> None:
    columns, samples = table(nominal=True), stream(500, nominal=True)
    model = taught(name, samples[:300], columns)
    other = pickle.loads(pickle.dumps(model))
    for sample in samples[300:]:
        model.learn(together([sample]), columns)
        other.learn(together([sample]), columns)
    rows = np.array([sample.row for sample in samples])
    np.testing.assert_array_equal(model.predict(rows, columns).probability, other.predict(rows, columns).probability)
    assert repr(model.digest_state()) == repr(other.digest_state())


def test_the_seed_of_hashes_changes_nothing() -> None:
    script = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import test_models as t\n"
        "columns, samples = t.table(nominal=True), t.stream(400, nominal=True)\n"
        "rows = np.array([s.row for s in samples[:50]])\n"
        "for name in t.NAMES: print(t.taught(name, samples, columns).predict(rows, columns).probability.data.hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("name", NAMES)
def test_times_are_repetitions(name: str) -> None:
    columns, samples = table(), stream(60)
    once, thrice = make_model(name), make_model(name)
    for sample in samples:
        thrice.learn(together([Sample(sample.row, sample.label, "copied", times=3)]), columns)
        once.learn(together([Sample(sample.row, sample.label, "copied")] * 3), columns)
    rows = np.array([sample.row for sample in samples])
    np.testing.assert_allclose(
        once.predict(rows, columns).probability, thrice.predict(rows, columns).probability, rtol=1e-12
    )


def bare_river(samples: list[Sample], columns: Columns, delay: int) -> list[float]:
    """The progressive loop: each row is predicted before it is learned, `delay` rows later."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))
    answers = []
    for i, sample in enumerate(samples):
        if i - delay >= 1:
            model.learn_one(*dict_of(samples[i - delay - 1], columns))
        answers.append(model.predict_proba_one(dict_of(sample, columns)[0])[True])
    return answers


def dict_of(sample: Sample, columns: Columns) -> tuple[dict[str, float], bool]:
    present = {n: x for n, x in zip(columns.names, sample.row.tolist(), strict=True) if not math.isnan(x)}
    return present, bool(sample.label)


@pytest.mark.parametrize("delay", [0, 17])
@pytest.mark.parametrize("absent", [0.0, 0.2])
@pytest.mark.parametrize(("name", "tolerance"), [("river_logistic", 0.0), ("logistic", 1e-9)])
def test_logistic_is_river_s_progressive_loop(name: str, tolerance: float, absent: float, delay: int) -> None:
    columns, samples = table(), stream(1_500, absent=absent)
    expected = bare_river(samples, columns, delay)
    model = make_model(name)
    for i, sample in enumerate(samples):
        if i - delay >= 1:
            model.learn(together([samples[i - delay - 1]]), columns)
        scores = model.predict(sample.row[None, :], columns)
        if i > delay:
            assert abs(scores.probability[0, 0] - expected[i]) <= tolerance
        else:
            assert scores.abstained[0]


def test_fast_and_river_logistic_agree_on_all_there_is() -> None:
    """Copies, offsets, absent values, levels and columns that appear later, huge and constant columns."""
    rng = np.random.default_rng(5)
    columns = table(4, nominal=True)
    fast, slow = make_model("logistic"), make_model("river_logistic")
    for i in range(1_200):
        if i == 300:
            columns.add("late")
            columns.add("late_level", nominal=True)
            columns.level(6, "u")
        if i == 600:
            columns.level(4, "d")
            columns.level(6, "v")
        row = np.full(len(columns) if rng.random() < 0.9 else 4, np.nan)
        row[:4] = [rng.normal(), 1e9 + 1e3 * rng.normal(), 3.0, rng.exponential() * 50]
        if len(row) > 4:
            row[4] = rng.integers(len(columns.level_names[4]))
        if len(row) > 6:
            row[5], row[6] = rng.normal(), rng.integers(len(columns.level_names[6]))
        row[rng.random(len(row)) < 0.1] = np.nan
        label = int(rng.random() < 0.3)
        sample = Sample(row, label, "observed", (float(rng.normal()),), int(rng.integers(1, 5)))
        fast.learn(together([sample]), columns)
        slow.learn(together([sample]), columns)
        rows = np.vstack([row, np.full(len(row), np.nan), row * 1.5 if i % 9 == 0 and len(row) == 4 else row])
        np.testing.assert_allclose(
            fast.predict(rows, columns).probability, slow.predict(rows, columns).probability, rtol=0, atol=1e-9
        )


def test_an_offset_is_learned_with_and_served_without() -> None:
    """Negatives kept at .1: without the offset the mean probability is far too high."""
    rng = np.random.default_rng(2)
    columns = table(2)
    honest, bent = make_model("logistic"), make_model("logistic")
    rows = rng.normal(size=(30_000, 2))
    truth = 1 / (1 + np.exp(4 - rows[:, 0]))
    labels = rng.random(len(rows)) < truth
    for row, label in zip(rows, labels, strict=True):
        if label or rng.random() < 0.1:
            honest.learn(Samples.of(row, int(label), offset=(math.log(10.0),)), columns)
            bent.learn(Samples.of(row, int(label)), columns)
    assert honest.predict(rows, columns).probability.mean() == pytest.approx(labels.mean(), rel=0.1)
    assert bent.predict(rows, columns).probability.mean() > 4 * labels.mean()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_model", "logistic, river_logistic"),
        ("no.such.module:factory", "cannot be imported: ModuleNotFoundError"),
        ("math:no_such_function", "cannot be imported: AttributeError"),
        ("math:pi", "is a float"),
        ("builtins:dict", "returned a dict, expected a River classifier"),
        ("river.linear_model:LinearRegression", "expected a River classifier"),
        (f"{__name__}:silent", "returned a VotingClassifier, which says no probabilities"),
    ],
)
def test_what_is_no_model_is_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_model(name)


def silent() -> object:
    """It votes: whatever takes part, there is no probability."""
    return ensemble.VotingClassifier([linear_model.LogisticRegression() for _ in range(2)])


def pipeline_factory() -> object:
    bayes: Any = naive_bayes.GaussianNB  # untyped in River
    return preprocessing.StandardScaler() | bayes()


def test_a_factory_may_return_a_pipeline() -> None:
    columns = table()
    model = taught(f"{__name__}:pipeline_factory", stream(300, 3), columns, classes=3)
    assert model.predict(np.zeros((1, 4)), columns).probability.shape == (1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_samples_at_once_are_samples_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = Columns()
    for i in range(4):
        columns.add(f"x{i}")
    columns.add("brand", nominal=True)
    for level in "abcdef":
        columns.level(4, level)
    rows = np.concatenate([rng.normal(1e3, 2, (60, 3)), np.full((60, 1), 0.1), rng.integers(0, 6, (60, 1))], axis=1)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:25, 2] = np.nan  # comes late
    samples = [
        Sample(row, int(rng.random() < 0.3), "observed", (float(rng.normal()),), int(rng.integers(1, 4)))
        for row in rows
    ]
    single, block = make_model("logistic"), make_model("logistic")
    for sample in samples:
        single.learn(together([sample]), columns)
    for start in range(0, 60, 17):
        block.learn(together(samples[start : start + 17]), columns)
    np.testing.assert_allclose(
        block.predict(rows, columns).probability, single.predict(rows, columns).probability, rtol=1e-9
    )

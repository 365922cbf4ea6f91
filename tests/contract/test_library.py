"""Balancing around any River classifier: River's own checks, every strategy, any labels, honest probabilities."""

from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from river import checks, datasets, ensemble, linear_model, multiclass, naive_bayes, preprocessing, tree
from river.datasets import synth

from stream_balance import AutoClassifier, BalancedClassifier
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.metrics_math import grouped, roc_auc

Stream = list[tuple[dict[Any, Any], Any]]


def stream(rows: int, seed: int, rate: float = 0.05, labels: tuple[Any, Any] = (False, True)) -> Stream:
    """Two numbers and a level; the first number tells the class."""
    rng = np.random.default_rng(seed)
    found: Stream = []
    for _ in range(rows):
        label = int(rng.random() < rate)
        x = {"a": float(rng.normal(1.5 * label)), "b": float(rng.normal()), "shop": str(rng.choice(["x", "y"]))}
        found.append((x, labels[label]))
    return found


def logistic() -> Any:
    numbers = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    return numbers


def numeric(rows: Stream) -> Stream:
    return [({key: value for key, value in x.items() if key != "shop"}, y) for x, y in rows]


def run(model: Any, rows: Stream) -> np.ndarray:
    """Probability of the second class, each row scored before it is learned."""
    found = []
    for x, y in rows:
        found.append(model.predict_proba_one(x).get(True, 0.0))
        model.learn_one(x, y)
    return np.array(found)


@pytest.mark.parametrize("params", list(BalancedClassifier._unit_test_params()), ids=lambda each: each["strategy"])
def test_it_passes_rivers_checks(params: dict[str, Any]) -> None:
    model = BalancedClassifier(**params)
    for check in checks.yield_checks(model):
        if check.__name__ not in model._unit_test_skips():
            check(model.clone())


AREA_MIN = 0.65  # the best there is: .86
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": logistic,
    "naive_bayes": naive_bayes.GaussianNB,
    "tree": tree.HoeffdingTreeClassifier,
    "bagging": lambda: ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=3, seed=1),
}


@pytest.mark.parametrize(("place", "strategy"), list(enumerate(STRATEGIES)))
def test_under_every_strategy_probabilities_are_those_of_the_stream(place: int, strategy: str) -> None:
    """Each strategy around one of the classifiers, at 1, 2 or 5 %."""
    classifier = list(CLASSIFIERS.values())[place % len(CLASSIFIERS)]
    served, outcomes = half_of(classifier(), strategy, rate=(0.05, 0.02, 0.01)[place % 3])
    assert served.mean() / outcomes.mean() == pytest.approx(1.0, abs=allowed(outcomes))
    # it never shows a tree the majority far from rare rows, which then gets any answer
    assert strategy == "near_miss" or area(served, outcomes) > AREA_MIN


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_around_every_classifier_probabilities_are_those_of_the_stream(name: str, rate: float) -> None:
    served, outcomes = half_of(CLASSIFIERS[name](), "smote_under", rate)
    assert served.mean() / outcomes.mean() == pytest.approx(1.0, abs=allowed(outcomes))
    assert area(served, outcomes) > AREA_MIN


@pytest.mark.parametrize("make", [partial(BalancedClassifier, logistic(), "none"), AutoClassifier])
def test_probabilities_follow_a_rate_that_falls(make: Callable[[], Any]) -> None:
    """What was learned while the classifier said far too much is not taken off later: it was served at .55 of the rate
    then, two to six thousand rows after the fall.
    """
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows: Stream = []
        for i in range(11_000):
            label = bool(rng.random() < (0.2 if i < 5_000 else 0.01))
            rows.append(({f"x{j}": float(rng.normal(1.5 * label if j < 2 else 0.0)) for j in range(4)}, label))
        found.append(run(make().clone(), rows)[7_000:].mean() / 0.01)
    assert 0.78 < np.mean(found) < 1.25


def half_of(classifier: Any, strategy: str, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Served probabilities and outcomes of the second half of a stream, 6,000 rows or more."""
    rows = numeric(stream(6_000 if rate >= 0.05 else 9_000, seed=2, rate=rate))
    half = len(rows) // 2
    served = run(BalancedClassifier(classifier, strategy, seed=3), rows)[half:]
    return served, np.array([y for _, y in rows[half:]])


def area(served: np.ndarray, outcomes: np.ndarray) -> float:
    """ROC-AUC."""
    return roc_auc(*grouped(served, outcomes)[:2]) or 0.0


def allowed(outcomes: np.ndarray) -> float:
    """Three standard errors of the ratio: chance alone moves it by 1 / sqrt(positives)."""
    return float(3 / np.sqrt(outcomes.sum()))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tree_of_rare_classes_does_not_answer_a_constant(seed: int) -> None:
    """Its leaves choose by accuracy: always-"no" is hard to beat among 20 % positives, not among equal classes."""
    chance, source = random.Random(seed), iter(synth.Agrawal(classification_function=1, seed=10 * seed))
    labels = [chance.random() < 0.01 for _ in range(4_000)]
    rows: Stream = [(next(x for x, y in source if y == label), label) for label in labels]
    different = {}
    for target in (0.2, 0.5):
        model = BalancedClassifier(tree.HoeffdingTreeClassifier(), target_share=target, seed=3)
        for x, y in rows:
            model.learn_one(x, y)
        different[target] = len({model.classifier.predict_proba_one(x)[True] for x, _ in rows[-300:]})
    assert different[0.2] == 1
    assert different[0.5] > 100


def test_without_it_a_balanced_model_says_several_times_too_much() -> None:
    """What the correction is worth: the classifier inside, asked directly."""
    rows = numeric(stream(6_000, seed=2))
    model = BalancedClassifier(logistic(), "random_over", target_share=0.5, seed=3)
    run(model, rows)
    inside = np.mean([model.classifier.predict_proba_one(x)[True] for x, _ in rows[3_000:]])
    assert inside / np.mean([y for _, y in rows[3_000:]]) > 4


def test_the_same_seed_gives_the_same_and_a_copy_goes_on_alike() -> None:
    rows = stream(1_200, seed=4)
    one, other = (BalancedClassifier(tree.HoeffdingTreeClassifier(), seed=5) for _ in range(2))
    np.testing.assert_array_equal(run(one, rows[:600]), run(other, rows[:600]))
    again, deep = pickle.loads(pickle.dumps(one)), copy.deepcopy(one)
    expected = run(one, rows[600:])
    np.testing.assert_array_equal(run(again, rows[600:]), expected)
    np.testing.assert_array_equal(run(deep, rows[600:]), expected)


@pytest.mark.parametrize("labels", [("ok", "fraud"), (0, 1), (True, False)])
def test_labels_may_be_of_any_kind(labels: tuple[Any, Any]) -> None:
    model = BalancedClassifier(tree.HoeffdingTreeClassifier(), seed=1)
    assert model.predict_proba_one({"a": 1.0}) == {}
    for x, y in stream(900, seed=6, labels=labels):
        model.learn_one(x, y)
    answer = model.predict_proba_one({"a": 3.0, "b": 0.0, "shop": "x"})
    assert set(answer) == set(labels)
    assert sum(answer.values()) == pytest.approx(1.0)
    assert answer[labels[1]] > 0.1


def test_a_class_that_comes_later_is_learned_too() -> None:
    rng = np.random.default_rng(8)
    model = BalancedClassifier(naive_bayes.GaussianNB(), "smote", seed=1)
    for i in range(3_000):
        label = "abc"[int(rng.choice(3, p=[0.85, 0.1, 0.05]))] if i > 1_000 else "ab"[int(rng.random() < 0.1)]
        model.learn_one({"v": float(rng.normal(4 * "abc".index(label)))}, label)
    answer = model.predict_proba_one({"v": 8.0})
    assert max(answer, key=answer.__getitem__) == "c"
    assert sum(answer.values()) == pytest.approx(1.0)


def test_weights_are_given_where_they_are_honoured() -> None:
    model = BalancedClassifier(linear_model.LogisticRegression(), "class_weight", target_share=0.5, seed=1)
    assert model._honours_weights
    assert not BalancedClassifier(naive_bayes.GaussianNB(), "class_weight")._honours_weights
    rows = numeric(stream(3_000, seed=9))
    served = run(model, rows)[1_500:]
    assert served.mean() / np.mean([y for _, y in rows[1_500:]]) == pytest.approx(1.0, abs=0.3)


def test_on_a_short_stream_whose_classes_are_equal_nothing_is_lost() -> None:
    """1,250 rows, 44 % positives, where 2 % are first guessed: whole-life figures count the beginning."""
    rows = [({name: float(value) for name, value in x.items()}, bool(y)) for x, y in datasets.Phishing()]
    truth = np.array([y for _, y in rows])

    def figures(model: Any) -> tuple[float, float]:
        said = np.clip(run(model, rows), 1e-9, 1 - 1e-9)
        hits, misses, _ = grouped(said, truth)
        loss = -np.log(np.where(truth, said, 1 - said)).mean()
        return roc_auc(hits, misses) or 0.0, float(loss)

    bare_auc, bare_loss = figures(logistic())
    for model in (BalancedClassifier(logistic(), seed=1), AutoClassifier(seed=1)):
        auc, loss = figures(model)
        assert auc > bare_auc - 0.015  # it was .056 below
        assert loss < 1.05 * bare_loss  # it was a third above


def test_classes_named_beforehand_lose_nothing_when_one_of_them_comes_late() -> None:
    losses = {}
    for classes in ((), ("a", "b", "c")):
        chance, model, lost = random.Random(3), AutoClassifier(seed=1, classes=classes), 0.0
        for row in range(1_300):
            x = {"z": chance.gauss(0, 1)}
            y = "b" if chance.random() < 1 / (1 + math.exp(-3 * x["z"])) else "a"
            y = "c" if row == 1_200 else y
            if row > 1_200:
                lost -= math.log(max(model.predict_proba_one(x)[y], 1e-6)) / 99
            model.learn_one(x, y)
        losses[classes] = lost
        assert set(model.predict_proba_one(x)) == {"a", "b", "c"}
    print(losses)
    assert losses["a", "b", "c"] < 0.9 * losses[()]
    assert model.clone().classes == ("a", "b", "c")
    assert set(AutoClassifier(classes=[1, 2]).predict_proba_one({})) == {1, 2}
    assert set(AutoClassifier(classes=iter([1, 2])).predict_proba_one({})) == {1, 2}  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [(False, True), (0, 1)])
def test_around_a_binary_classifier_both_classes_are_there_from_the_first_row_on(labels: tuple[Any, Any]) -> None:
    """As River's own classifiers and wrappers have them: p[True] is no KeyError."""
    for first in labels:
        model = BalancedClassifier(linear_model.LogisticRegression(), seed=1)
        said = model.predict_proba_one({"a": 1.0})
        assert said == {False: 0.98, True: 0.02}
        model.learn_one({"a": 1.0}, first)
        said = model.predict_proba_one({"a": 1.0})
        assert set(said) == {False, True}
        assert sum(said.values()) == pytest.approx(1.0)
        assert (said[True] > 0.02) == bool(first)
        model.learn_one({"a": 2.0}, labels[1 - labels.index(first)])
        assert set(model.predict_proba_one({"a": 1.0})) == {False, True}
    # a tree may come to know others: it answers with those met so far
    assert BalancedClassifier(tree.HoeffdingTreeClassifier()).predict_proba_one({"a": 1.0}) == {}


@pytest.mark.parametrize("late", ["unknown", 2])
@pytest.mark.parametrize(
    "classifier",
    [
        naive_bayes.GaussianNB(),
        multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
        linear_model.SoftmaxRegression(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_label_that_comes_after_false_and_true_is_learned(classifier: Any, late: Any) -> None:
    rng, model = random.Random(5), BalancedClassifier(classifier.clone(), "none", seed=1)
    for i in range(300):
        label = late if i > 60 and i % 3 == 0 else rng.random() < 0.5
        model.learn_one({"a": rng.gauss(3.0 * (label == late), 1.0)}, label)
    answer = model.predict_proba_one({"a": 5.0})
    assert set(answer) == {False, True, late}
    assert answer[late] > 0.5


def test_rows_may_be_mappings_that_are_no_dicts() -> None:
    for model in (BalancedClassifier(logistic(), seed=1), AutoClassifier(seed=1)):
        for i in range(20):
            model.learn_one(MappingProxyType({"a": float(i)}), i > 9)  # type: ignore[arg-type]
        assert set(model.predict_proba_one(MappingProxyType({"a": 3.0}))) == {False, True}  # type: ignore[arg-type]

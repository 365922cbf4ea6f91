"""The library's classifiers refuse what they cannot take, by name, and are left as they were."""

from __future__ import annotations

import math
import pickle
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from river import ensemble, imblearn, linear_model, multiclass, naive_bayes, preprocessing, tree

from stream_balance import AutoClassifier, BalancedClassifier
from stream_balance.core.arms.classifiers import LinearClassifier, ReplayMLPClassifier, WindowBoosterClassifier
from tests.contract.test_library import logistic, numeric, run, stream


def test_a_text_is_no_list_of_classes() -> None:
    with pytest.raises(TypeError, match="classes is the text 'yes'; expected labels"):
        AutoClassifier(classes="yes")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window": 0}, r"^window is 0, expected a whole number of at least 1\.$"),
        ({"window": "100"}, r"^window is '100', expected a whole number of at least 1\.$"),
        ({"copies_max": 2.5}, r"^copies_max is 2\.5, expected a whole number of at least 1\.$"),
        ({"target_share": 2}, r"^target_share is 2, expected a number above 0 and below 1\.$"),
        ({"target_share": None}, r"^target_share is None, expected a number above 0 and below 1\.$"),
        ({"strategy": "smot"}, r"^strategy is 'smot', which is none\. Did you mean 'smote'\? Choose one of none, "),
        ({"strategy": ["smote"]}, r"^strategy is \['smote'\], which is none\..* Choose one of none, "),
        ({"strategy": None}, r"^strategy is None, which is none\. Did you mean 'none'\? Choose one of none, "),
        ({"strategy": "auto"}, r"^strategy is 'auto', which is none\. What `auto` serves is AutoClassifier\. Choose "),
    ],
)
def test_a_wrong_parameter_is_named_as_it_was_given(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        BalancedClassifier(linear_model.LogisticRegression(), **wrong)


@pytest.mark.parametrize("seen", [0, 40])
def test_a_label_that_is_no_number_is_refused_and_leaves_nothing_behind(seen: int) -> None:
    rng = random.Random(3)
    models: list[Any] = [AutoClassifier(seed=1), BalancedClassifier(tree.HoeffdingTreeClassifier(), seed=1)]
    for model in models:
        for _ in range(seen):
            x = rng.gauss(0, 1)
            model.learn_one({"a": x}, x > 0)
        before = pickle.dumps(model)
        for label in (math.nan, None):
            with pytest.raises(ValueError, match=f"a label is {label!r}, which names no class"):
                model.learn_one({"b": 1.0}, label)
        assert pickle.dumps(model) == before
        model.learn_one({"a": 0.5}, True)


SCALER = preprocessing.StandardScaler()


@pytest.mark.parametrize(
    "wrong",
    ["x", linear_model.LogisticRegression, None, 3, SCALER, SCALER | linear_model.LinearRegression(), SCALER | SCALER],
    ids=str,
)
def test_what_is_no_classifier_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"classifier is .+, expected an object with learn_one.*Give a River classif"):
        BalancedClassifier(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", [np.zeros(3), np.zeros((2, 3)), [1.0, 2.0], None, "abc"], ids=str)
def test_a_row_that_is_no_dict_is_refused(row: Any) -> None:
    for model in (AutoClassifier(), BalancedClassifier(linear_model.LogisticRegression())):
        for verb in (model.predict_proba_one, model.predict_one, partial(model.learn_one, y=True)):
            with pytest.raises(
                TypeError, match=r"a row is of the type \w+, expected a dict of features, as .*brand.: .acme.}\."
            ):
                verb(row)


@pytest.mark.parametrize(
    ("make", "wrong", "says"),
    [
        (AutoClassifier, {"seed": None}, r"^seed is None, expected a whole number of at least 0\.$"),
        (AutoClassifier, {"seed": "a"}, r"^seed is 'a', expected a whole number"),
        (AutoClassifier, {"seed": 1.5}, r"^seed is 1\.5, expected a whole number"),
        (AutoClassifier, {"seed": -1}, r"^seed is -1, expected a whole number from 0 to 4294967295\.$"),
        (AutoClassifier, {"classes": 3}, r"^classes is 3; expected labels, for example"),
        (AutoClassifier, {"classes": ["a", None]}, r"^a label is None, which names no class"),
        (AutoClassifier, {"classes": [["a"]]}, r"^a label is of the type list, expected False or True"),
        (LinearClassifier, {"target_share": 1}, r"^target_share is 1, expected a number above 0 and below 1\.$"),
        (LinearClassifier, {"rate": "x"}, r"^rate is 'x', expected a number above 0\.$"),
        (LinearClassifier, {"weight_max": 0.5}, r"^weight_max is 0\.5, expected a number from 1\.$"),
        (ReplayMLPClassifier, {"networks": 0}, r"^networks is 0, expected a whole number of at least 1\.$"),
        (ReplayMLPClassifier, {"common_rows": 0}, r"^common_rows is 0, expected a whole number of at least 1\.$"),
        (ReplayMLPClassifier, {"rare_rows": 2.5}, r"^rare_rows is 2\.5, expected a whole number of at least 1\.$"),
        (ReplayMLPClassifier, {"rare_share": 2}, r"^rare_share is 2, expected a number from 0 and below 1\.$"),
        (WindowBoosterClassifier, {"window_rows": 0}, r"^window_rows is 0, expected a whole number of at least 1\.$"),
        (WindowBoosterClassifier, {"every": 1}, r"^every is 1, expected a whole number of at least 2\.$"),
        (
            WindowBoosterClassifier,
            {"every": 10, "enter_after": 500},
            r"^enter_after is 500; a result enters before the next request",
        ),
    ],
)
def test_a_wrong_parameter_of_an_arm_is_named(make: Any, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        make(**wrong)


@pytest.mark.parametrize(
    ("seed", "says"),
    [("x", r"^seed is 'x', expected a whole number"), (2.5, r"^seed is 2\.5, "), (-1, r"^seed is -1, .*from 0 to")],
)
def test_a_seed_of_balancing_is_a_whole_number_or_none(seed: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        BalancedClassifier(logistic(), seed=seed)
    assert BalancedClassifier(logistic(), seed=None).clone().seed is None
    rows = numeric(stream(300, seed=1))
    numpy_s, own = (run(BalancedClassifier(logistic(), seed=each), rows) for each in (np.int64(3), 3))
    np.testing.assert_array_equal(numpy_s, own)


NO_PROBABILITIES = r"^classifier is {}, which says no probabilities: .*Give a classifier that does, as"


@pytest.mark.parametrize(
    "classifier",
    [
        ensemble.VotingClassifier([logistic(), naive_bayes.GaussianNB()]),
        multiclass.OneVsOneClassifier(linear_model.LogisticRegression()),
        multiclass.OutputCodeClassifier(linear_model.LogisticRegression(), code_size=4, seed=1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_classifier_that_says_no_probabilities_is_refused_by_name(classifier: Any) -> None:
    with pytest.raises(TypeError, match=NO_PROBABILITIES.format(type(classifier).__name__)):
        BalancedClassifier(classifier)
    with pytest.raises(TypeError, match=NO_PROBABILITIES.format("Pipeline")):
        BalancedClassifier(preprocessing.StandardScaler() | classifier)


def test_one_inside_a_wrapper_is_refused_at_the_first_row() -> None:
    inside = multiclass.OneVsOneClassifier(linear_model.LogisticRegression())
    model = BalancedClassifier(imblearn.RandomSampler(inside, {False: 0.5, True: 0.5}, seed=1), seed=1)
    with pytest.raises(TypeError, match=NO_PROBABILITIES.format("RandomSampler")):
        model.learn_one({"a": 1.0}, True)


@pytest.mark.parametrize("label", [[1], {"a": 1}, np.zeros(2)], ids=str)
def test_a_label_that_can_be_no_key_is_refused(label: Any) -> None:
    for model in (AutoClassifier(), BalancedClassifier(linear_model.LogisticRegression())):
        with pytest.raises(TypeError, match=r"^a label is of the type \w+, expected False or True, a text or a whole"):
            model.learn_one({"a": 1.0}, label)


def test_rows_and_labels_are_lists() -> None:
    for rows, labels in (({"a": 1.0}, True), ([{"a": 1.0}], True), ({"a": 1.0}, [True])):
        with pytest.raises(TypeError, match=r"^learn_rows takes rows and labels of types .*One row goes to learn_one"):
            AutoClassifier().learn_rows(rows, labels)  # type: ignore[arg-type]


def test_the_default_arms_take_no_classifier() -> None:
    with pytest.raises(
        TypeError, match=r"forgets is of the type LogisticRegression, expected True or False.*BalancedClassifier"
    ):
        AutoClassifier(linear_model.LogisticRegression())  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [(1, 2), (True, 2), (0, 5), (-1, 1), ("no", "yes")])
def test_a_label_that_a_binary_classifier_never_answers_is_refused_and_leaves_nothing_behind(
    labels: tuple[Any, Any],
) -> None:
    """River's own loop says probabilities of False and True then, and learns that every label but 0 is True."""
    model = BalancedClassifier(logistic(), seed=1)
    for i in range(40):
        x, label = {"a": float(i % 7)}, labels[i % 2]
        if label in {False, True}:
            model.learn_one(x, label)
            continue
        before = model.predict_proba_one(x)
        with pytest.raises(ValueError, match=rf"^the label is {label!r}, but Pipeline answers with True and False al"):
            model.learn_one(x, label)
        assert model.predict_proba_one(x) == before

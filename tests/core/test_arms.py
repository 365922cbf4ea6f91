"""The arms' own learners: gradients, offsets, windows, and fits that enter where they are due."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_balance.core.arms.booster_fit import fit
from stream_balance.core.arms.learner import probabilities
from stream_balance.core.arms.linear import Linear
from stream_balance.core.arms.networks import Networks, softmax
from stream_balance.core.arms.replay_mlp import ReplayMLP
from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.core.records import ORIGINS, Columns, Samples


def columns_of(width: int) -> Columns:
    columns = Columns()
    for i in range(width):
        columns.add(f"x{i}")
    return columns


def samples_of(rows: np.ndarray, labels: np.ndarray, origin: str = "observed", outcomes: int = 1) -> Samples:
    n = len(rows)
    place = bytes([ORIGINS.index(origin)])  # type: ignore[arg-type]  # one of them
    return Samples(rows, labels.tolist(), place * n, [1] * n, [(0.0,) * outcomes] * n)


def circle(rows: int, seed: int, rate: float = 0.03, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Positives near the middle (or far from it): nothing that a line could part."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(int)
    near = labels if sign > 0 else 1 - labels
    X = rng.normal(size=(rows, 3)) * np.where(near, 0.4, 1.5)[:, None]
    return X, labels


def auc(score: np.ndarray, labels: np.ndarray) -> float:
    positive, negative = score[labels > 0], score[labels == 0]
    return float((positive[:, None] > negative).mean())


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_networks_gradient_is_that_of_the_log_loss(outputs: int) -> None:
    rng = np.random.default_rng(0)
    networks = Networks(2, 5, outputs, 1e-3, 0.0)
    networks.widen(4, rng)
    rows = rng.normal(size=(2, 12, 4)).astype(np.float32)
    truth = np.eye(outputs + 1, dtype=np.float32)[rng.integers(0, outputs + 1, 12)][None, :, 1:]

    offset = np.linspace(-1.0, 0.5, outputs, dtype=np.float32)

    def loss(vector: np.ndarray) -> float:
        """Summed over the networks."""
        kept = networks._parameters.copy()
        networks._parameters[...] = vector
        found = [networks.logits(each)[k] for k, each in enumerate(rows)]
        networks._parameters[...] = kept
        p = softmax(np.array(found).astype(np.float64) + offset)  # more exact here
        whole = np.concatenate([1 - p.sum(axis=-1, keepdims=True), p], axis=-1)
        right = np.concatenate([1 - truth.sum(axis=-1, keepdims=True), truth], axis=-1)
        return float(-(right * np.log(whole)).sum() / rows.shape[1])

    at = networks._parameters.copy()
    networks.step(rows, truth, offset)
    # The first step of Adam is rate x sign(gradient), but for the smallest gradients.
    moved = (networks._parameters - at) / -1e-3
    places = rng.choice(at.size, 60, replace=False)
    checked = 0
    for place in places.tolist():
        step = np.zeros(at.size, dtype=np.float32)
        step[place] = 2e-2
        slope = loss(at + step.reshape(at.shape)) - loss(at - step.reshape(at.shape))
        if abs(slope) > 1e-4:
            assert np.sign(slope) == pytest.approx(moved.reshape(-1)[place], abs=0.05)
            checked += 1
    assert checked > 20


def test_the_linear_arm_is_honest_about_a_rare_class_and_follows_its_rate() -> None:
    rng = np.random.default_rng(1)
    columns, arm = columns_of(3), Linear()
    for rate in (0.01, 0.1):
        X = rng.normal(size=(20_000, 3))
        labels = (rng.random(20_000) < np.clip(rate * np.exp(X[:, 0] - 0.5), 0, 1)).astype(int)
        said = []
        for start in range(0, 20_000, 20):
            block = slice(start, start + 20)
            if start >= 10_000:
                said.append(arm.predict(X[block], columns).probability[:, 0])
            arm.learn(samples_of(X[block], labels[block]), columns)
        assert np.concatenate(said).mean() == pytest.approx(labels[10_000:].mean(), rel=0.3)
        assert auc(np.concatenate(said), labels[10_000:]) > 0.7


@pytest.mark.parametrize(("classes", "common"), [(2, 0), (2, 1), (4, 0)])
def test_the_linear_arm_knows_from_its_first_rows_how_rare_classes_are(classes: int, common: int) -> None:
    """A hundred columns of noise: neither a beginning at a half nor long steps leave anything in their weights."""
    rng = np.random.default_rng(5)
    columns, arm = columns_of(100), Linear(classes)
    X, rare = rng.normal(size=(2_000, 100)), rng.random(2_000) < 0.02
    labels = np.where(rare, rng.integers(1, classes, 2_000), 0)
    labels = 1 - labels if common else labels
    said = []
    for start in range(0, 2_000, 10):
        block = slice(start, start + 10)
        if start >= 100:
            said.append(arm.predict(X[block], columns).probability)
        arm.learn(samples_of(X[block], labels[block], outcomes=classes - 1), columns)
    found = np.abs(common - np.concatenate(said).sum(axis=1))  # of the rare classes
    assert found[:400].mean() < 0.1
    assert 0.01 < found[400:].mean() < 0.08


def test_the_linear_arm_has_room_for_any_number_of_classes() -> None:
    for classes in (51, 64, 200):
        arm, columns = Linear(classes), columns_of(2)
        arm.learn(samples_of(np.zeros((3, 2)), np.array([0, 7, 50]), outcomes=classes - 1), columns)
        found = arm.predict(np.zeros((1, 2)), columns).probability
        assert 0.0 < found.sum() < 1.0


def test_the_linear_arm_counts_resampled_rows_as_what_they_stand_for() -> None:
    """Every row of class 1 is there ten times, and says so."""
    rng = np.random.default_rng(6)
    plain, copied = Linear(), Linear()
    X, labels = np.zeros((400, 2)), (rng.random(400) < 0.05).astype(int)
    plain.learn(samples_of(X, labels), columns_of(2))
    again = np.repeat(labels, np.where(labels, 10, 1))
    samples = samples_of(np.zeros((len(again), 2)), again)
    samples = replace(samples, offsets=[(math.log(10.0),)] * len(again))
    copied.learn(samples, columns_of(2))
    np.testing.assert_allclose(copied.counts, plain.counts)


@pytest.mark.parametrize("make", [lambda: ReplayMLP(seed=1), lambda: WindowBooster(seed=1)])
def test_windows_learn_what_no_line_parts_and_forget_it_when_it_turns(make: Any) -> None:
    columns, arm = columns_of(3), make()
    for seed, sign in ((1, 1), (2, -1)):
        X, labels = circle(9_000, seed, sign=sign)
        said = []
        for start in range(0, 9_000, 20):
            block = slice(start, start + 20)
            said.append(arm.predict(X[block], columns).probability[:, 0])
            arm.learn(samples_of(X[block], labels[block]), columns)
        late = np.concatenate(said)[6_000:]
        assert auc(late, labels[6_000:]) > 0.85
        assert late.mean() == pytest.approx(labels[6_000:].mean(), rel=0.5)


def test_made_rows_push_no_observed_row_out_of_the_replay() -> None:
    """Positives are seen first; then thousands of rows made in the wrong place come along."""
    columns, arm = columns_of(3), ReplayMLP(seed=0)
    X, labels = circle(3_000, 5)
    arm.learn(samples_of(X, labels), columns)
    kept = arm._rows[1_500:3_000].copy()
    made = np.full((2_000, 3), 9.0)
    arm.learn(samples_of(made, np.ones(2_000, dtype=int), "interpolated"), columns)
    np.testing.assert_array_equal(arm._rows[1_500:3_000], kept)
    assert arm._added.tolist() == [(labels == 0).sum(), labels.sum(), 0, 2_000]


def test_replayed_batches_hold_the_rare_class_at_its_share_or_its_own() -> None:
    columns = columns_of(3)
    for rate, share in ((0.02, 0.3), (0.5, 0.5)):
        arm = ReplayMLP(seed=0)
        X, labels = circle(2_000, 1, rate)
        arm.learn(samples_of(X, labels), columns)
        assert sum(arm._planned) == 32
        assert min(arm._planned) / 32 == pytest.approx(share, abs=0.06)


def test_the_class_named_first_may_be_the_rare_one() -> None:
    columns, arm = columns_of(3), ReplayMLP(seed=0)
    X, labels = circle(6_000, 1)
    for start in range(0, 6_000, 20):
        arm.learn(samples_of(X[start : start + 20], 1 - labels[start : start + 20]), columns)
    X, labels = circle(2_000, 2)
    said = arm.predict(X, columns).probability[:, 0]
    assert auc(-said, labels) > 0.9
    assert 1 - said.mean() == pytest.approx(0.03, rel=0.5)


class Recorder:
    """Fits in process, and what was asked when."""

    def __init__(self, refuse: bool = False) -> None:
        self.log: list[str] = []
        self.refuse = refuse

    def submit(self, kind: str, request: bytes) -> bytes:
        self.log.append("submit")
        return request

    def take(self, ticket: bytes) -> bytes | None:
        self.log.append("take")
        return None if self.refuse else fit(ticket)


def test_a_fit_enters_at_a_fixed_row_whatever_the_blocks() -> None:
    columns = columns_of(3)
    X, labels = circle(2_600, 4, 0.2)
    answers = []
    for block in (1, 20, 999, 2_600):
        arm = WindowBooster(seed=2, fits=Recorder())
        for start in range(0, 2_600, block):
            arm.learn(samples_of(X[start : start + block], labels[start : start + block]), columns)
        assert arm.fitted == 5  # asked at 125, 250, 500, 1,000, 2,000
        answers.append(arm.predict(X, columns).probability)
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


def test_until_its_row_is_learned_the_old_trees_serve() -> None:
    columns, fits = columns_of(3), Recorder()
    arm = WindowBooster(seed=2, fits=fits)
    X, labels = circle(2_600, 4, 0.2)
    arm.learn(samples_of(X[:2_249], labels[:2_249]), columns)
    before = arm.predict(X, columns).probability
    assert fits.log[-1] == "submit"
    arm.learn(samples_of(X[2_249:2_250], labels[2_249:2_250]), columns)
    assert fits.log[-1] == "take"
    assert not np.array_equal(arm.predict(X, columns).probability, before)


def test_an_open_request_survives_saving_and_is_asked_again() -> None:
    columns = columns_of(3)
    arm = WindowBooster(seed=2, fits=Recorder())
    X, labels = circle(2_600, 4, 0.2)
    arm.learn(samples_of(X[:2_100], labels[:2_100]), columns)
    other, fits = pickle.loads(pickle.dumps(arm)), Recorder()
    other.attach(fits)
    assert fits.log == ["submit"]
    for each in (arm, other):
        each.learn(samples_of(X[2_100:], labels[2_100:]), columns)
    np.testing.assert_array_equal(arm.predict(X, columns).probability, other.predict(X, columns).probability)
    assert repr(arm.digest_state()) == repr(other.digest_state())


def test_refused_fits_leave_the_older_trees_and_are_counted() -> None:
    columns, fits = columns_of(3), Recorder()
    arm = WindowBooster(seed=2, fits=fits)
    X, labels = circle(2_600, 4, 0.2)
    arm.learn(samples_of(X[:1_200], labels[:1_200]), columns)
    before, fits.refuse = arm.predict(X, columns).probability, True
    arm.learn(samples_of(X[1_200:], labels[1_200:]), columns)
    np.testing.assert_array_equal(arm.predict(X, columns).probability, before)
    assert (arm.fitted, arm.refused) == (4, 1)


def test_one_class_asks_for_nothing() -> None:
    columns, fits = columns_of(3), Recorder()
    arm = WindowBooster(fits=fits)
    X, _ = circle(1_500, 1)
    arm.learn(samples_of(X, np.zeros(1_500, dtype=int)), columns)
    assert fits.log == []
    assert arm.predict(X[:2], columns).abstained.all()


def test_a_class_that_left_the_window_has_no_probability() -> None:
    columns, arm = columns_of(3), WindowBooster(classes=3, window_rows=500, fits=Recorder())
    X, labels = circle(3_000, 1, 0.3)
    labels[:300] = 2
    for start in range(0, 3_000, 100):
        block = slice(start, start + 100)
        arm.learn(samples_of(X[block], labels[block], outcomes=2), columns)
    p = arm.predict(X, columns).probability
    assert (p[:, 1] < 1e-9).all()
    assert p[:, 0].mean() == pytest.approx(0.3, abs=0.1)


def test_a_window_that_enters_after_the_next_request_is_refused() -> None:
    with pytest.raises(ValueError, match="enter_after is 2000"):
        WindowBooster(enter_after=2_000)


def test_probabilities_of_three_classes_sum_to_less_than_one() -> None:
    found = probabilities(np.array([[0.0, 0.0], [900.0, -900.0]]))
    np.testing.assert_allclose(found, [[1 / 3, 1 / 3], [1.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("make", [Linear, ReplayMLP])
def test_columns_that_others_have_learned_say_nothing_to_who_rested_meanwhile(make: Any) -> None:
    """The encoder that it shares has become wider."""
    rows, labels = circle(400, seed=1, rate=0.3)
    model, width = make(2), rows.shape[1]
    model.learn(samples_of(rows, labels), columns_of(width))
    narrow = model.logits(rows[:5])
    wider = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    mean, scale = model.encoder._mean.copy(), model.encoder._scale.copy()
    model.encoder.learn(wider, columns_of(width + 1))
    model.encoder._mean[:width], model.encoder._scale[:width] = mean, scale  # the new column alone is to tell
    np.testing.assert_allclose(model.logits(wider[:5]), narrow, rtol=1e-5)
    np.testing.assert_allclose(model.logits(wider[:1]), narrow[:1], rtol=1e-5)

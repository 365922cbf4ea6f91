"""Panel: one arm is as if there were no panel; several are mixed; references change nothing of what is served."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from river import base

from stream_balance.core.arms.encoding import DECAY
from stream_balance.core.gather import TAUGHT_ROWS, Patience
from stream_balance.core.lineup import RIVER_LOGISTIC, Pair
from stream_balance.core.odds import unbend
from stream_balance.core.panel import Panel
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Scored
from stream_balance.core.said import Layout, any_outcome, losses_of, odds_of, probability_of
from stream_balance.errors import SettingsError
from tests.contract.streams import TABLE, core, pushed, pushed_rows, shop, table_rows

EVENTS = shop(160, seed=3, rate=0.08, signal=1.5)
QUICK = {"arms": {"pairs": ["linear:none", "logistic:random_under", "naive_bayes:smote"]}}


def made(events: list[Event], classes: int = 2, **rooms: Any) -> Pipeline:
    pipeline = Pipeline(core(**rooms), 7, ("none", "basket", "bought")[:classes])
    pushed(pipeline, events)
    return pipeline


def served(pipeline: Pipeline, events: list[Event]) -> list[bytes]:
    return [each.block for each in pushed(pipeline, events)]


@pytest.mark.parametrize("pair", ["logistic:smote_under", "linear:smote", "naive_bayes:hard_mining"])
def test_references_change_nothing_of_what_an_arm_serves(pair: str) -> None:
    model, strategy = pair.split(":")
    rooms = {"model": {"name": model}, "balance": {"strategy": strategy}}
    alone = served(Pipeline(core(**rooms, arms={"references": False}), 7, ("none", "bought")), EVENTS)
    beside = served(Pipeline(core(**rooms), 7, ("none", "bought")), EVENTS)
    assert alone == beside


def test_references_change_nothing_of_what_a_mixture_serves() -> None:
    pairs = QUICK["arms"]["pairs"]
    without = {"arms": {"pairs": pairs, "references": False}}
    alone, beside = (Pipeline(core(**rooms), 7, ("none", "bought")) for rooms in (without, QUICK))
    assert served(alone, EVENTS) == served(beside, EVENTS)


def test_an_arm_named_alone_is_the_model_and_strategy_named_apart() -> None:
    named = made(EVENTS, arms={"pairs": ["linear:smote"]})
    apart = made(EVENTS, model={"name": "linear"}, balance={"strategy": "smote"})
    assert named.state_digest() == apart.state_digest()


@pytest.mark.parametrize("classes", [2, 3])
def test_auto_goes_on_from_a_pickle_as_if_nothing_had_happened(classes: int) -> None:
    events = shop(110, seed=5, rate=0.15, signal=1.5, classes=classes)
    whole = made(events, classes, balance={"strategy": "auto"})
    whole.run_out()
    opened = []
    for at in (125, 180):
        half = pickle.loads(pickle.dumps(made(events[:at], classes, balance={"strategy": "auto"})))
        opened.append(half.panel.members[2].model.request is not None)
        pushed(half, events[at:])
        half.run_out()
        assert half.state_digest() == whole.state_digest()
    assert opened == [True, False]  # a fit was under way, and was not
    report = whole.report(digest=False)
    assert [(each.name, each.role) for each in report.arms] == [
        ("linear:none", "arm"), ("replay_mlp:none", "arm"), ("window_booster:none", "arm"),
        ("logistic:none", "arm"), ("plain_linear:none", "reference"), ("plain_replay_mlp:none", "reference"),
    ]  # fmt: skip
    assert set(report.lift) == {"none", "river_logistic"}
    for tier in ("head", "tail"):
        weights = [getattr(each.weight, tier) for each in report.arms if each.weight is not None]
        assert sum(weights) == pytest.approx(1.0)
    assert all(each.window.log_loss is not None for each in report.arms)


def test_a_shared_encoder_counts_every_row_once() -> None:
    pipeline = Pipeline(core(**TABLE, balance={"strategy": "auto"}), 7, ("no", "yes"), delay_rows=0)
    pushed_rows(pipeline, table_rows(50, seed=1))
    encoder = pipeline.panel._encoder
    assert encoder is not None
    assert encoder is pipeline.panel.members[0].model.encoder
    np.testing.assert_allclose(encoder._count, sum(DECAY**age for age in range(50)))


def test_the_default_arms_run_unless_a_model_or_a_strategy_is_named() -> None:
    def names(**rooms: Any) -> list[str]:
        return [member.pair.name for member in Pipeline(core(**rooms), 7, ("none", "bought")).panel.members]

    assert names(balance={"strategy": None}) == names(balance={"strategy": "auto"})
    assert names(balance={"strategy": None})[:4] == [
        "linear:none",
        "replay_mlp:none",
        "window_booster:none",
        "logistic:none",
    ]
    assert names(model={"name": "naive_bayes"})[0] == "naive_bayes:smote_under"
    assert names(balance={"strategy": "smote"})[0] == "logistic:smote"
    with pytest.raises(SettingsError, match=r"models of its own, and model\.name is 'naive_bayes'"):
        names(model={"name": "naive_bayes"}, balance={"strategy": "auto"})


def test_arms_that_are_sure_early_begin_with_a_handicap_and_their_references_too() -> None:
    panel = Pipeline(core(balance={"strategy": "auto"}), 7, ("none", "bought")).panel
    standings, plain = panel.standings, {panel.pairs[place].model: at for at, place in enumerate(panel._unbalanced)}
    assert standings.mixture.weights(1).round(2).tolist() == [0.44, 0.06, 0.06, 0.44]
    assert standings.none_mixture is not None
    weights = standings.none_mixture.weights(0).round(2)
    assert weights[[plain["plain_replay_mlp"], plain["window_booster"]]].tolist() == [0.06, 0.06]
    assert weights[[plain["plain_linear"], plain["logistic"]]].tolist() == [0.44, 0.44]
    for last in panel._last:  # each arm is drawn to the rate by its own
        assert last.apply(np.array([[-1.0]]), b"\0")[0, 0] == pytest.approx(1 / (1 + math.e))
    alike = core(balance={"strategy": "auto"}, mixture={"handicap": 0.0})
    assert set(Pipeline(alike, 7, ("none", "bought")).panel.standings.mixture.weights(0).tolist()) == {0.25}


def test_a_reference_that_weighs_nothing_is_paused_until_the_stream_changes() -> None:
    pairs = ["linear:none", "naive_bayes:smote", "logistic:none"]
    mixture = {"pause_below": 0.09, "review_rows": 50, "pause_reviews": 1, "pause_rows": 100_000}
    mixture |= {"pause_outcomes": 0, "pause_worth": 1_000}
    panel = made(EVENTS, arms={"pairs": pairs}, mixture=mixture | {"pause_rows_max": 100_000}).panel
    none = panel.standings.none_mixture
    assert none is not None
    named = dict(zip((member.pair.name for member in panel.members), panel.members, strict=True))
    learned = {name: member.version for name, member in named.items()}
    # The yardstick is always there; rows that come singly are learned a few together.
    assert 0 <= panel.examples - learned["logistic:none"] < TAUGHT_ROWS
    assert learned["naive_bayes:none"] < panel.examples
    assert not all(none.running)
    panel.alarm()
    assert all(none.running)


def test_reports_on_the_way_change_nothing() -> None:
    asked, left = (Pipeline(core(**QUICK), 7, ("none", "bought")) for _ in range(2))
    for i, event in enumerate(EVENTS):
        asked.push(event)
        left.push(event)
        if i % 40 == 0:
            asked.report()
    assert asked.state_digest() == left.state_digest()


def test_the_figures_of_an_only_arm_are_those_of_what_was_served() -> None:
    pipeline = made(EVENTS, model={"name": "linear"}, balance={"strategy": "smote"})
    pipeline.run_out()
    report = pipeline.report(digest=False)
    arm, lifetime = report.arms[0].window, report.metrics.lifetime
    assert arm.rows == lifetime.rows
    assert arm.log_loss == pytest.approx(lifetime.log_loss, abs=1e-5)
    assert arm.roc_auc == pytest.approx(lifetime.roc_auc, abs=0.005)
    assert report.arms[0].weight is not None
    assert report.arms[0].weight.head == 1.0


def test_a_service_without_balancing_has_no_lift_over_none() -> None:
    report = made(EVENTS, balance={"strategy": "none"}).report(digest=False)
    assert [each.name for each in report.arms] == ["logistic:none"]
    assert set(report.lift) == {"river_logistic"}


def test_what_is_kept_for_references_and_arms_is_what_the_docs_say() -> None:
    one, auto = (made(EVENTS[:20], balance={"strategy": each}) for each in ("smote_under", "auto"))
    sizes = [len(pushed(each, EVENTS[20:30])[0].said) / 6 for each in (one, auto)]
    assert sizes == [8, 52]  # bytes an impression


@pytest.mark.parametrize(
    ("pairs", "says"),
    [(["logistic"], "expected model:strategy"), (["linear:none", "linear:none"], "twice"), (["linear:nine"], "'nine'")],
)
def test_arms_that_are_none_are_refused(pairs: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Pipeline(core(arms={"pairs": pairs}), 0, ("none", "bought"))


def test_a_factory_can_be_an_arm() -> None:
    assert Pair.parse("river.tree:HoeffdingTreeClassifier:smote") == Pair("river.tree:HoeffdingTreeClassifier", "smote")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_log_odds_lose_nothing(classes: int) -> None:
    rng = np.random.default_rng(classes)
    whole = rng.dirichlet(np.ones(classes), size=50)
    odds, labels = odds_of(whole[:, 1:]), rng.integers(0, classes, 50)
    np.testing.assert_allclose(probability_of(odds), whole[:, 1:], atol=1e-12)
    np.testing.assert_allclose(losses_of(odds, labels), -np.log(whole[np.arange(50), labels]), atol=1e-9)
    np.testing.assert_allclose(any_outcome(odds), np.log((1 - whole[:, 0]) / whole[:, 0]), atol=1e-9)


def test_a_paused_arm_says_and_learns_nothing_until_a_drift_alarm() -> None:
    pipeline = Pipeline(core(**QUICK), 7, ("none", "bought"))
    pushed(pipeline, EVENTS[:200])
    panel = pipeline.panel
    paused = panel.members[1]
    panel.standings.mixture.running[1] = False
    version = paused.version
    scored = pushed(pipeline, EVENTS[200:240])
    pipeline.run_out()
    assert paused.version == version
    words = panel._layout.read(scored).words[1]
    assert np.isnan(words).all()
    assert not pipeline.report(digest=False).arms[1].running
    panel.alarm()
    assert pipeline.report(digest=False).arms[1].running
    answer = panel.score(scored[0].values, scored[0].tiers, pipeline.featurizer.columns)
    assert len(answer.said) == len(scored[0].said)


MIXED = {
    "arms": {"pairs": ["linear:none", "naive_bayes:smote", "logistic:random_under", "tail_linear:none"]},
    "model": {"one_vs_rest": True},
}


def own_now(member: Any, word: np.ndarray, tiers: bytes) -> np.ndarray:
    """Log odds against class 0 of what a member's word of then, log odds against the rest, would be served as now."""
    said = 1 / (1 + np.exp(-word))
    if member.ratios and not member.model.supports_offset:
        said = unbend(said, member.ratios[0].offset())
    probability = member.calibrator.apply(np.log(said / (1 - said)), tiers)
    odds: np.ndarray = np.log(probability / (1 - probability.sum(axis=1, keepdims=True)))
    odds[np.isnan(word)] = np.nan
    return odds


@pytest.mark.parametrize("classes", [2, 3])
def test_each_stage_learns_what_those_before_say_now_and_none_has_seen_these_labels(classes: int) -> None:
    panel = made(shop(150, seed=8, rate=0.2, signal=1.5, classes=classes), classes, **MIXED).panel
    standings, waiting = panel.standings, panel._uncalibrated.waiting
    assert waiting
    assert standings.none_mixture is not None
    for each in (*panel._last, *(member.calibrator for member in panel.members)):
        each._patience = Patience(1)  # learn these rows at once
    then: Panel = pickle.loads(pickle.dumps(panel))
    panel._calibrate(lambda: None)
    labels = [label for each in waiting for label in each.labels]
    tiers = b"".join(each.scored.tiers for each in waiting)
    words = then._layout.read([each.scored for each in waiting]).words.astype(np.float64)
    odds = np.stack([own_now(member, word, tiers) for member, word in zip(then.members, words, strict=True)])
    assert np.isnan(odds[3]).any()  # of the head
    mine = [(then.standings.mixture, list(range(4))), (then.standings.none_mixture, then._unbalanced)]
    for place, (mixture, members) in enumerate(mine):
        assert mixture is not None
        mixed = probability_of(mixture.combine(list(odds[members]), tiers))
        mixture.observe(odds[members], np.array(labels), tiers)
        then._last[place].learn_many(np.log(mixed / (1 - mixed)), tiers, labels)
        found = (standings.mixture, standings.none_mixture)[place]
        assert found is not None
        for tier in range(2):
            np.testing.assert_allclose(found.weights(tier), mixture.weights(tier), rtol=1e-6)
            np.testing.assert_allclose(found.coefficients(tier), mixture.coefficients(tier), rtol=1e-5, atol=1e-9)
        said = np.array([[-3.0] * (classes - 1), [-1.0] * (classes - 1)])
        first, second = (each._last[place].apply(said, b"\0\1") for each in (panel, then))
        np.testing.assert_allclose(first, second, rtol=1e-6)


def test_what_is_kept_is_read_as_it_was_written() -> None:
    layout = Layout(members=2, classes=3, alone=False, none_mixes=True)
    words, odds, none = (np.arange(8.0).reshape(2, 2, 2) + each for each in (0.0, 10.0, 20.0))
    kept = layout.kept(list(words), list(odds), [none[0]])
    scored = Scored("e", "u", ("a", "b"), (0, 1), b"\0\1", 0, Scored.sealed(b"", 0), None, kept)
    said = layout.read([scored])
    np.testing.assert_array_equal(said.words, words)
    np.testing.assert_array_equal(said.odds, np.concatenate((odds, none[:1])))


class Overstated(base.Classifier):
    """Knows all and says e^2 times the odds: a calibrator has it right as soon as it has labels."""

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        pass

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        p = 1.0 / (1.0 + math.exp(-(x["truth"] + 2.0)))
        return {False: 1.0 - p, True: p}


class OverstatedToo(Overstated):
    """Another one."""


def test_what_arms_have_put_right_since_their_mixture_does_not_put_right_again() -> None:
    rng, late = np.random.default_rng(3), 3_000
    truth = rng.normal(-3.0, 1.0, 12_000)
    labels = (rng.random(12_000) < 1 / (1 + np.exp(-truth))).astype(int)
    pairs = [f"tests.core.test_panel:{each.__name__}:none" for each in (Overstated, OverstatedToo)]
    settings = core(**TABLE, arms={"pairs": pairs, "references": False})
    pipeline = Pipeline(settings, 7, ("none", "bought"), delay_rows=late)
    rows = [({"truth": float(each)}, int(label)) for each, label in zip(truth, labels, strict=True)]
    said = np.array([each.probability[0, 0] for each in pushed_rows(pipeline, rows)])
    # An arm says something once it has learned, at 3,000; what it said has labels from 6,000 on.
    share = said[6_500:].mean() / (1 / (1 + np.exp(-truth[6_500:]))).mean()
    late_ones = said[6_500:9_000].mean() / (1 / (1 + np.exp(-truth[6_500:9_000]))).mean()
    assert 0.85 < share < 1.15
    assert 0.85 < late_ones < 1.15  # .5 where the last calibration learns what was made of the words then


def test_a_drift_alarm_of_the_stream_reaches_the_mixture() -> None:
    pipeline = Pipeline(core(**QUICK, **TABLE), 7, ("none", "bought"), delay_rows=0)
    rows = table_rows(1_000, seed=1)
    pushed_rows(pipeline, rows)
    pipeline.panel.standings.mixture.running[1] = False
    pushed_rows(pipeline, [(features, 1 - label) for features, label in rows])
    assert pipeline.drift.counts["log_loss"] > 0
    assert pipeline.panel.standings.mixture.running == [True, True, True]


def test_rivers_logistic_regression_is_asked_and_taught_whoever_rests() -> None:
    for arms in (["linear:none"], ["linear:none", "naive_bayes:smote"]):
        pipeline = made(EVENTS, arms={"pairs": arms})
        pipeline.run_out()
        by_name = {each.name: each for each in pipeline.report(digest=False).arms}
        logistic = by_name[RIVER_LOGISTIC.name]
        assert logistic.samples == pipeline.panel.examples
        assert logistic.window.log_loss is not None


@pytest.mark.parametrize("arms", [["naive_bayes:none"], ["naive_bayes:none", "window_booster:none"]])
def test_rows_of_which_nothing_is_said_are_counted(arms: list[str]) -> None:
    """Rows of a table come singly."""
    pipeline = Pipeline(core(**TABLE, arms={"pairs": arms}), 7, ("none", "bought"), delay_rows=5)
    answers = pushed_rows(pipeline, table_rows(40))
    silent = sum(math.isnan(each.raw[0, 0]) for each in answers)
    assert silent >= 5
    assert pipeline.panel.abstentions == silent

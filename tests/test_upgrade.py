"""A checkpoint of every former format is loaded by this version, and its service goes on."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from stream_balance.core.arms.linear import RATE, Linear
from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.calibrate import LATER_TRUST
from stream_balance.core.line import Moments
from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Arrivals, Columns, Samples
from stream_balance.core.target import TargetControl, TargetSettings
from stream_balance.core.window import Window, WindowSettings
from stream_balance.edge.checkpoint import compat, from_1, layout
from stream_balance.edge.checkpoint.format import FORMAT
from stream_balance.errors import SettingsError
from stream_balance.saving import state_settings
from stream_balance.settings import Settings
from tests.checkpoint_fixture import EVENTS, FOLDER, FORMER, SEEN, installed, settings_of
from tests.contract.streams import core, shop

DEFAULTS = state_settings(Settings())
ADVICE = (
    "What is saved has changed: raise FORMAT and add a migration. What tests/checkpoint_fixture.py says comes before "
    "anything else."
)


def file_of(format_: int) -> Path:
    return FOLDER / f"format-{format_}.sbc.gz"


def test_there_is_one_of_each_format_and_former_ones_stay_as_they_were() -> None:
    assert sorted(FOLDER.iterdir()) == sorted(map(file_of, range(1, FORMAT + 1)))
    assert list(FORMER) == list(range(1, FORMAT))
    for format_, (sum_, _) in FORMER.items():
        assert hashlib.sha256(file_of(format_).read_bytes()).hexdigest() == sum_


@pytest.mark.parametrize("format_", range(1, FORMAT + 1))
def test_a_checkpoint_of_a_former_version_goes_on(format_: int, tmp_path: Path) -> None:
    try:
        loaded = installed(file_of(format_), tmp_path).newest()
        assert loaded is not None
        assert loaded.header.format == format_
        pipeline: Pipeline = loaded.state["pipeline"]
        # The settings it was made under count as the same, those that have come since as their defaults.
        compat.check_settings(loaded.header, state_settings(settings_of(format_)), DEFAULTS, "it")
        before = pipeline.report().examples
        assert before.held > 0
        assert before.matured > 0
        for event in shop(EVENTS, seed=9, signal=1.0)[SEEN:]:
            pipeline.push(event, event.event_id.encode())
        pipeline.run_out()
        report = pipeline.report()
        after = report.document()["examples"]
    except Exception as error:
        raise AssertionError(f"format {format_} cannot go on: {error}. {ADVICE}") from error
    assert after["held"] == 0
    assert after["matured"] == after["in"] == 6 * EVENTS
    loss = report.metrics.lifetime.log_loss
    assert loss is not None
    assert 0.0 < loss < math.log(2.0)
    assert all(0.0 < (arm.window.log_loss or 0.0) < 2.0 for arm in report.arms if arm.window.rows)
    assert pipeline.state_digest()


def test_a_target_share_of_before_is_where_it_was_and_goes_on() -> None:
    control = TargetControl(TargetSettings(objective="gmean", factor=1.5), start=0.2)
    control.target, control.steps = 0.36, 2
    for name in ("_place", "_found", "_closed", "_sign", "decided"):
        delattr(control, name)
    from_1.migrate({"pipeline": control})
    assert (control.target, control._share(control._place), control.decided) == (0.36, pytest.approx(0.36), 2)
    assert control.alarm(version=0) == 0.2


def test_weights_of_before_go_on_in_both_memories() -> None:
    mixture = Mixture(MixtureSettings(), 2)
    losses, debts = np.array([[3.0, 8.0], [0.0, 0.0]]), np.array([[0.0, 5.0], [0.0, 1.0]])
    mixture._losses, mixture._debts = losses, debts  # type: ignore[attr-defined]
    mixture._weights = np.array([[0.9, 0.1], [0.5, 0.5]])
    del mixture._by_tier
    from_1.migrate({"pipeline": mixture})
    share = 1e-3 + (1.0 - 2e-3) / (1.0 + math.exp(0.5 * (3.0 - 8.0)))
    np.testing.assert_allclose(mixture.weights(0), [share, 1.0 - share])
    np.testing.assert_allclose(mixture.weights(1), [0.5, 0.5])
    mixture.running[1] = False
    mixture.learn(np.array([[0.1] * 300, [np.nan] * 300]), bytes(300))
    np.testing.assert_allclose(mixture.weights(0), [share, 1.0 - share])  # it rests, and owes what it did


def test_a_linear_arm_of_before_keeps_its_intercepts_and_takes_the_steps_of_now() -> None:
    arm, columns = Linear(rate=0.02), Columns()
    columns.add("x")
    arm.learn(Samples(np.zeros((500, 1)), [0] * 490 + [1] * 10, bytes(500), [1] * 500, [(0.0,)] * 500), columns)
    before = list(arm.intercepts)
    del arm.counts
    from_1.migrate({"pipeline": arm})
    assert arm._rate == RATE
    assert arm.intercepts == before
    assert sum(arm.counts) == pytest.approx(500)
    assert arm.counts[1] / 500 == pytest.approx(arm.shares.values()[1])


def test_searches_that_waited_to_be_weighed_alone_are_not_measured() -> None:
    pipeline = Pipeline(core(arms={"pairs": ["linear:none", "logistic:none"]}), 7, ("none", "bought"))
    for event in shop(60, seed=3):
        pipeline.push(event)
    standings = pipeline.panel.standings
    waiting = standings._gather.taken()
    assert waiting
    standings._waiting = [*waiting, *(replace(each, measured=()) for each in waiting)]  # type: ignore[attr-defined]
    standings._waiting_rows = 2 * sum(map(len, waiting))  # type: ignore[attr-defined]
    del standings._gather
    from_1.migrate({"pipeline": standings})
    assert standings._gather.waiting == waiting
    pipeline.report(digest=False)


def test_rows_gathered_then_are_gathered_anew() -> None:
    rng = np.random.default_rng(1)
    rates, window, columns = Rates(RateSettings()), Window(WindowSettings()), Columns()
    columns.add("x")
    strategy = make_strategy(BalanceSettings(strategy="adasyn"), rates)
    labels = [int(i % 10 == 0) for i in range(200)]
    rates.observe_many(labels)
    window.add_many(rng.normal(size=(200, 1)), labels, bytes(200), 0)
    arrivals = Arrivals(rng.normal(size=(4, 1)), [1] * 4, bytes(4), np.full((4, 1), 0.1))
    assert strategy.draw(arrivals, window, columns, Random(1)) is not None
    (reference,) = [each for _, each in strategy._references.values()]
    del reference._lengths  # which this version keeps
    assert strategy._interpolator._scales
    from_1.migrate({"strategy": strategy})
    assert not strategy._interpolator._scales  # nor did a scale know of constant columns
    samples = strategy.draw(arrivals, window, columns, Random(1))
    assert samples is not None
    assert len(samples) > 4


def test_a_migrated_network_says_what_it_said(tmp_path: Path) -> None:
    """Then: the log odds of the batch left what was served. Now: they are in the bias already."""
    loaded = installed(file_of(1), tmp_path).newest()
    assert loaded is not None
    arm = next(each for each in loaded.state["pipeline"].panel.members if each.pair.model == "replay_mlp")
    assert arm.model.networks.width
    assert (arm.model._offset < 0).all()
    assert math.isclose(
        float(arm.model._offset[0]), math.log(arm.model._planned[1] / arm.model._planned[0]), rel_tol=1e-6
    )


def test_a_migrated_shape_is_as_old_as_it_was_and_a_mixture_begins_without_the_rate(tmp_path: Path) -> None:
    former = from_1.FormerStraightener()
    former.__dict__.update(
        _fade=0.01, _prior=2.0, _rows=700, _places=np.array([-5.0, -3.0]), _expected=np.array([2.0, 4.0]),
        _seen=np.array([1.0, 6.0]),
    )  # fmt: skip
    assert from_1._straightener(former)._memory.seen == 700
    loaded = installed(file_of(1), tmp_path).newest()
    assert loaded is not None
    lasts = loaded.state["pipeline"].panel._last
    assert lasts
    for last in lasts:
        assert last._trusts[0][0].weights.tolist() == list(LATER_TRUST)
    calibrator = loaded.state["pipeline"].panel.members[0].calibrator
    for lines, elbows in ((calibrator._quick, 0), (calibrator._slow, 2)):
        assert all(len(line.elbows()) == elbows for each in lines for line in each)


def test_a_migrated_line_goes_on_and_forgets_as_it_did() -> None:
    former, moments = from_1.FormerLine(), Moments(-4.0)
    moments.observe(np.linspace(-6, -2, 50), 1.0)
    former.__dict__.update(
        moments=moments, slope=1.5, shift=-0.5, slope_precision=20.0, shift_precision=2.0, fade=0.01, youth=2.0,
        h00=30.0, h01=1.0, h11=40.0, rows=1_000,
    )  # fmt: skip
    line = from_1._line(former, from_1._by_rows(former))
    assert (line.slopes, line.shift, line._h.tolist()) == ([1.5], -0.5, [[30.0, 1.0], [1.0, 40.0]])
    assert line.state()[3:] == [1_000, 0.0, 0.0, *moments.state()]
    assert line.intercept == -0.5 + moments.mean * (1.0 - 1.5)
    assert line.memory.keep(np.zeros(64, dtype=bool)) == pytest.approx(0.99**64)
    with_elbows = from_1._line(former, from_1._by_rows(former), (10.0, 3.0))
    assert with_elbows.slopes == [1.5, 1.5, 1.5]
    # All slopes as one are known as the one was, and each other's difference as by its prior.
    as_one, bent = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0])
    assert as_one @ with_elbows._h @ as_one == 30.0
    assert bent @ with_elbows._h @ bent == 3.0
    assert with_elbows._h[:, -1].tolist() == [1.0, 0.0, 0.0, 40.0]
    with_elbows.learn_many(np.linspace(-8.0, 0.0, 64), np.arange(64) > 50)
    assert len(set(with_elbows.slopes)) == 3


def test_a_default_that_has_changed_since_is_said_to_have(tmp_path: Path) -> None:
    loaded = installed(file_of(1), tmp_path).newest()
    assert loaded is not None
    ours = state_settings(settings_of(FORMAT))
    with pytest.raises(SettingsError, match=r"is 400 \(the default now\).*gan\.steps_cold = 1200; .* in the settings"):
        compat.check_settings(loaded.header, ours, DEFAULTS, "it")
    knows = replace(loaded.header, chosen=compat.chosen(ours, DEFAULTS))
    with pytest.raises(SettingsError, match=r"\(the default, which has changed\).*This version has other defaults"):
        compat.check_settings(knows, ours, DEFAULTS, "it")
    calibrate, gan = ("shape_prior",), ("steps_cold", "steps_warm")
    known = [*(f"core.calibrate.{name}" for name in calibrate), *(f"core.gan.{name}" for name in gan)]
    knows = replace(loaded.header, chosen=known)
    with pytest.raises(SettingsError) as caught:
        compat.check_settings(knows, ours, DEFAULTS, "it")
    assert "default" not in str(caught.value)


def test_a_class_that_has_another_attribute_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = installed(file_of(FORMAT), tmp_path)

    def now(self: Any) -> None:
        self.more_than_before = 1

    monkeypatch.setattr(Pipeline, "comes_later", now, raising=False)
    layout.layout.cache_clear()
    try:
        assert "more_than_before" in layout.attributes(Pipeline)
        with pytest.raises(
            SettingsError, match=r"holds of stream_balance\.core\.pipeline\.Pipeline has other attributes"
        ):
            store.newest()
    finally:
        layout.layout.cache_clear()

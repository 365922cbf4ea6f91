"""Private training: the same bits each time, the budget adds up and ends it, no copula, and what is missing is told."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from stream_balance.core.synthesis import RecipeSettings, Refusal, Release, TrainingSet, outcome_to_bytes
from stream_balance.edge import fits
from stream_balance.errors import SettingsError
from stream_balance.gan import private_maker
from stream_balance.gan.worker import synthesise
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings

HELD = np.arange(240) % 4 == 0
RECIPE = RecipeSettings.model_validate({
    "release_rows": 200, "shadow_repeats": 1, "shares": [0.1], "adopt": "vetted",
    "c2st_max": 1.0, "coverage_min": 0.0, "dcr_share_max": 1.0, "pair_max": 1.0, "pairs_lost_max": 9.0,
    "marginal_max": 1.0, "errors": 100.0,
    "privacy": {"on": True, "epsilon_max": 100.0, "noise": 1.0, "steps_cold": 30, "steps_warm": 10},
})  # fmt: skip


def request(recipe: RecipeSettings = RECIPE) -> TrainingSet:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=240), rng.normal(size=240), rng.integers(0, 3, 240)])
    others = np.column_stack([rng.normal(1, 1, (240, 2)), rng.integers(0, 3, 240)])
    return TrainingSet(1, rows, HELD, others, HELD, (2,), 0.1, "logistic", 3, recipe)


def test_with_too_few_rows_it_is_refused_and_no_copula_stands_in() -> None:
    few = replace(request(), rows=request().rows[:100], held_out=HELD[:100])
    found = synthesise(few)
    assert isinstance(found, Refusal)
    assert (found.reason, found.spent, found.epsilon) == ("too_few_rows", (), None)


def test_without_opacus_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    for module in (private_maker, fits):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "opacus" else find(name))
    found = synthesise(request())
    assert isinstance(found, Refusal)
    assert found.reason == "no_opacus"
    assert "stream-balance[privacy]" in found.message
    settings = Settings.model_validate({"balance": {"strategy": "gan"}, "gan": {"privacy": {"on": True}}})
    with pytest.raises(SettingsError, match=r"needs opacus: pip install 'stream-balance\[privacy\]'"):
        Session(make_pipeline(settings), settings)


@pytest.fixture(scope="module")
def first() -> Release:
    """The first private training of a class."""
    pytest.importorskip("opacus")
    found = synthesise(request())
    assert isinstance(found, Release)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the finer accountant, where every row is in a batch
def test_the_bill_is_opacus_own_and_agrees_with_its_finer_accountant() -> None:
    pytest.importorskip("opacus")
    from opacus.accountants import PRVAccountant, RDPAccountant  # noqa: PLC0415  # optional

    from stream_balance.gan.private import epsilon  # noqa: PLC0415  # torch is optional

    bill = ((2.0, 1.0, 1), (3.0, 0.128, 600), (2.0, 1.0, 1), (3.0, 0.128, 100))
    step_by_step = RDPAccountant()
    for noise, rate, steps in bill:
        for _ in range(steps):
            step_by_step.step(noise_multiplier=noise, sample_rate=rate)
    assert epsilon(bill, 1e-5) == pytest.approx(step_by_step.get_epsilon(1e-5))
    finer = PRVAccountant()
    finer.history = list(bill)
    # Renyi composition is an upper bound, and not a loose one.
    assert 0.8 * epsilon(bill, 1e-5) < finer.get_epsilon(1e-5) <= epsilon(bill, 1e-5)
    # One Gaussian mechanism has Renyi divergence a / (2 noise^2): Balle et al. (2020), theorem 21, at the best order a.
    orders = np.linspace(1.1, 60, 5_000)
    closed = orders / 8 + np.log(1 - 1 / orders) - (np.log(1e-5) + np.log(orders)) / (orders - 1)
    assert epsilon(((2.0, 1.0, 1),), 1e-5) == pytest.approx(closed.min(), rel=1e-2)
    assert epsilon((), 1e-5) == 0.0


def test_the_budget_adds_up_over_trainings_and_ends_them(first: Release) -> None:
    from stream_balance.gan.private import epsilon  # noqa: PLC0415  # torch is optional

    assert first.spent == ((2.0, 1.0, 1), (1.0, 128 / 180, 30))
    assert first.epsilon == epsilon(first.spent, 1e-5)
    next_one = replace(request(), weights=first.weights, spent=first.spent)
    again = private_maker.start_privately(next_one, next_one.rows[~HELD])
    assert again is not None
    assert again.spent == ((*first.spent, (2.0, 1.0, 1), (1.0, 128 / 180, 10)))
    assert again.start.weights is not None
    assert again.epsilon > first.epsilon
    tight = RECIPE.model_copy(update={"privacy": RECIPE.privacy.model_copy(update={"epsilon_max": first.epsilon})})
    # The budget bears this one just so, and it is the same to the bit.
    assert outcome_to_bytes(synthesise(request(tight))) == outcome_to_bytes(first)
    last = synthesise(replace(request(tight), weights=first.weights, spent=first.spent))
    assert isinstance(last, Refusal)
    assert (last.reason, last.spent, last.epsilon) == ("privacy_budget", first.spent, None)


def test_a_refusal_for_quality_costs_as_much_as_a_release(first: Release) -> None:
    found = synthesise(request(RECIPE.model_copy(update={"c2st_max": 0.5})))
    assert isinstance(found, Refusal)
    assert [each.maker for each in found.others] == ["gan"]
    assert (found.spent, found.epsilon) == (first.spent, first.epsilon)


def test_under_noise_that_drowns_all_the_steps_know_no_rows() -> None:
    pytest.importorskip("opacus")
    deaf = RECIPE.privacy.model_copy(update={"noise": 1e9})
    wanted = request(RECIPE.model_copy(update={"privacy": deaf}))
    learned = wanted.rows[~HELD]
    start = private_maker.start_privately(wanted, learned)
    assert start is not None
    made = [private_maker.make_privately(start, rows, 50, 3, deaf).rows for rows in (learned, learned[:, ::-1] * 7)]
    assert np.allclose(made[0], made[1], rtol=1e-2, atol=1e-2)


def test_weights_that_were_not_trained_privately_are_no_start(first: Release) -> None:
    wanted = replace(request(), weights=first.weights)
    start = private_maker.start_privately(wanted, wanted.rows[~HELD])
    assert start is not None
    assert start.start.weights is None
    assert start.steps == RECIPE.privacy.steps_cold

"""Worker: a pure function of the request; down the ladder without torch; a reason for every refusal."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stream_balance.core.synthesis import Refusal, Release, outcome_from_bytes
from stream_balance.edge.trainer import Trained, Trainer, Worker
from stream_balance.gan.makers import has_torch
from stream_balance.gan.worker import synthesise, work
from tests.conftest import ROOT
from tests.gan.tables import request

LENIENT = {
    "adopt": "vetted",
    "c2st_max": 1.0,
    "coverage_min": 0.0,
    "dcr_share_max": 1.0,
    "pair_max": 1.0,
    "pairs_lost_max": 9.0,
    "marginal_max": 1.0,
    "errors": 50.0,
}
needs_torch = pytest.mark.skipif(not has_torch(), reason="needs the extra 'gan'")


@needs_torch
def test_the_answer_depends_on_the_request_alone_also_in_a_child_process() -> None:
    wanted = request(seed=4, **LENIENT).to_bytes()
    here = work(wanted)
    with Trainer({"gan": Worker("stream_balance.gan.worker:work")}) as trainer:
        jobs = [trainer.submit("gan", wanted) for _ in range(2)]
        answers = [trainer.wait(job) for job in jobs]
    assert [answer.result for answer in answers if isinstance(answer, Trained)] == [here, here]
    release = outcome_from_bytes(here)
    assert isinstance(release, Release)
    assert release.vetting.maker == "gan"
    assert release.rows.shape == (200, 6)
    assert release.weights
    assert not release.warm


@needs_torch
def test_the_next_training_starts_from_the_weights() -> None:
    first = synthesise(request(seed=4, **LENIENT))
    second = synthesise(request(seed=5, weights=first.weights, **LENIENT))
    assert second.warm
    assert second.weights != first.weights


def test_bytes_that_are_no_weights_are_laid_aside() -> None:
    release = synthesise(request(n=150, weights=b"no weights", **LENIENT))
    assert isinstance(release, Release)
    assert not release.warm


def test_without_torch_the_trees_are_the_first_rung() -> None:
    code = (
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from stream_balance.gan.worker import synthesise\n"
        "from tests.gan.tables import request\n"
        f"print(synthesise(request(**{LENIENT!r})).vetting.maker)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "trees", done.stderr


def test_below_the_gans_number_of_rows_the_copula_works_alone() -> None:
    release = synthesise(request(n=150, gan_rows_min=150, **LENIENT))
    assert isinstance(release, Release)
    assert release.vetting.maker == "copula"
    assert release.weights == b""


def test_what_does_not_look_real_is_refused_with_its_numbers() -> None:
    refusal = synthesise(request(c2st_max=0.5, gan_rows_min=10_000))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, [each.maker for each in refusal.others]) == ("c2st", ["copula"])
    assert refusal.others[0].quality.c2st > 0.5
    assert "copula: refused, c2st" in refusal.message


@needs_torch
def test_after_the_gan_is_refused_for_quality_the_trees_and_the_copula_are_tried() -> None:
    refusal = synthesise(request(c2st_max=0.5))
    assert isinstance(refusal, Refusal)
    assert [each.maker for each in refusal.others] == ["gan", "trees", "copula"]
    assert refusal.weights  # the next training may still start there


@pytest.mark.parametrize("rows", ["few", "constant"])
def test_rows_that_nothing_can_be_learned_from_are_refused(rows: str) -> None:
    wanted = request(n=20 if rows == "few" else 100)
    if rows == "constant":
        wanted.rows[:] = 1.0
    refusal = synthesise(wanted)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == ("too_few_rows" if rows == "few" else "constant")


def test_rows_made_hold_only_values_that_the_columns_can_have() -> None:
    wanted = request(n=400, gan_rows_min=10_000, **LENIENT)
    release = synthesise(wanted)
    assert isinstance(release, Release)
    for column in wanted.nominal:
        assert set(np.unique(release.rows[:, column])) <= set(np.unique(wanted.rows[:, column]))
    assert np.nanmin(release.rows[:, 3]) >= 0.0
    assert np.isnan(release.rows[:, 3]).any()
    assert not np.isnan(release.rows[:, :3]).any()

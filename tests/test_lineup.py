"""Which arms run, where a file, the environment and flags name them: the later goes before, nothing is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_balance.errors import SettingsError
from stream_balance.settings import load
from tests.test_cli import run


def test_arms_and_a_strategy_or_model_are_not_named_at_once(tmp_path: Path) -> None:
    for flags, said in (
        (["--strategy", "smoteunder"], "--strategy would"),
        (["--strategy", "smote", "--model", "logistic"], "--strategy and --model would"),
    ):
        found = run("replay", tmp_path / "log.jsonl", "--arms", "linear:none", *flags)
        assert found.returncode == 2
        assert f"--arms names the model and the strategy of each arm; {said} mean nothing." in found.stderr


def test_one_arm_beside_arms_of_a_layer_below_is_refused_and_arms_go_before_one_below(tmp_path: Path) -> None:
    pairs, one = tmp_path / "pairs.toml", tmp_path / "one.toml"
    pairs.write_text('[arms]\npairs = ["linear:none"]\n')
    one.write_text('[balance]\nstrategy = "smote"\n')
    found = run("replay", tmp_path / "log.jsonl", "-c", pairs, "--model", "logistic", "--strategy", "none")
    assert found.returncode == 2
    assert "arms.pairs (linear:none) names the model and the strategy of each arm" in found.stderr
    assert "model.name (--model) would mean nothing. Leave out the one or the other" in found.stderr
    assert found.stderr.count("balance.strategy (--strategy)") == 1

    arms = {"arms": {"pairs": ("naive_bayes:none",)}}
    variable = {"STREAM_BALANCE__BALANCE__STRATEGY": "smote"}
    for file, flags, environment in (
        (pairs, {"balance": {"strategy": "smote"}}, {}),
        (pairs, {}, variable),
        (one, {**arms, "balance": {"strategy": "smote"}}, {}),
    ):
        with pytest.raises(SettingsError, match=r"balance\.strategy \(--strategy\) would mean nothing"):
            load(file, flags, environment)
    assert load(one, arms, variable).arms.pairs == ("naive_bayes:none",)
    assert load(pairs, {"arms": {"pairs": ()}}, variable).balance.strategy == "smote"

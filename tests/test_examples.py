"""The examples run as their first lines say: records of three other makes and a table, from generator to report."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_balance.edge.presets import PRESETS
from tests.conftest import ROOT
from tests.test_cli import report_of, run

EXAMPLES = ROOT / "examples"
STREAMS = {"card_fraud": "chargeback_id", "admissions": "diagnosis_id", "credit_risk": "default_id"}


def make(name: str, *arguments: object) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def replayed(log: Path, name: str, *more: str) -> dict[str, Any]:
    return report_of("replay", log, "-c", EXAMPLES / f"{name}.toml", "--mature-all", "-q", *more)


def test_every_preset_but_the_shop_has_an_example() -> None:
    assert set(STREAMS) == set(PRESETS) - {"shop"}


@pytest.mark.parametrize(("name", "outcome_id"), STREAMS.items())
def test_a_stream_of_another_make_is_learned_to_the_last_outcome(tmp_path: Path, name: str, outcome_id: str) -> None:
    log = tmp_path / "log.jsonl.gz"
    make(name, "--records", 2_500, "-o", log)
    records = [json.loads(line) for line in gzip.decompress(log.read_bytes()).splitlines()]
    outcomes = [record for record in records if outcome_id in record]
    assert outcomes
    report = replayed(log, name)
    assert report["events"] == {"search": 2_500, "purchase": len(outcomes), "bad": {}}
    assert (report["examples"]["positive"], report["examples"]["orphans"]) == (len(outcomes), 0)
    if name == "admissions":
        found = report["metrics"]["lifetime"]["per_class"]
        told = {diagnosis: found[diagnosis]["rows"] for diagnosis in ("sepsis", "stroke", "embolism")}
        assert told == {name: sum(outcome["diagnosis"] == name for outcome in outcomes) for name in told}
    else:
        assert report["oracle"]["rows"] == 2_500


def test_a_generator_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        make("card_fraud", "--records", 50, "-o", tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_the_table_of_alarms_is_learned(tmp_path: Path) -> None:
    table = tmp_path / "alarms.csv"
    make("sensor_alarms", "--rows", 2_000, "-o", table)
    alarms = table.read_text().count(",yes")
    report = report_of(
        "replay", table, "--rows", "--label", "alarm", "--positive", "yes", "--drop", "reading",
        "--label-delay-rows", "200", "--mature-all", "-q",
    )  # fmt: skip
    assert (report["examples"]["matured"], report["examples"]["positive"]) == (2_000, alarms)


def test_the_textbooks_rows_are_compared_in_a_batch_and_as_a_stream() -> None:
    command = [sys.executable, str(EXAMPLES / "textbook.py"), "--rows", "500", "--seeds", "0"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    names = [line.split("  ")[0].split(" ")[:2] for line in done.stdout.splitlines()[2:]]
    told = {" ".join(name).strip() for name in names}
    assert {'always "no"', "batch: none", "batch: smote", "stream: logistic:random_under", "stream: auto"} <= told


def test_the_demo_says_that_its_shop_writes_no_other_make() -> None:
    done = run("demo", "--max-events", "10", "--rate", "0", "--port", "0", "--set", "wire.preset=card_fraud")
    assert done.returncode == 2
    assert "wire" in done.stderr
    assert "Traceback" not in done.stderr

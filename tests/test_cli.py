"""The commands from outside: exit codes, messages, and that nothing is lost on the way out."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import zstandard

from stream_balance.cli import main
from stream_balance.core.balance import STRATEGIES
from tests.conftest import ROOT

TOY = ROOT / "tests" / "data" / "toy.csv"
OF_TABLE = ("toy.csv", "--rows", "--label", "bought", "--positive", "yes")
MIXED = ("--rows", "--label", "label", "--positive", "yes")
NO_BROKER = ("--bootstrap", "127.0.0.1:1", "--set", "kafka.connect_max_s=0.2", "--port", "0")
TWELVE_ARMS = ",".join(f"logistic:{name}" for name in list(STRATEGIES)[:12])


def run(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_balance", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def report_of(*arguments: str | Path, **more: Any) -> dict[str, Any]:
    done = run(*arguments, "--report", "-", **more)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's first 1,500 records."""
    path = tmp_path_factory.mktemp("short") / "shop.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:1_500]))
    return path


def stable(report: dict[str, Any]) -> dict[str, Any]:
    """What must be equal between two runs: all but the speed."""
    return {key: value for key, value in report.items() if key != "throughput"}


def test_the_same_log_gives_the_same_report_whatever_folder_packing_or_hash_seed(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "log.jsonl.gz"
    other.parent.mkdir()
    other.write_bytes(gzip.compress(log.read_bytes()))
    packed = tmp_path / "log.zst"
    packed.write_bytes(zstandard.compress(log.read_bytes()))
    first = stable(report_of("replay", log, "--mature-all", PYTHONHASHSEED="1"))
    assert first["examples"]["matured"] > 4_000
    assert stable(report_of("replay", other, "--mature-all", cwd=tmp_path, PYTHONHASHSEED="2")) == first
    assert stable(report_of("replay", packed, "--mature-all", PYTHONHASHSEED="3")) == first
    assert report_of("replay", log, "--mature-all", "--seed", "1")["state_digest"] != first["state_digest"]


def test_two_files_make_the_same_report_as_one(log: Path, tmp_path: Path) -> None:
    lines = [line for line in log.read_bytes().splitlines() if _readable(line)]
    one, searches, purchases = (tmp_path / name for name in ("one.jsonl", "searches.jsonl", "purchases.jsonl"))
    one.write_bytes(b"\n".join(lines))
    searches.write_bytes(b"\n".join(line for line in lines if b'"items"' in line))
    purchases.write_bytes(b"\n".join(line for line in lines if b'"items"' not in line))
    whole = report_of("replay", one)
    assert report_of("replay", searches, purchases)["state_digest"] == whole["state_digest"]
    assert report_of("replay", purchases, searches)["state_digest"] == whole["state_digest"]


def _readable(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return record.get("schema", 1) == 1 and b"NaN" not in line and b"2099" not in line


def test_bad_records_are_counted_and_kept(log: Path, tmp_path: Path) -> None:
    mixed, dead = tmp_path / "log.jsonl", tmp_path / "dead.jsonl"
    lines = log.read_bytes().splitlines()[:300]
    bad = [
        b'{"event_id": "x", "ts',
        b'{"schema": 9, "event_id": "y"}',
        b'{"event_id": "z", "ts": 1772357410000}',
        b"[]",
    ]
    mixed.write_bytes(b"\n".join(lines[:150] + bad + lines[150:]))
    before = report_of("replay", log)
    report = report_of("replay", mixed, "--dead-letters", dead)
    assert sum(report["events"]["bad"].values()) >= len(bad)
    kept = [json.loads(line) for line in dead.read_text().splitlines()]
    assert len(kept) == sum(report["events"]["bad"].values())
    assert before["events"]["search"] > report["events"]["search"] > 200


def test_after_freezing_nothing_is_learned(log: Path) -> None:
    free = report_of("replay", log, "--mature-all")
    frozen = report_of("replay", log, "--mature-all", "--freeze-after", "1000")
    assert frozen["training"]["samples"]["observed"] < free["training"]["samples"]["observed"]
    assert 0 < frozen["metrics"]["lifetime"]["rows"] < free["metrics"]["lifetime"]["rows"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["replay", "missing.jsonl"], 2, "missing.jsonl"),
        (["replay", "empty.jsonl"], 2, "no records"),
        (["replay", "broken.jsonl.gz"], 1, "broken.jsonl.gz"),
        (["replay", "log.jsonl", "--strategy", "nonsense"], 2, "no arm), or one of none, random_over"),
        (["config", "check", "--set", "balance.strategy=smot"], 2, "Did you mean 'smote'?"),
        (["config", "check", "--set", "model.name=logistik"], 2, "Choose one of logistic"),
        (["config", "check", "--set", 'arms.pairs=["logistic:auto"]'], 2, "'auto' is several models side by side"),
        (["replay", "log.jsonl", "--model", "nonsense"], 2, "logistic"),
        (["replay", "log.jsonl", "--model", "no.such:thing"], 2, "cannot be imported"),
        (["replay", "log.jsonl", "--model", "os.path:join"], 2, "cannot be called: TypeError"),
        (["replay", "log.jsonl", "--set", "jion.window_s=3"], 2, "Did you mean 'join'?"),
        (["config", "check", "--set", "calibrate.slow_decay=.9"], 2, "by outcomes of the rarer kind now"),
        (["config", "check", "--set", "calibrate.slow_outcomes=inf"], 2, "less than or equal to 1000000000"),
        (["replay", "log.jsonl", "--set", "join.window_s=-3"], 2, "join.window_s"),
        (["replay", "log.jsonl", "-c", "missing.toml"], 2, "missing.toml"),
        (["replay", "log.jsonl", "--report", "no/such/folder.json"], 2, "'no/such' is no folder"),
        (["replay", "log.jsonl", "--report", "."], 2, "is a folder"),
        (["replay", "missing.jsonl", "--dead-letters", "no/such.jsonl"], 2, "no/such.jsonl"),
        (["compare", "missing.jsonl", "--html", "."], 2, "--html '.' is a folder"),
        (["compare", "missing.jsonl", "--json", "no/such.json"], 2, "--json 'no/such.json': 'no' is no folder"),
        (["compare", "missing.jsonl", "--html", ""], 2, "--html '': expected a file, or -"),
        (["gan", "inspect", "missing.jsonl", "--html", "."], 2, "--html '.' is a folder"),
        (["generate", "-o", "no/such.jsonl"], 2, "--output 'no/such.jsonl': 'no' is no folder"),
        (["replay", "noise.jsonl.gz"], 2, "is named .gz and is neither gzip nor zstd"),
        (["replay", "toy.csv"], 2, "add --rows"),
        (["replay", "toy.csv", "--label", "bought", "--drop", "x"], 2, "--label, --drop go with --rows"),
        (
            [
                "replay",
                "toy.csv",
                "--rows",
                "--label",
                "bought",
                "--positive",
                "yes",
                "--model",
                "river.naive_bayes:GaussianNB",
            ],
            2,
            "put river.preprocessing.OneHotEncoder before it",
        ),
        (["replay", "toy.csv", "--rows", "--label", "bought", "--positive", "yess"], 2, "has 'yess' in no row"),
        (["replay", "toy.csv", "--rows", "--label", "bougt", "--positive", "yes"], 2, "bought"),
        (["replay", "toy.csv", "--rows"], 2, "--label"),
        (["replay", "toy.csv", "--rows", "--label", "bought", "--delimiter", ";"], 2, "delimiter"),
        (
            ["replay", "mixed.csv", *MIXED, "--type", "shop=numeric"],
            2,
            "has no row that could be used in 3 records: 3 wrong_type. The first, line 2: shop is 'corner', expected a "
            "number. Look at --label, --positive, --classes and --type.",
        ),
        (["compare", "mixed.csv", *MIXED, "--type", "shop=numeric"], 2, "The first, line 2: shop is 'corner'"),
        (["replay", "mixed.csv", *MIXED, "--time", "shop"], 2, "Look at --label, --positive, --classes, --time and"),
        (["compare", "mixed.csv", *MIXED, "--time", "shop"], 2, "Look at --label, --positive, --classes, --time and"),
        (
            ["replay", "mixed.csv", *MIXED, "--time", "shop"],
            2,
            "The first, line 2: shop is 'corner', expected ISO 8601",
        ),
        (["replay", "mixed.csv", "--rows", "--label", "label", "--classes", "q,p"], 2, "3 unknown_label. The first"),
        (["replay", "log.jsonl", "--arms", "a:b;c:d"], 2, "Arms are separated by commas: --arms a:b,c:d."),
        (["compare", "log.jsonl", "--arms", "a:b | c:d"], 2, "Arms are separated by commas: --arms a:b,c:d."),
        (
            ["replay", "log.jsonl", "--set", "mixture.floor=0.09", "--arms", TWELVE_ARMS],
            2,
            "mixture.floor: 0.09 is what each arm keeps, and 12 arms (references are not counted)",
        ),
        (["config", "check", "--set", "kafka.bootstap=x"], 2, "bootstrap"),
        (["run", "--bootstrap", "127.0.0.1:1", "--set", "kafka.connect_max_s=0.2", "--port", "0"], 1, "127.0.0.1:1"),
        (["produce", "log.jsonl", "--bootstrap", "127.0.0.1:1", "--set", "kafka.connect_max_s=0.2"], 1, "127.0.0.1:1"),
    ],
)
def test_wrong_input_has_a_message_and_the_right_exit_code(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    """In this process: two dozen starts of Python would be most of the time."""
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(log.read_bytes())[:20_000])
    (tmp_path / "noise.jsonl.gz").write_bytes(random.Random(0).randbytes(5_000))
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(log.read_bytes().splitlines()[:50]))
    (tmp_path / "toy.csv").write_bytes(TOY.read_bytes())
    (tmp_path / "mixed.csv").write_text("shop,label\ncorner,none\nmarket,meh\nmarket,yes\n")
    monkeypatch.chdir(tmp_path)
    found, told = ended(arguments, monkeypatch, capfd)
    assert found == code, told
    assert message in told


def ended(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[str | int | None, str]:
    """The exit code of a command in this process, and what it said of that."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["stream-balance", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "log.jsonl", "--html", "log.jsonl"], "--html 'log.jsonl' would change 'log.jsonl', which is read"),
        (["compare", "log.jsonl", "--json", "./log.jsonl"], "--json './log.jsonl' would change 'log.jsonl'"),
        (["compare", *OF_TABLE, "--html", "toy.csv"], "--html 'toy.csv' would change 'toy.csv'"),
        (["compare", "log.jsonl", "--dead-letters", "link"], "--dead-letters 'link' would change 'log.jsonl'"),
        (["replay", "log.jsonl", "--report", "hard"], "--report 'hard' would change 'log.jsonl'"),
        (["replay", "link", "--report", "log.jsonl"], "--report 'log.jsonl' would change 'link'"),
        (["replay", *OF_TABLE, "--report", "toy.csv"], "--report 'toy.csv' would change 'toy.csv'"),
        (["replay", "log.jsonl", "more.jsonl", "--dead-letters", "more.jsonl"], "would change 'more.jsonl'"),
        (["replay", "log.jsonl", "-c", "s.toml", "--report", "s.toml"], "--report 's.toml' would change 's.toml'"),
        (["replay", "night", "--report", "night/events-000001.jsonl.zst"], "would change 'night/events-000001"),
        (["generate", "-c", "s.toml", "-o", "s.toml"], "--output 's.toml' would change 's.toml'"),
        (["gan", "inspect", "log.jsonl", "--html", "log.jsonl"], "--html 'log.jsonl' would change 'log.jsonl'"),
        (
            ["demo", "-c", "s.toml", "--dead-letters", "s.toml", "--max-events", "9", "--port", "0"],
            "--dead-letters 's.toml' would change 's.toml'",
        ),
        (["run", "-c", "s.toml", "--report", "s.toml", *NO_BROKER], "--report 's.toml' would change 's.toml'"),
        (["compare", "log.jsonl", "--html", "x", "--json", "./x"], "--html 'x' and --json './x' are one and the same"),
        (["compare", "log.jsonl", "--html", "-", "--json", "-"], "--html '-' and --json '-' are one and the same"),
        (["replay", "log.jsonl", "--report", "x", "--dead-letters", "x"], "--report 'x' and --dead-letters 'x' are"),
    ],
)
def test_what_is_read_is_not_written_over(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    lines = log.read_bytes().splitlines(keepends=True)[:50]
    (tmp_path / "log.jsonl").write_bytes(b"".join([*lines, b"not an event\n"]))
    (tmp_path / "more.jsonl").write_bytes(b"neither\n")
    (tmp_path / "link").symlink_to("log.jsonl")
    (tmp_path / "hard").hardlink_to(tmp_path / "log.jsonl")
    (tmp_path / "toy.csv").write_bytes(TOY.read_bytes())
    (tmp_path / "s.toml").write_text("seed = 1\n")
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "events-000001.jsonl.zst").write_bytes(zstandard.compress(b"".join(lines)))
    manifest = {"version": 1, "segments": [{"name": "events-000001.jsonl.zst"}]}
    (tmp_path / "night" / "recording.json").write_text(json.dumps(manifest))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    code, told = ended(arguments, monkeypatch, capfd)
    assert code == 2, told
    assert message in told
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_report_goes_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reading:
        try:
            done = run("replay", TOY, *OF_TABLE[1:], "--arms", "linear:none", "--report", pipe)
            assert done.returncode == 0, done.stderr
            assert pipe.is_fifo()
            assert json.loads(reading.communicate(timeout=30)[0])["examples"]["matured"] > 0
        finally:
            reading.kill()


REPLAYED = ["replay", str(TOY), *OF_TABLE[1:], "--arms", "linear:none"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without room")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (REPLAYED, "standard output cannot be written: No space left on device."),
        ([*REPLAYED, "--report", "-"], "--report -: standard output cannot be written: No space left on device."),
        (["config", "show"], "standard output cannot be written: No space left on device."),
        (["--help"], "standard output cannot be written: No space left on device."),
    ],
)
def test_a_standard_output_without_room_is_told(asked: list[str], told: str, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stream_balance", *asked],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"error: {told}" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_wrong_command_line_ends_the_process_with_its_code() -> None:
    done = run("replay", "missing.jsonl")
    assert (done.returncode, "missing.jsonl" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_an_unknown_environment_key_is_refused() -> None:
    done = run("config", "check", STREAM_BALANCE__JION__WINDOW_S="3")
    assert done.returncode == 2
    assert "jion" in done.stderr


def test_the_environment_is_below_the_flags(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("seed = 1\n[join]\nwindow_s = 10\n")
    done = run("config", "show", "--json", "-c", "s.toml", "--set", "join.window_s=30", cwd=tmp_path,
               STREAM_BALANCE__JOIN__WINDOW_S="20", STREAM_BALANCE__SEED="2")  # fmt: skip
    shown = json.loads(done.stdout)
    assert (shown["join"]["window_s"], shown["seed"]) == (30, 2)


def test_a_table_with_one_class_says_so(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("x,y\n" + "1.5,no\n" * 50)
    done = run("replay", path, "--rows", "--label", "y", "--positive", "yes")
    assert done.returncode == 0
    assert "one class only" in done.stderr


def test_a_binary_model_is_refused_for_three_classes_and_wrapped_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "three.csv"
    path.write_text("x,y\n" + "".join(f"{i % 7},{'abc'[i % 3]}\n" for i in range(300)))
    table = ("replay", path, "--rows", "--label", "y", "--classes", "a,b,c")
    refused = run(*table)
    assert refused.returncode == 2
    assert "naive_bayes" in refused.stderr
    for more in (("--one-vs-rest",), ("--model", "naive_bayes")):
        report = report_of(*table, *more)
        assert set(report["metrics"]["lifetime"]["per_class"]) == {"a", "b", "c"}
        assert report["examples"]["matured"] == 300


def test_ctrl_c_ends_the_demo_with_the_final_report() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_balance", "demo", "--port", "0", "--rate", "300", "--report", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    url = process.stderr.readline().split()[2]
    fresh = json.load(urllib.request.urlopen(f"{url}report.json"))
    assert len(fresh["state_digest"]) == 64
    assert b"stream_balance_events_total" in urllib.request.urlopen(f"{url}metrics").read()
    for route in ("health", "ready", ""):
        assert urllib.request.urlopen(url + route).status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["examples"]["in"] >= fresh["examples"]["in"]
    assert "Prequential metrics" in err


def test_a_closed_loop_is_repeatable_and_shows_the_order_of_the_scores() -> None:
    soon = ("--set", "join.window_s=120", "--set", "features.warm_s=60")  # before it has learned, all scores are equal
    first, again, own = (
        report_of("demo", "--max-events", "1500", "--rate", "0", "--port", "0", *soon, *flags)
        for flags in (["--rank-by-score"], ["--rank-by-score"], [])
    )
    assert stable(first) == stable(again)
    assert first["state_digest"] != own["state_digest"]
    # The items stand where our scores of a moment before have put them.
    gap, own_gap = (
        abs(each["exposure"]["tail_share"] - each["exposure"]["logged_tail_share"]) for each in (first, own)
    )
    assert gap < own_gap / 4

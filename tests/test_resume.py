"""Replays that are killed and resumed make the report of one in one piece."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from stream_balance.commands.replay import replay_events
from stream_balance.errors import SettingsError, WorldError
from stream_balance.saving import saving
from stream_balance.settings import load
from tests.test_cli import TOY, report_of, run, stable

EVERY = "checkpoint.interval_events=100"


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,200 lines of the shop's log."""
    path = tmp_path_factory.mktemp("resume") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:1200]))
    return path


def told(words: str) -> None:
    raise AssertionError(f"nothing should be told: {words}")


def replayed(log: Path, folder: Path | None, stop_after: int | None, *, resume: bool = True, **rooms: Any) -> Any:
    """The report of a replay that stops after so many records."""
    settings = load(flags={"checkpoint": {"interval_events": 64}, **rooms})
    stop = threading.Event()

    class Counting(threading.Event):
        """Set once it has been asked so often: after each record."""

        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return stop_after is not None and self.asked >= stop_after

    with saving(settings, folder, "log", told, may_resume=resume) as saved:
        return replay_events([log], settings, Counting() if stop_after else stop, saved=saved)


def test_a_replay_cut_anywhere_goes_on_to_the_same_report(log: Path, tmp_path: Path) -> None:
    rooms = {"order": {"disorder_max_s": 5.0}}
    whole = stable(replayed(log, None, None, **rooms))
    rng, folder = random.Random(5), tmp_path / "state"
    pieces = 0
    while True:
        report = stable(replayed(log, folder, rng.randrange(1, 500), **rooms))
        pieces += 1
        if report["events"] == whole["events"] and report["state_digest"] == whole["state_digest"]:
            break
        assert pieces < 50
    assert pieces > 3
    assert report == whole
    assert stable(replayed(log, folder, None, **rooms)) == whole  # there is nothing left to do


def test_a_killed_replay_resumes_to_the_same_report(log: Path, tmp_path: Path) -> None:
    whole = stable(report_of("replay", log, "--mature-all"))
    arguments = ("replay", str(log), "--mature-all", "--checkpoint-dir", str(tmp_path / "state"), "--set", EVERY)
    # Written at once: on a busy machine a child might have none in place when the log has come to its end.
    at_once = ("--set", "checkpoint.writer=inline")
    command = [sys.executable, "-m", "stream_balance", *arguments, *at_once, "--resume", "--speed", "5e3"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pause = threading.Event()
    while len(list((tmp_path / "state").glob("*.sbc"))) < 2:
        assert process.poll() is None
        pause.wait(0.02)
    process.kill()
    process.wait()
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    assert stable(report_of(*arguments, "--resume")) == whole | {"settings": _with_interval(whole)}


def _with_interval(report: dict[str, Any]) -> dict[str, Any]:
    settings = json.loads(json.dumps(report["settings"]))
    settings["checkpoint"]["interval_events"] = 100
    return dict(settings)


def test_a_table_resumes_too(tmp_path: Path) -> None:
    table = ("replay", TOY, "--rows", "--label", "bought", "--positive", "yes", "--label-delay-rows", "30")
    whole = stable(report_of(*table))
    folder = ("--checkpoint-dir", tmp_path / "state")
    first = report_of(*table, *folder)
    assert stable(first) == whole
    assert stable(report_of(*table, *folder, "--resume")) == whole
    done = run(*table, *folder, "--resume", "--label-delay-rows", "31")
    assert done.returncode == 2
    assert "table.delay_rows was 30, is 31" in done.stderr


def test_another_log_or_other_settings_are_refused(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    replayed(log, folder, 500)
    other = tmp_path / "other.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    other.write_bytes(b"".join(lines[1:]))
    with pytest.raises(SettingsError, match="record 500 of it is another or missing"):
        replayed(other, folder, None)
    other.write_bytes(b"".join(lines[:100]))
    with pytest.raises(SettingsError, match="missing"):
        replayed(other, folder, None)
    with pytest.raises(SettingsError, match=r"core\.join\.window_s was 1800\.0, is 60\.0"):
        replayed(log, folder, None, join={"window_s": 60.0})
    with pytest.raises(SettingsError, match="--resume"):
        replayed(log, folder, None, resume=False)
    report = replayed(log, folder, None)
    assert report["events"] == replayed(log, None, None)["events"]


def test_two_replays_do_not_share_a_folder(log: Path, tmp_path: Path) -> None:
    settings = load()
    with saving(settings, tmp_path, "log", told), pytest.raises(WorldError, match="is in use by process"):
        replayed(log, tmp_path, None)


def test_a_stopped_replay_saves_what_it_has_done(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    command = [sys.executable, "-m", "stream_balance", "replay", str(log), "--checkpoint-dir", str(folder)]
    command += ["--speed", "100", "--set", EVERY, "--report", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pause = threading.Event()
    while not list(folder.glob("*.sbc")):
        assert process.poll() is None
        pause.wait(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    stopped = json.loads(out)
    with saving(load(), folder, "log", told) as saved:
        assert saved is not None
        assert saved.pipeline is not None
        assert saved.pipeline.state_digest() == stopped["state_digest"]

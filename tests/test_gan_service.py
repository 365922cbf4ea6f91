"""The GAN within the service: trained in child processes; the same report however a replay is cut or children die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stream_balance.core.synthesis import outcome_to_bytes
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.fit_journal import FILE, FitJournal
from stream_balance.edge.fits import ChildFits
from stream_balance.edge.trainer import Trainer, Worker
from stream_balance.gan.makers import has_torch
from tests.core.test_retrain import release
from tests.test_cli import stable
from tests.test_resume import replayed

# Whatever is made is taken, and soon; few steps. Without enough rows for the GAN the copula alone (no torch to load).
QUICK: dict[str, Any] = {
    "balance": {"strategy": "gan"}, "join": {"window_s": 300.0}, "features": {"warm_s": 0.0},
    "gan": {
        "swap_after_events": 300, "retrain_events": 500, "check_events": 50, "copula_rows_min": 10,
        "gan_rows_min": 100_000, "release_rows": 100, "shadow_repeats": 1, "shares": [0.1], "steps_cold": 20,
        "adopt": "vetted", "c2st_max": 1.0, "coverage_min": 0.0, "dcr_share_max": 1.0, "exact_share_max": 1.0,
        "pair_max": 1.0, "pairs_lost_max": 9.0, "marginal_max": 1.0,
        "errors": 100.0, "on_drift": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,600 lines of the shop's log."""
    path = tmp_path_factory.mktemp("gan") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:1600]))
    return path


@pytest.fixture(scope="module")
def whole(log: Path) -> dict[str, Any]:
    """The report of a replay in one piece."""
    return stable(replayed(log, None, None, **QUICK))


def children() -> dict[int, str]:
    """The child processes of this one, zombies too: their ids and command lines."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has ended
            for pid in (task / "children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text()
    return found


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """No process, no thread, no open file more than before."""

    def held() -> tuple[set[int], int, int]:
        return set(children()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = held()
    yield
    after = held()
    # What an earlier test had left to be collected may have gone meanwhile.
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] <= before[2]


@contextmanager
def killing(rng: random.Random, times: int, *, within_s: float = 1.0) -> Iterator[list[int]]:
    """Kills so many children that train, each at a random moment of its first seconds; the list says which."""
    killed: list[int] = []
    over = threading.Event()

    def work() -> None:
        while len(killed) < times and not over.wait(0.01):
            for pid, command in children().items():
                if "gan.worker" in command and pid not in killed:
                    over.wait(rng.uniform(0.0, within_s))
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_releases_enter_where_they_should_and_their_rows_are_learned(whole: dict[str, Any]) -> None:
    gan = whole["gan"]
    assert [outcome["outcome"] for outcome in gan["history"]] == ["release"] * gan["releases"]
    assert gan["releases"] >= 2
    starts = [outcome["position"] - 300 for outcome in gan["history"]]
    assert all(later - earlier >= 500 for earlier, later in pairwise(starts))
    assert gan["pool"]["bought"]["maker"] == "copula"
    samples = whole["training"]["samples"]
    assert 0 < samples["generated"] <= 0.1 * sum(samples.values())


def test_a_replay_cut_between_request_and_release_goes_on_to_the_same_report(
    log: Path, tmp_path: Path, whole: dict[str, Any]
) -> None:
    for pieces, records in enumerate((whole["gan"]["history"][0]["position"] - 100, 350)):
        report = stable(replayed(log, tmp_path, records, **QUICK))
        assert (report["gan"]["open"] is not None, report["gan"]["releases"]) == (True, pieces)
    assert stable(replayed(log, tmp_path, None, **QUICK)) == whole


def test_children_killed_at_random_change_nothing(log: Path, whole: dict[str, Any]) -> None:
    with nothing_left_behind(), killing(random.Random(3), 3) as killed:
        report = stable(replayed(log, None, None, **QUICK, workers={"gan": {"retries_max": 20}}))
    assert len(killed) >= 1
    report["settings"]["workers"] = whole["settings"]["workers"]
    assert report == whole


def test_a_child_that_always_dies_is_a_refusal_that_a_later_run_follows(log: Path, tmp_path: Path) -> None:
    rooms = {**QUICK, "workers": {"gan": {"retries_max": 0, "timeout_s": 0.05}}}
    with nothing_left_behind():
        first = stable(replayed(log, tmp_path / "one", None, **rooms))
    refused = first["gan"]["refusals"]
    assert refused == {"timeout": first["gan"]["requests"] - (first["gan"]["open"] is not None)}
    # Now there is time enough, but what was decided stays: the journal is what another run is given.
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / FILE).write_bytes((tmp_path / "one" / FILE).read_bytes())
    again = stable(replayed(log, tmp_path / "two", None, **QUICK))
    assert again["gan"] == first["gan"]
    assert again["state_digest"] == first["state_digest"]


@pytest.mark.skipif(not has_torch(), reason="needs the extra 'gan'")
def test_the_service_trains_a_gan_though_its_child_is_killed_once_and_never_loads_torch(log: Path) -> None:
    gan = QUICK["gan"] | {"copula_rows_min": 30, "gan_rows_min": 30, "retrain_events": 100_000}
    script = (
        "import random, sys; from pathlib import Path; from tests.test_resume import replayed\n"
        "from tests.test_gan_service import killing, nothing_left_behind\n"
        "with nothing_left_behind(), killing(random.Random(0), 1) as killed:\n"
        "    report = replayed(Path(sys.argv[1]), None, None, **eval(sys.argv[2]))\n"
        "assert len(killed) == 1\n"
        "assert report['gan']['pool']['bought']['maker'] == 'gan', report['gan']\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'torch']\n"
    )
    subprocess.run([sys.executable, "-c", script, str(log), repr(QUICK | {"gan": gan})], check=True)


def test_while_the_loop_waits_it_shows_that_it_lives() -> None:
    beats: list[None] = []
    with Trainer({"gan": Worker("tests.edge.children:pauses")}) as trainer:
        fits = ChildFits(trainer, turn=lambda: beats.append(None))
        assert fits.take(fits.submit("gan", b"1.2")) == b"1.2"
    assert beats


def test_what_was_refused_is_not_tried_again_and_what_worked_is(tmp_path: Path) -> None:
    answer = outcome_to_bytes(release())
    journal = FitJournal(LocalDisk(tmp_path))
    with Trainer({"gan": Worker("tests.edge.children:fails_on_x")}) as trainer:
        told: list[str] = []
        fits = ChildFits(trainer, journal, tell=told.append)
        assert fits.take(fits.submit("gan", b"x")) is None
        assert told == ["no result: gan: ended with exit code 1, without an answer; attempts: 3"]
        requests = trainer.tallies["gan"].requests
        ticket = fits.submit("gan", b"x")
        assert (fits.take(ticket), fits.why(ticket)) == (None, "crash")
        assert trainer.tallies["gan"].requests == requests
        assert fits.take(fits.submit("gan", answer)) == answer
    journal.close()

"""Kills a live service with SIGKILL at random moments, again and again, and compares what it comes to with a replay.

    python -m tests.integration.kill --times 100 --seed 1        # needs KAFKA_HOME and java, or --bootstrap

The topics are complete, or grow while it runs (`--growing`). The service learns what `--arms` says: `one` arm; `auto`,
the default arms, whose booster is fitted in a process of its own; `children`, with the GAN too. A life ends at a moment
drawn from its start-up or from its work; where there are children, every other one while a child works. Whether a
checkpoint was being written then is seen from its temporary file, what was fitted from the processes there are.

Compared are the report and the state digest: of complete topics with a replay of their log; of growing ones, whose
order depends on when they were read, with one life without a break that begins at the first checkpoint, before any
event, and follows the whole merge journal. And every prediction published twice, by that life too, must be the same to
the last bit. The service records what it takes (`run --record`) over all its lives; a replay of that must come to the
same as well. With an odd seed checkpoints and journals are signed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_balance.edge.checkpoint.fit_journal import FILE
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka import KafkaSettings
from stream_balance.simulation.shop import generate
from tests.integration.conftest import kafka_home, kafka_of
from tests.integration.processes import children_at_work, end_of
from tests.integration.test_run import ONE_ARM, comparable, flags, read_all

PATIENCE_S = 300.0
LIFE_S = 1.2  # from when it reads, at most
AIM_S = 60.0  # how long a child's work is waited for to fall into it
INTO_S = {"gan.worker": 4.0, "booster_fit": 0.3}  # how far into it, at most
FEED_S = 6.0  # a kill, of growing topics
TELL_EVERY = 10  # kills
# Fits every few hundred rows, a training every 300 events that takes seconds; its rows are taken whatever they are.
CHILDREN = (
    "--arms", "logistic:gan,linear:none,window_booster:none",
    *(part for each in (
        "features.warm_s=0", "join.window_s=300", "gan.swap_after_events=200", "gan.retrain_events=300",
        "gan.check_events=50", "gan.copula_rows_min=10", "gan.gan_rows_min=30", "gan.release_rows=100",
        "gan.shadow_repeats=1", "gan.shares=[0.1]", "gan.steps_cold=200", "gan.steps_warm=100", "gan.adopt=vetted",
        "gan.c2st_max=1.0", "gan.coverage_min=0.0", "gan.dcr_share_max=1.0", "gan.exact_share_max=1.0",
        "gan.pair_max=1.0", "gan.pairs_lost_max=9.0", "gan.marginal_max=1.0",
        "gan.errors=100.0", "gan.on_drift=false",
    ) for part in ("--set", each)),
)  # fmt: skip
AUTO = ("--set", "features.warm_s=0", "--set", "join.window_s=300")  # the default arms, learning early
ARMS = {"one": ONE_ARM, "auto": AUTO, "children": CHILDREN}
ALL = 1_000_000  # checkpoints; with them the whole journal stays


@dataclass
class Kills:
    """What was done, and what came of it."""

    times: int = 0
    starting: int = 0  # killed before the service said where it goes on
    writing: int = 0  # killed while a checkpoint was being written
    training: int = 0  # killed while a GAN was being trained
    fitting: int = 0  # killed while the booster was fitted
    lives_that_saved: int = 0  # a new checkpoint came into place
    predictions: int = 0
    repeated: int = 0  # searches whose prediction left more than once
    decisions: int = 0  # merge decisions that times did not force, journaled
    releases: int = 0  # trainings whose rows were taken, in the end
    recorded: bool = False  # a replay of what was recorded meanwhile comes to the same
    same: bool = False  # report and digest equal those of a run in one piece
    reasons: list[str] = field(default_factory=list)


def life(
    command: list[str], folder: Path, rng: random.Random, kills: Kills, life_s: float, *, aim: bool = False
) -> bool:
    """Start the service and kill it, with `aim` while a child works; False if it had come to its end before."""
    before = {path.name for path in folder.glob("*.sbc")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    working = threading.Event()
    told: list[str] = []

    def read() -> None:
        for line in process.stderr or ():
            told.append(line)
            if "reading" in line:
                working.set()
        working.set()

    reader = threading.Thread(target=read)
    reader.start()
    if not aim and rng.random() < 0.15:
        wait_s = rng.uniform(0.0, 3.0)
    else:
        working.wait(PATIENCE_S)
        wait_s = rng.uniform(0.0, life_s) if not aim else _until_a_child_works(process, rng)
    with suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    ended = process.poll()
    at_work = children_at_work(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    process.stderr.close()
    if ended is not None:
        if ended != 0:
            kills.reasons.append(f"ended by itself with {ended}: {''.join(told)[-2000:]}")
        return False
    kills.times += 1
    kills.starting += not any("reading" in line for line in told)
    kills.writing += bool(list(folder.glob("checkpoint-*.tmp")))
    kills.training += "gan.worker" in at_work
    kills.fitting += "booster_fit" in at_work
    kills.lives_that_saved += {path.name for path in folder.glob("*.sbc")} != before
    return True


def _until_a_child_works(process: subprocess.Popen[str], rng: random.Random) -> float:
    """Return when one does, with how long to let it."""
    end = time.monotonic() + AIM_S
    while time.monotonic() < end and process.poll() is None:
        for kind in children_at_work(process.pid):
            return rng.uniform(0.0, INTO_S[kind])
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    return 0.0


def kill_often(
    times: int, seed: int, settings: KafkaSettings, folder: Path, *, events: int, growing: bool = False,
    arms: str = "one", life_s: float = LIFE_S, feed_s: float = FEED_S,
) -> Kills:  # fmt: skip
    """Produce a log, run the service over it through so many kills, then to its end."""
    rng, kills = random.Random(seed), Kills()
    log, state = folder / "log.jsonl", folder / "state"
    log.write_bytes(b"".join(line + b"\n" for line in generate(events, seed=seed)))
    recording = folder / "recording"
    arguments = [
        "run", *ARMS[arms], *flags(settings), "--port", "0", "--checkpoint-dir", str(state),
        "--set", "checkpoint.interval_s=0.15", "--record", str(recording),
    ]  # fmt: skip
    if growing:
        arguments += ["--set", f"checkpoint.keep={ALL}"]
    if seed % 2:
        key = folder / "key"
        key.write_text("0123456789abcdef\n")
        arguments += ["--set", f"checkpoint.hmac_key_file={key}"]
    command = [sys.executable, "-m", "stream_balance", *arguments, "--set", "log.level=info"]
    feeder = None
    if growing:
        # Complete from the first record on for topics to exist, then as time passes.
        lines = log.read_bytes().splitlines(keepends=True)
        first, rest = folder / "first.jsonl", folder / "rest.jsonl"
        first.write_bytes(b"".join(lines[: events // 10]))
        rest.write_bytes(b"".join(lines[events // 10 :]))
        send(first, settings)
        speed = ["--speed", str(_span_s(lines) / (times * feed_s))]
        feeder = subprocess.Popen(
            [sys.executable, "-m", "stream_balance", "produce", str(rest), *flags(settings), *speed],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    else:
        send(log, settings)
    while kills.times < times:
        if not life(command, state, rng, kills, life_s, aim=arms != "one" and rng.random() < 0.5):
            break
        if kills.times % TELL_EVERY == 0:
            print(kills, file=sys.stderr, flush=True)
    if feeder is not None and feeder.wait() != 0:
        kills.reasons.append("the producer failed")
    final = report_of(*arguments, "--until-caught-up")
    if growing:
        first = folder / "one-life"
        kills.decisions = keep_the_first(state, first)
        arguments[arguments.index(str(state))] = str(first)
        del arguments[arguments.index("--record") :]
        whole = report_of(*arguments, "--until-caught-up")
    else:
        journal = ["--journal", str(state)] if (state / FILE).exists() else []
        whole = report_of("replay", log, *ARMS[arms], *journal)
    told = report_of("replay", recording, *ARMS[arms])
    kills.recorded = comparable(told) == comparable(final)
    if not kills.recorded:
        kills.reasons.append(f"after kills: {_summary(final)}; a replay of its recording: {_summary(told)}")
    kills.releases = (final["gan"] or {"releases": 0})["releases"]
    _look_at_predictions(settings, final, kills)
    kills.same = comparable(final) == comparable(whole)
    if not kills.same:
        kills.reasons.append(f"after kills: {_summary(final)}; in one piece: {_summary(whole)}")
    return kills


def _look_at_predictions(settings: KafkaSettings, final: dict[str, Any], kills: Kills) -> None:
    """Every search has one, and those that left more than once are the same."""
    predictions = read_all(settings, settings.predictions_topic)
    by_search: dict[str, set[bytes]] = {}
    for value in predictions:
        by_search.setdefault(json.loads(value)["search_id"], set()).add(value)
    counts = Counter(json.loads(value)["search_id"] for value in predictions)
    kills.predictions, kills.repeated = len(predictions), sum(count > 1 for count in counts.values())
    different = [search for search, values in by_search.items() if len(values) > 1]
    if different:
        kills.reasons.append(f"{len(different)} searches have predictions that differ, one is {different[0]}")
    missing = final["events"]["search"] - final["examples"]["duplicates"] - len(by_search)
    if missing > 0:
        kills.reasons.append(f"{missing} searches have no prediction")


def keep_the_first(state: Path, folder: Path) -> int:
    """A folder with the first checkpoint alone and the whole journals; how many entries that of the merge has."""
    folder.mkdir()
    shutil.copy(min(state.glob("*.sbc")), folder)
    for fits in state.glob(FILE):  # a refusal is the world's: it is not asked again
        shutil.copy(fits, folder)
    entries = 0
    for segment in state.glob("journal-*"):
        shutil.copy(segment, folder)
        entries += segment.read_bytes().count(b"\n")
    return entries


def send(log: Path, settings: KafkaSettings) -> None:
    """The log into topics of its own."""
    arguments = ["produce", str(log), *flags(settings), "--create-topics", "--partitions", "4"]
    end_of([sys.executable, "-m", "stream_balance", *arguments])


def report_of(*arguments: str | Path) -> dict[str, Any]:
    """Of a run or replay in one piece; children may take their time."""
    return dict(json.loads(end_of([sys.executable, "-m", "stream_balance", *map(str, arguments), "--report", "-"])))


def _summary(report: dict[str, Any]) -> str:
    return f"{report['events']} {report['examples']} {report['state_digest']}"


def _span_s(lines: list[bytes]) -> float:
    """Of event time, between the first record and the last."""
    codec = Codec(WireSettings())
    first, last = (codec.parse(line.rstrip()).ts_us for line in (lines[0], lines[-1]))
    return (last - first) / 1e6


def main() -> None:
    """Kill as often as asked; exit 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--growing", action="store_true")
    parser.add_argument("--arms", choices=ARMS, default="one", help="auto: the default ones; children: with the GAN")
    parser.add_argument("--life-s", type=float, default=LIFE_S, help="from when it reads to its end, at most")
    parser.add_argument("--feed-s", type=float, default=FEED_S, help="how long growing topics grow, a kill")
    parser.add_argument("--bootstrap", default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bootstrap, broker = asked.bootstrap, None
        if bootstrap is None:
            home = kafka_home()
            if home is None:
                parser.error("no broker: give --bootstrap, or set KAFKA_HOME")
            (folder / "broker").mkdir()
            broker = kafka_of(home, folder / "broker")
            broker.start()
            bootstrap = broker.bootstrap
        try:
            kills = kill_often(
                asked.times, asked.seed, topics_of(bootstrap), folder, events=asked.events, growing=asked.growing,
                arms=asked.arms, life_s=asked.life_s, feed_s=asked.feed_s,
            )  # fmt: skip
        finally:
            if broker is not None:
                broker.kill()
    print(kills)
    sys.exit(0 if kills.same and not kills.reasons else 1)


def topics_of(bootstrap: str) -> KafkaSettings:
    """Settings with topics of their own."""
    unique = uuid.uuid4().hex[:8]
    return KafkaSettings(
        bootstrap=bootstrap, search_topic=f"search-{unique}", purchase_topic=f"purchase-{unique}",
        predictions_topic=f"predictions-{unique}", group_id=f"group-{unique}",
    )  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "200")
    main()

"""The causes of alerts, each made on a real service that is fed through a real broker and watched by a real Prometheus.

Each function here makes one or several and says what it expects; `stack` runs them.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.simulation.shop import generate
from tests.conftest import ROOT
from tests.integration import slow_model
from tests.observability.staging import Stack
from tests.observability.test_prometheus import ask_once

ONE_ARM = ("--strategy", "smote_under")
# Rates are for a machine of two cores that does something else as well; the shop makes .63 events a second.
STEADY, QUICK = 60.0, 300.0
HOSPITAL = 43_200.0  # 90 admissions a day become 45 a second
HURRY_ON = 6.0  # where a rule looks back for hours or a day
SMALL_GAN = {
    "swap_after_events": 300, "retrain_events": 400, "check_events": 100, "copula_rows_min": 15, "gan_rows_min": 30,
    "release_rows": 200, "shadow_repeats": 1, "steps_cold": 20, "steps_warm": 10, "backoff_max": 1,
}  # fmt: skip


def shop(events: int, seed: int) -> list[bytes]:
    """Lines of the simulated shop."""
    return list(generate(events, seed))


def admissions(count: int, seed: int) -> list[bytes]:
    """Lines of the simulated hospital, three rare classes; of five admissions without a diagnosis one is kept."""
    program = ROOT / "examples" / "admissions.py"
    made = subprocess.run(
        [sys.executable, str(program), "--records", str(count), "--seed", str(seed)], check=True, capture_output=True
    )
    lines = made.stdout.splitlines()
    diagnosed = {orjson.loads(line)["admission_id"] for line in lines if b'"diagnosis_id"' in line}
    rng = random.Random(seed)
    return [line for line in lines if orjson.loads(line)["admission_id"] in diagnosed or rng.random() < 0.2]


# What happens to a log


def few_purchases(lines: Iterable[bytes], of: int, seed: int) -> Iterator[bytes]:
    """Most purchases get lost on their way: one of `of` comes."""
    rng = random.Random(seed)
    return (line for line in lines if b'"items"' in line or rng.randrange(of) == 0)


def others_features(lines: Iterable[bytes], seed: int) -> Iterator[bytes]:
    """What is said of an item is that of an item of another search; its id is kept."""
    rng = random.Random(seed)
    seen: list[dict[str, Any]] = [{}]
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:  # broken on purpose
            continue
        if isinstance(event, dict) and isinstance(event.get("items"), list):
            for item in event["items"]:
                mine = {key: item[key] for key in item if key not in ("item_id", "truth")}
                item.update(rng.choice(seen))
                seen.append(mine)
            del seen[:-1_000]
        yield orjson.dumps(event)


def others_measurements(lines: Iterable[bytes], seed: int) -> Iterator[bytes]:
    """What was measured of a patient is that of another one."""
    rng = random.Random(seed)
    seen: list[dict[str, Any]] = []
    for line in lines:
        record = orjson.loads(line)
        if "vitals" in record:
            seen.append({key: record[key] for key in ("vitals", "labs", "ward")})
            record |= rng.choice(seen)
        yield orjson.dumps(record)


@contextmanager
def hung_transaction(settings: KafkaSettings, partitions: int) -> Iterator[None]:
    """A producer that has begun a transaction on every partition, and neither commits nor gives up."""
    producer: Any = client.KafkaProducer(
        bootstrap_servers=settings.bootstrap, transactional_id=settings.group_id, transaction_timeout_ms=600_000
    )
    producer.init_transactions()
    producer.begin_transaction()
    for topic in settings.topics:
        for partition in range(partitions):
            producer.send(topic, b"{}", partition=partition)
    producer.flush()
    try:
        yield
    finally:
        producer.abort_transaction()
        producer.close()


@contextmanager
def little_room(process: int) -> Iterator[None]:
    """No file of the process may become larger: there is room for the journals, and none for a checkpoint."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))


# The acts


def hands(stack: Stack) -> None:
    """What breaks by hand: records, broker, producer, process."""
    act = stack.act("hands")
    feeder = act.feed(shop(40_000, 7), STEADY)
    stack.healthy(act)
    act.feed([b"this is no event"] * 2_000, STEADY)
    act.expect("StreamBalanceDeadLetters", "records are broken")
    stack.broker.stop()
    act.expect("StreamBalanceBrokerAway", "the broker is stopped")
    stack.broker.start()
    act.until_silent()
    feeder.kill()
    feeder.wait()
    act.expect("StreamBalanceNoEvents", "the producer is killed")
    act.kill_service()
    act.expect("StreamBalanceDown", "the service is killed")

    def restart() -> None:
        act.start_service()
        (began,) = act.of_the_service("process_start_time_seconds")
        act.prometheus.until(f'process_start_time_seconds{{job="stream-balance"}} == {began!r}')
        act.kill_service()

    act.expect("StreamBalanceRestartLoop", "it is restarted again and again", step=restart)


def stands(stack: Stack) -> None:
    """What stands still although everybody is there: records, checkpoints; and a flood."""
    act = stack.act("stands")
    lines = shop(45_000, 8)
    feeder = act.feed(lines[:15_000], STEADY)
    act.prometheus.until("rate(stream_balance_examples_matured_total[10s]) > 0", 180.0)
    with hung_transaction(act.settings, stack.partitions):
        act.expect("StreamBalanceNotConsuming", "a producer's transaction hangs")
    act.until_silent()
    with little_room(act.service.process.pid):
        act.expect("StreamBalanceCheckpointStale", "no room for a checkpoint")
    act.until_silent()
    feeder.kill()
    feeder.wait()
    flood = act.feed(lines[15_000:], None)
    act.expect("StreamBalanceLagGrowing", "more comes than can be taken")
    flood.kill()
    flood.wait()


def too_slow(stack: Stack) -> None:
    """A model of one's own that needs a minute for a search."""
    os.environ[slow_model.PAUSE] = "8"  # for each item
    act = stack.act("slow", "--model", slow_model.NAME, "--strategy", "none")
    del os.environ[slow_model.PAUSE]
    act.feed(shop(500, 14), STEADY)
    act.expect("StreamBalanceLoopStalled", "the model needs a minute a search")


def scores_in_vain(stack: Stack) -> None:
    """A model of one's own that needs a second for an item; somebody asks for scores all the while."""
    os.environ[slow_model.PAUSE] = "1"
    act = stack.act("busy", "--model", slow_model.NAME, "--strategy", "none")
    del os.environ[slow_model.PAUSE]
    act.feed(shop(2_000, 17), STEADY)
    act.expect("StreamBalanceScoresBusy", "the model needs long, and is asked", step=lambda: ask_once(act.service.url))


def retention(stack: Stack) -> None:
    """Records are deleted while the service is away; it may go on without them."""
    act = stack.act("retention", *ONE_ARM, "--accept-data-loss")
    lines = shop(6_000, 15)
    act.feed(lines[:3_000], QUICK)
    act.prometheus.until("stream_balance_checkpoints_total > 0 and on() stream_balance_records_lost_total == 0", 180.0)
    act.kill_service()
    act.feed(lines[3_000:], None).wait()
    admin = client.new_admin(act.settings)
    for topic in act.settings.topics:
        for partition in range(stack.partitions):
            admin.delete_records({client.TopicPartition(topic, partition): -1})  # all there are
    admin.close()
    act.start_service()
    act.expect("StreamBalanceRecordsLost", "retention overtakes the service")


def too_much_waits(stack: Stack) -> None:
    """A bound that is too small for what waits."""
    act = stack.act("bound", *ONE_ARM, "--set", "join.held_max=200")
    act.feed(shop(10_000, 9), QUICK)
    act.expect("StreamBalanceDropping", "join.held_max is too small")


def no_purchases(stack: Stack) -> None:
    """Purchases never come."""
    act = stack.act("lonely")
    act.feed((line for line in shop(6_000, 3) if b'"items"' in line), QUICK)
    act.expect("StreamBalanceOneClassOnly", "purchases never come")
    act.expect("StreamBalanceNoPositives", "purchases never come")


def rate_jumps(stack: Stack) -> None:
    """Three of four purchases are lost from one moment on; labels come two hours late."""
    act = stack.act("rate", *ONE_ARM, "--set", "join.window_s=7200", hurry=HURRY_ON * stack.hurry)
    lines = shop(45_000, 10)
    act.feed([*lines[:20_000], *few_purchases(lines[20_000:], 4, seed=1)], QUICK)
    act.expect("StreamBalanceCalibrationOff", "three of four purchases are lost", more_s=600.0)


def features_mixed_up(stack: Stack) -> None:
    """The shop sends another item's features with each item."""
    act = stack.act("features", *ONE_ARM, hurry=HURRY_ON * stack.hurry)
    lines = shop(45_000, 11)
    act.feed([*lines[:20_000], *others_features(lines[20_000:], seed=1)], QUICK)
    act.expect("StreamBalanceAucDrop", "items come with others' features", more_s=600.0)


def several_classes(stack: Stack) -> None:
    """Three diagnoses: measurements are mixed up for a while, then one diagnosis is never made again."""
    wire = ("--set", "wire.preset=admissions")
    late = ("--set", "model.one_vs_rest=true", "--set", "join.window_s=172800", "--set", "window.age_max_s=8640000")
    act = stack.act("classes", "--model", "logistic", "--strategy", "none", *wire, *late, hurry=HURRY_ON * stack.hurry)
    lines = admissions(50_000, 16)
    third = len(lines) // 3
    gone = (line for line in lines[2 * third :] if b'"diagnosis": "embolism"' not in line)
    act.feed([*lines[:third], *others_measurements(lines[third : 2 * third], seed=1), *gone], HOSPITAL, *wire)
    act.expect("StreamBalanceClassAucDrop", "patients come with others' measurements", more_s=600.0)
    act.expect("StreamBalanceClassGone", "one diagnosis is never made again", more_s=600.0)


def wrong_strategy(stack: Stack) -> None:
    """A strategy that hurts on this stream."""
    act = stack.act(
        "strategy",
        "--model",
        "logistic",
        "--strategy",
        "near_miss",
        "--target-share",
        "0.9",
        hurry=HURRY_ON * stack.hurry,
    )
    act.feed(shop(45_000, 12), QUICK)
    act.expect("StreamBalanceLiftNegative", "nine of ten samples by near_miss", more_s=600.0)


def gan_without_time(stack: Stack) -> None:
    """The GAN's child has no time to be done."""
    quick = [part for key, value in SMALL_GAN.items() for part in ("--set", f"gan.{key}={value}")]
    no_time = ("--set", "workers.gan.timeout_s=0.2", "--set", "workers.gan.retries_max=0")
    act = stack.act("gan", "--strategy", "gan", *quick, *no_time, hurry=HURRY_ON * stack.hurry)
    act.feed(shop(30_000, 13), QUICK / 3)
    act.expect("StreamBalanceGanRefusing", "the GAN's child has .2 s", more_s=600.0)


ACTS: tuple[Callable[[Stack], None], ...] = (
    hands, stands, too_slow, scores_in_vain, retention, too_much_waits, no_purchases,
    rate_jumps, features_mixed_up, several_classes, wrong_strategy, gan_without_time,
)  # fmt: skip

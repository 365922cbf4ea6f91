"""Drift watch: still streams are left alone, changes are seen, and a copy goes on alike."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from stream_balance.core.digest import Digest
from stream_balance.core.drift import Change, DriftSettings, DriftWatch
from stream_balance.core.records import Floats


def rows(rate: float, count: int, seed: int, served: float | None = None) -> tuple[Floats, list[int]]:
    """Losses and labels of an impression stream served with one probability."""
    labels = (np.random.default_rng(seed).random(count) < rate).astype(int)
    p = served or rate
    return -np.log(np.where(labels == 1, p, 1 - p)), labels.tolist()


def watch(made: DriftWatch, losses: Floats, labels: list[int], *, from_us: int = 0, size: int = 20) -> None:
    for start in range(0, len(labels), size):
        made.observe(losses[start : start + size], labels[start : start + size], from_us + start)


@pytest.mark.parametrize("seed", range(5))
def test_a_still_stream_raises_no_alarm(seed: int) -> None:
    made = DriftWatch(DriftSettings())
    watch(made, *rows(0.03, 20_000, seed))
    metrics = made.metrics()
    assert (metrics.counts.log_loss, metrics.counts.label_rate, metrics.alarms) == (0, 0, ())
    assert metrics.label_rate_mean == pytest.approx(0.03, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_a_jump_of_the_rate_is_seen_by_both_watches(seed: int) -> None:
    made = DriftWatch(DriftSettings())
    watch(made, *rows(0.01, 10_000, seed))
    watch(made, *rows(0.1, 3_000, seed + 100, served=0.01), from_us=10_000)
    metrics = made.metrics()
    assert metrics.counts.log_loss >= 1
    assert metrics.counts.label_rate >= 1
    first = metrics.alarms[0]
    assert 10_000 < first.position < 13_000
    assert first.position - 20 <= first.ts_us < first.position


def test_how_rows_are_cut_into_searches_changes_no_count() -> None:
    losses, labels = rows(0.01, 5_000, 1)
    more, later = rows(0.2, 2_000, 2)
    made = [DriftWatch(DriftSettings()) for _ in range(2)]
    for one, size in zip(made, (1, 33), strict=True):
        watch(one, losses, labels, size=size)
        watch(one, more, later, size=size)
    places = [[(alarm.kind, alarm.position) for alarm in one.metrics().alarms] for one in made]
    assert places[0] == places[1]
    assert places[0]


def test_only_the_latest_alarms_are_kept() -> None:
    made = DriftWatch(DriftSettings(alarms_max=2))
    for step in range(12):
        watch(made, *rows(0.9 if step % 2 else 0.05, 2_000, step))
    metrics = made.metrics()
    assert metrics.counts.log_loss + metrics.counts.label_rate > 2
    assert len(metrics.alarms) == 2


def test_a_loss_that_is_not_a_number_counts_as_the_largest() -> None:
    made = DriftWatch(DriftSettings())
    made.observe([math.nan, 0.5, math.inf], [0, 1, 0], 7)
    metrics = made.metrics()
    assert metrics.log_loss_mean == pytest.approx((8.0 + 0.5 + 8.0) / 3)
    assert metrics.label_rate_mean == pytest.approx(1 / 3)


def test_nothing_watched_is_nothing_said() -> None:
    assert DriftWatch(DriftSettings()).metrics().log_loss_mean is None


def test_a_pickled_watch_goes_on_as_if_nothing_had_happened() -> None:
    first = DriftWatch(DriftSettings())
    watch(first, *rows(0.02, 4_777, 3))
    second: DriftWatch = pickle.loads(pickle.dumps(first))
    digests = []
    for made in (first, second):
        watch(made, *rows(0.1, 3_000, 4))
        running = Digest()
        running.add(made.digest_state())
        digests.append(running.hex())
    assert digests[0] == digests[1]
    assert first.metrics() == second.metrics()
    assert first.metrics().alarms


def test_an_alarm_says_how_many_rows_are_of_the_present_and_whether_it_got_worse() -> None:
    made, found = DriftWatch(DriftSettings()), []
    for losses, labels in (rows(0.05, 8_000, 1, served=0.4), rows(0.05, 8_000, 2), rows(0.05, 2_000, 3, served=0.6)):
        for start in range(0, len(labels), 20):
            found += made.observe(losses[start : start + 20], labels[start : start + 20], start)
    better = [each for each in found if each.position < 16_000]
    worse = [each for each in found if each.position > 16_000]
    assert better
    assert worse
    assert not any(each.rose or made.is_reason_to_forget(each) for each in better)
    assert all(each.rose and made.is_reason_to_forget(each) for each in worse)
    for each in worse:  # what is held reaches back to the change, a bucket of the detector more or less
        assert 0 < each.kept_rows <= each.position - 16_000 + 1_500
    made.note(worse[0], 123)
    assert [alarm.forgotten for alarm in made.metrics().alarms if alarm.forgotten] == [123]


@pytest.mark.parametrize(("forget_on", "reasons"), [("never", 0), ("any", 2), ("loss_rose", 1)])
def test_which_alarms_are_a_reason_to_forget_is_a_setting(forget_on: str, reasons: int) -> None:
    made = DriftWatch(DriftSettings.model_validate({"forget_on": forget_on}))
    changes = [Change("log_loss", 0, 9, 5, rose=True), Change("label_rate", 0, 9, 5, rose=True)]
    assert sum(made.is_reason_to_forget(each) for each in changes) == reasons

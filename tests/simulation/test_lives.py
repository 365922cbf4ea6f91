"""The service lives through crashes, lost connections, full disks and lost writes; see `lives` for what is checked.

`python -m tests.simulation.run --seeds 5000` runs many more.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_balance.live import STOP_COMMIT_S
from tests.simulation.fate import MOMENTS, Crash, Moment
from tests.simulation.lives import Ended, History, check_seed

# Everything that touches the world. A crash at each of them must cost nothing.
POINTS = (
    "broker.commit", "broker.flush", "broker.offsets", "broker.poll", "broker.send",
    "disk.create:journal", "disk.create:temporary", "disk.remove:checkpoint", "disk.remove:journal",
    "disk.remove:temporary", "disk.rename:checkpoint", "disk.sync:journal", "disk.sync:temporary",
    "disk.sync_file:journal", "disk.sync_names", "disk.write:journal", "disk.write:temporary",
)  # fmt: skip
# And where there are children, and a recording.
MORE_POINTS = (
    "child.answer:booster", "child.answer:gan", "child.submit:booster", "child.submit:gan",
    "disk.create:events", "disk.create:fits", "disk.create:recording", "disk.remove:events", "disk.rename:events",
    "disk.rename:fits", "disk.rename:recording", "disk.sync:events", "disk.sync:fits", "disk.sync:recording",
    "disk.sync_file:fits", "disk.write:events", "disk.write:fits", "disk.write:recording",
)  # fmt: skip
WHOLE_SEEDS = (4, 7)
# Passed only by a life that comes after one which ended there.
BEFORE = {
    "disk.remove:temporary": Crash("disk.sync:temporary", 2, "within", power=False),
    "disk.sync_file:journal": Crash("disk.sync:journal", 3, "after", power=True),
}


@pytest.mark.parametrize("seed", range(12))
def test_a_service_that_is_disturbed_comes_to_the_same(seed: int) -> None:
    check_seed(seed, searches=40)


@pytest.mark.parametrize("seed", [*WHOLE_SEEDS, 9])  # the last one under a key
def test_a_disturbed_service_with_children_that_records_itself_comes_to_the_same(seed: int) -> None:
    check_seed(seed, searches=50, whole=True)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_point_costs_nothing(point: str, moment: Moment) -> None:
    before = (BEFORE[point],) if point in BEFORE else ()
    for power in (True, False):
        crashes = (*before, Crash(point, 1, moment, power))
        ended = check_seed(3, searches=12, growing=True, crashes=crashes)
        assert ended.ended_at == [(crash.name, crash.moment) for crash in crashes]
        assert ended.lives > len(crashes)


@pytest.mark.parametrize(
    ("point", "moment"),
    [("child.answer:gan", "within"), ("disk.sync:fits", "within"), ("disk.rename:recording", "after")],
)
def test_a_crash_among_fits_and_recording_costs_nothing(point: str, moment: Moment) -> None:
    crash = Crash(point, 2, moment, power=True)
    assert check_seed(1, searches=60, whole=True, crashes=(crash,)).ended_at == [(point, moment)]


def test_a_checkpoint_made_while_the_journal_is_followed_keeps_the_rest_of_it() -> None:
    # The first life has half a journal when it ends, so the second saves at once, and ends; the third goes on there.
    lives = ("disk.create:temporary", 2, "before"), ("disk.rename:checkpoint", 1, "after")
    crashes = tuple(Crash(*life, power=False) for life in lives)
    assert check_seed(325, searches=30, growing=True, crashes=crashes).lives >= 3


def test_the_points_are_all_there_are() -> None:
    seen: set[str] = set()
    for seed in range(12):
        history = History(seed, searches=40, growing=bool(seed % 2))
        history.run()
        seen |= set(history.fate.seen)
    assert sorted(seen) == sorted(POINTS)
    early = 0
    for seed in WHOLE_SEEDS:
        history = History(seed, searches=50, growing=bool(seed % 2), whole=True)
        early += sum(each["early"] for each in history.run().report["gan"]["history"])
        seen |= set(history.fate.seen)
    assert sorted(seen) == sorted((*POINTS, *MORE_POINTS))
    assert early > 0


def test_a_seed_is_the_same_history_each_time() -> None:
    one, two = (check_seed(21, searches=30) for _ in range(2))
    assert _without_speed(one) == _without_speed(two)
    assert one.turns > one.lives > 1


def test_a_stop_does_not_wait_for_offsets_that_nobody_takes() -> None:
    history = History(2, searches=20, disturbed=False)
    history.broker.coordinates = False
    ended = history.run()  # is stopped once all is read
    assert history.broker.committed == {}
    assert ended.lives == 1, "it is no error"
    assert ended.report["events"]["search"] >= 20
    assert history.broker.waited_s[-1] == STOP_COMMIT_S


def _without_speed(ended: Ended) -> Ended:
    return replace(ended, report={key: value for key, value in ended.report.items() if key != "throughput"})

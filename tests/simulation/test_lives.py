"""The service lives through crashes, lost connections, full disks and lost writes; see `lives` for what is checked.

`python -m tests.simulation.run --seeds 5000` runs many more.
"""

from __future__ import annotations

import pytest

from tests.simulation.fate import MOMENTS, Crash, Moment
from tests.simulation.lives import History, check_seed

# Everything that touches the world. A crash at each of them must cost nothing.
POINTS = (
    "broker.commit", "broker.flush", "broker.offsets", "broker.poll", "broker.send",
    "disk.create:journal", "disk.create:temporary", "disk.remove:checkpoint", "disk.remove:journal",
    "disk.remove:temporary", "disk.rename:checkpoint", "disk.sync:journal", "disk.sync:temporary",
    "disk.sync_file:journal", "disk.sync_names", "disk.write:journal", "disk.write:temporary",
)  # fmt: skip
# Passed only when something has gone wrong before.
AFTER_TROUBLE = {"disk.remove:temporary", "disk.sync_file:journal"}


@pytest.mark.parametrize("seed", range(12))
def test_a_service_that_is_disturbed_comes_to_the_same(seed: int) -> None:
    check_seed(seed, searches=40)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", sorted(set(POINTS) - AFTER_TROUBLE))
def test_a_crash_at_every_point_costs_nothing(point: str, moment: Moment) -> None:
    for power, count in ((True, 1), (False, 2)):
        ended = check_seed(3, searches=12, growing=True, crash=Crash(point, count, moment, power))
        assert ended.lives >= 1


def test_the_points_are_all_there_are() -> None:
    seen: set[str] = set()
    for seed in range(12):
        history = History(seed, searches=40, growing=bool(seed % 2))
        history.run()
        seen |= set(history.fate.seen)
    assert sorted(seen) == sorted(POINTS)


def test_a_seed_is_the_same_history_each_time() -> None:
    one, two = (check_seed(21, searches=30) for _ in range(2))
    assert (one.order, one.lives, one.unforced) == (two.order, two.lives, two.unforced)

"""The service killed with SIGKILL comes to the report of a replay; `python -m tests.integration.kill` does it by the
hundred.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Broker
from tests.integration.kill import kill_often, topics_of

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("growing", [False, True], ids=["complete", "growing"])
def test_a_service_killed_at_random_moments_loses_and_doubles_nothing(
    broker: Broker, tmp_path: Path, growing: bool
) -> None:
    kills = kill_often(3, 7, topics_of(broker.bootstrap), tmp_path, events=2000, growing=growing)
    assert kills.reasons == []
    assert kills.same
    assert kills.times >= 1

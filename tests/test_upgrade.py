"""A checkpoint of every former format is loaded by this version, and its service goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint import compat
from stream_balance.edge.checkpoint.format import FORMAT
from stream_balance.saving import state_settings
from stream_balance.settings import Settings
from tests.checkpoint_fixture import EVENTS, FOLDER, SEEN, SETTINGS, installed
from tests.contract.streams import shop

FIXTURES = sorted(FOLDER.glob("format-*.sbc.gz"))
ADVICE = (
    "If no release has written this format yet, write the file anew: python -m tests.checkpoint_fixture. If one has, "
    "raise FORMAT and add a migration."
)


def test_there_is_one_of_the_present_format() -> None:
    assert FOLDER / f"format-{FORMAT}.sbc.gz" in FIXTURES


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_a_checkpoint_of_a_former_version_goes_on(fixture: Path, tmp_path: Path) -> None:
    store = installed(fixture, tmp_path)
    try:
        loaded = store.newest()
        assert loaded is not None
        pipeline: Pipeline = loaded.state["pipeline"]
        # The settings it was made under count as the same, those that have come since as their defaults.
        compat.check_settings(loaded.header, state_settings(SETTINGS), state_settings(Settings()), fixture.name)
        before = pipeline.report().examples
        assert before.held > 0
        assert before.matured > 0
        for event in shop(EVENTS, seed=9, signal=1.0)[SEEN:]:
            pipeline.push(event, event.event_id.encode())
        pipeline.run_out()
        after = pipeline.report().document()["examples"]
    except Exception as error:
        raise AssertionError(f"{fixture.name} cannot go on: {error}. {ADVICE}") from error
    assert after["held"] == 0
    assert after["matured"] == after["in"] == 6 * EVENTS
    assert pipeline.state_digest()

"""Story: what it tells of an impression is what the replay did."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from stream_balance.core.records import Examples, Search
from stream_balance.edge.logfile import read_events
from stream_balance.errors import SettingsError
from stream_balance.service import make_codec, make_pipeline
from stream_balance.settings import Settings
from stream_balance.story import tell_story

CHOSEN = Settings.model_validate({"join": {"window_s": 300}, "balance": {"strategy": "random_over"}})


def story(log: Path, wanted: str) -> list[str]:
    return list(tell_story([log], CHOSEN, wanted, threading.Event()))


@pytest.fixture(scope="module")
def matured(short_log: Path) -> list[Examples]:
    """Every search that matured in the same run."""
    pipeline = make_pipeline(CHOSEN)
    found: list[Examples] = []
    mature = pipeline.joiner.mature

    def note(watermark_us: int) -> list[Examples]:
        examples = mature(watermark_us)
        found.extend(examples)
        return examples

    pipeline.joiner.mature = note  # type: ignore[method-assign]
    for record in read_events([short_log], make_codec(CHOSEN)):
        if record.event is not None:
            pipeline.push(record.event, record.data)
    return found


def test_a_bought_impression_is_told_from_its_score_to_its_samples(short_log: Path, matured: list[Examples]) -> None:
    late = [each for each in matured[len(matured) // 2 :] if any(each.labels)]
    examples = late[0]
    index = examples.labels.index(1)
    lines = story(short_log, f"{examples.scored.event_id}/{index}")
    text = "\n".join(lines)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "scored", "purchase", "held", "matured", "learned",
    ]  # fmt: skip
    assert f"probability {examples.scored.probability[index, 0]:.4f}" in text
    assert f"[{index}] label bought" in text
    times = re.search(r"learned   \[\d+\] (\d+) times: random_over wants ([\d.]+) samples", text)
    assert times is not None
    assert abs(int(times[1]) - float(times[2])) <= 1, "the multiplier's floor or ceiling"


def test_a_search_is_told_with_every_item(short_log: Path, matured: list[Examples]) -> None:
    examples = next(each for each in matured if len(each) > 2 and not any(each.labels))
    lines = story(short_log, examples.scored.event_id)
    assert sum("label none" in line for line in lines) == len(examples)
    assert sum(line.startswith("learned") and "once" in line for line in lines) == len(examples)


def test_what_has_not_matured_is_held(short_log: Path) -> None:
    events = [record.event for record in read_events([short_log], make_codec(CHOSEN)) if record.event is not None]
    last = [event.event_id for event in events if isinstance(event, Search)][-1]
    assert story(short_log, last)[-1].startswith("held")


def test_an_unknown_id_and_an_unknown_index_are_told(short_log: Path) -> None:
    with pytest.raises(SettingsError, match="no search"):
        story(short_log, "s-none")
    with pytest.raises(SettingsError, match="items"):
        story(short_log, "s-1/999")

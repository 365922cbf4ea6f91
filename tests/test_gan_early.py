"""Early entry within the service: what a life has published, its next one publishes again, and a replay that is given
the journal comes to the same digest; however quick the children are each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.carried import followed
from stream_balance.edge.checkpoint.fit_journal import FitJournal
from stream_balance.edge.fits import ChildFits
from stream_balance.edge.logfile import LogRecord, read_events
from stream_balance.edge.trainer import Trainer, Worker
from stream_balance.reading import SavedReading
from stream_balance.saving import saving
from stream_balance.service import make_codec, make_pipeline
from stream_balance.settings import Settings
from tests.test_gan_service import QUICK

SETTINGS = Settings.model_validate({
    **QUICK, "gan": QUICK["gan"] | {"check_events": 20}, "checkpoint": {"interval_events": 400, "writer": "inline"},
})  # fmt: skip
Published = dict[str, bytes]


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 2,500 lines of the shop's log."""
    path = tmp_path_factory.mktemp("gan") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:2500]))
    return path


def records_of(log: Path) -> Iterable[LogRecord]:
    return read_events([log], make_codec(SETTINGS))


def drive(records: Iterable[LogRecord], pipeline: Pipeline, journal: FitJournal, ready_after: Callable[[], int] | None,
          kill_after: int | None = None) -> Published:  # fmt: skip
    """Take records with children that have an answer `ready_after()` events after each request; None: not early."""
    published, retrain, asked, ready_at = Published(), pipeline.retrain, -1, 0
    assert retrain is not None
    with Trainer({"gan": Worker("tests.edge.children:releases")}) as trainer:
        pipeline.attach(ChildFits(trainer, journal, early=ready_after is not None))
        for done, record in enumerate(records, 1):
            request, events = retrain.request, sum(pipeline.events.values())
            if request is not None and ready_after is not None:
                if request.asked_at != asked:
                    asked, ready_at = request.asked_at, events + ready_after()
                if events >= ready_at:
                    trainer.wait(retrain._ticket)
            if record.event is not None:
                for scored in pipeline.push(record.event, record.data):
                    published[scored.event_id] = scored.block
            if done == kill_after:
                break
    return published


def life(log: Path, folder: Path, ready_after: Callable[[], int], kill_after: int | None) -> tuple[Published, Any]:
    """What a service publishes from its last checkpoint on, and its pipeline; killed, it saves nothing more."""
    with saving(SETTINGS, folder, "log", lambda _: None) as saved:
        assert saved is not None
        pipeline = saved.pipeline or make_pipeline(SETTINGS)
        reading = SavedReading(records_of(log), saved, pipeline, lambda record: record.data)
        published = drive(reading, pipeline, saved.journal, ready_after, kill_after)
        if kill_after is None:
            reading.finish()
        return published, pipeline


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_service_publishes_the_same_again_and_a_replay_follows_it(
    log: Path, tmp_path: Path, seed: int
) -> None:
    rng, left = random.Random(seed), Published()
    for kill_after in (*(rng.randrange(300, 1_000) for _ in range(4)), None):
        published, pipeline = life(log, tmp_path, lambda: rng.choice((0, 45, 90, 200, 1_000)), kill_after)
        assert [each for each in published.keys() & left.keys() if published[each] != left[each]] == []
        left |= published
    assert any(outcome.early for outcome in pipeline.retrain.history)

    again = make_pipeline(SETTINGS)
    assert drive(records_of(log), again, FitJournal(None, followed([], tmp_path)), None) == left
    assert again.report().document() == pipeline.report().document()
    alone = make_pipeline(SETTINGS)
    drive(records_of(log), alone, FitJournal(None), None)
    assert alone.state_digest() != again.state_digest()

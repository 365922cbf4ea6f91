"""Writes the checkpoint that a test loads in every later version: tests/data/checkpoints/format-N.sbc.gz (most of it is
empty histograms).

    python -m tests.checkpoint_fixture

Files of former formats stay as they are: `FORMER` has their sums. When a change of the core makes the present file
unreadable, raise FORMAT, add a migration (`stream_balance/edge/checkpoint/migrations.py`), move the present file's sum
to FORMER and write the next one. Only while nobody runs what wrote the present format may its file be written anew:
remove it first.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

from stream_balance.edge.checkpoint import compat
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.format import FORMAT
from stream_balance.edge.checkpoint.keeper import About, Keeper, Snapshot
from stream_balance.edge.checkpoint.settings import CheckpointSettings
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.edge.checkpoint.writer import InlineWriter
from stream_balance.saving import state_settings
from stream_balance.service import make_pipeline, versions
from stream_balance.settings import Settings
from tests.contract.streams import shop

FOLDER = Path(__file__).parent / "data" / "checkpoints"
SETTINGS = Settings.model_validate(
    {"join": {"window_s": 600.0}, "order": {"disorder_max_s": 30.0}, "window": {"size_max": 50}, "seed": 3}
)
# By format: SHA-256 of the file, and the settings it was made under that were defaults then and are not any more.
FORMER: dict[int, tuple[str, dict[str, Any]]] = {
    1: (
        "a63e0daad0add443ecca06440bffe0b6eac11def14e2ca6ac4139b0c094a8e94",
        {"gan": {"steps_cold": 1_200, "steps_warm": 200}, "calibrate": {"shape_prior": 10.0}},
    ),
}
EVENTS, SEEN = 120, 100  # searches in the stream; events of it that the saved pipeline has seen


def settings_of(format_: int) -> Settings:
    """The settings that the file of this format was made under."""
    _, then = FORMER.get(format_, ("", {}))
    return Settings.model_validate({**SETTINGS.model_dump(exclude_unset=True), **then})


def main() -> None:
    """Write it."""
    target = FOLDER / f"format-{FORMAT}.sbc.gz"
    if target.exists():
        raise SystemExit(f"{target.name} is there. {__doc__}")
    pipeline = make_pipeline(SETTINGS)
    for event in shop(EVENTS, seed=9, signal=1.0)[:SEEN]:
        pipeline.push(event, event.event_id.encode())
    ours = state_settings(SETTINGS)
    about = About("kafka", ours, versions(), compat.chosen(ours, state_settings(Settings())))
    counts = {**pipeline.events, "impressions": pipeline.examples_in}
    position = {"offsets": {"search-events/0": SEEN}, "topic_ids": {}}
    with tempfile.TemporaryDirectory() as name:
        disk = LocalDisk(Path(name))
        keeper = Keeper(Store(disk, AllowList()), disk, InlineWriter(), CheckpointSettings(), about)
        keeper.resume(None)
        keeper.finish(lambda: Snapshot({"pipeline": pipeline, "plan": []}, position, counts), lambda: None, 1e9)
        keeper.close()
        FOLDER.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(next(Path(name).glob("*.sbc")).read_bytes(), mtime=0))
    print(f"{target.name}: {target.stat().st_size:,} bytes")


def installed(fixture: Path, folder: Path) -> Store:
    """A folder with that file as its one checkpoint."""
    (folder / file_name(2)).write_bytes(gzip.decompress(fixture.read_bytes()))
    return Store(LocalDisk(folder), AllowList())


if __name__ == "__main__":
    main()

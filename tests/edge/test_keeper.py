"""Whatever checkpoint a life begins at, it finds every merge decision taken since then, and no other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.journal import segment_name, segments
from stream_balance.edge.checkpoint.keeper import About, Keeper, Snapshot
from stream_balance.edge.checkpoint.settings import CheckpointSettings
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.edge.checkpoint.writer import InlineWriter
from stream_balance.errors import WorldError


class Life:
    """A keeper over a folder, from its newest whole checkpoint on. `decide` and `save` are what a service does."""

    def __init__(self, folder: Path, keep: int = 3, **more: Any) -> None:
        disk = LocalDisk(folder)
        self.store = Store(disk, AllowList())
        is_ours = more.pop("is_ours", lambda: True)
        settings = CheckpointSettings(keep=keep, interval_s=1e9, **more)
        self.keeper = Keeper(self.store, disk, InlineWriter(), settings, About("kafka", {}, {}), is_ours=is_ours)
        loaded = self.store.newest()
        self.plan = self.keeper.resume(loaded)
        self.number = 0 if loaded is None else int(loaded.state)

    def decide(self) -> None:
        """One partition goes on, the other stays where it is."""
        self.number += 1
        self.keeper.note_decision({("s", 0): self.number, ("p", 0): 7})

    def save(self, decisions_meanwhile: int = 0) -> None:
        """A checkpoint of this moment; some decisions fall between its snapshot and its being in place."""
        self.keeper.note(1)
        self.keeper.start(Snapshot(self.number, {}, {}))
        for _ in range(decisions_meanwhile):
            self.decide()
        assert self.keeper.settled() is not None


def numbers(plan: list[dict[str, int]]) -> list[int]:
    positions: dict[str, int] = {}
    found = []
    for entry in plan:  # what differs from the entry before
        positions |= entry
        assert positions["p/0"] == 7, plan
        found.append(positions["s/0"])
    return found


def damage(folder: Path, sequence: int) -> None:
    path = folder / file_name(sequence)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_from_every_checkpoint_that_is_kept_all_later_decisions_are_found(tmp_path: Path, keep: int) -> None:
    folder = tmp_path / "state"
    life = Life(folder, keep)
    for meanwhile in (2, 0, 1, 3):
        life.decide()
        life.save(meanwhile)
    life.decide()
    kept = life.store.sequences()
    assert len(kept) == keep
    for newer in range(keep):
        copy = tmp_path / str(newer)
        shutil.copytree(folder, copy)
        for sequence in kept[keep - newer :]:
            damage(copy, sequence)
        other = Life(copy, keep)
        assert numbers(other.plan) == list(range(other.number + 1, life.number + 1))
    assert min(segments(LocalDisk(folder))) >= kept[0]  # what no checkpoint needs is gone


def test_lives_that_end_without_a_checkpoint_lose_none(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.save()
    for expected in (0, 2, 4):
        life = Life(tmp_path)
        assert numbers(life.plan) == list(range(1, expected + 1))
        life.number = expected
        life.decide()
        life.decide()


def journaled(folder: Path, decisions: int) -> tuple[Path, list[bytes]]:
    """The one segment of a life with so many decisions, and its lines."""
    life = Life(folder)
    life.save()
    for _ in range(decisions):
        life.decide()
    path = folder / segment_name(max(segments(LocalDisk(folder))))
    return path, path.read_bytes().splitlines(keepends=True)


def test_an_entry_that_was_not_finished_is_left_out(tmp_path: Path) -> None:
    path, lines = journaled(tmp_path, 3)
    path.write_bytes(b"".join(lines)[:-3])
    other = Life(tmp_path)
    assert numbers(other.plan) == [1, 2]
    assert other.keeper.journal.dropped == len(lines[2]) - 3


def test_a_journal_that_lost_an_entry_in_its_middle_is_not_followed(tmp_path: Path) -> None:
    path, lines = journaled(tmp_path, 4)
    lines[2] = lines[2].replace(b"3}", b"8}")
    path.write_bytes(b"".join(lines))
    with pytest.raises(WorldError, match=rf"{path.name} is damaged: its entry 3 is not whole.*Restore the file"):
        Life(tmp_path)
    path.unlink()
    assert Life(tmp_path).plan == []


@pytest.mark.parametrize("answers", [(False,), (True, False)], ids=["before it is written", "before it is in place"])
def test_a_folder_that_is_not_ours_any_more_gets_no_checkpoint(tmp_path: Path, answers: tuple[bool, ...]) -> None:
    asked = iter(answers)
    life = Life(tmp_path, is_ours=lambda: next(asked))
    with pytest.raises(WorldError, match="removed or replaced while we ran"):
        life.save()
    assert life.store.sequences() == []


def test_a_journal_makes_a_checkpoint_early_and_ends_the_service_at_its_bound(tmp_path: Path) -> None:
    life = Life(tmp_path, journal_bytes_max=1_000)
    life.keeper.note(1)
    while not life.keeper.is_due():
        life.decide()
    assert 500 <= life.keeper.journal.size < 1_000
    with pytest.raises(WorldError, match=r"has 10\d\d bytes, at most 1000 are allowed .checkpoint.journal_bytes_max"):
        life.save(decisions_meanwhile=100)  # which is one checkpoint that takes too long
    assert life.keeper.settled() is not None
    assert life.keeper.journal.size < 1_000

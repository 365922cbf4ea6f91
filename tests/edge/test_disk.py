"""What the local disk promises to be safe, the system has been asked to make safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream_balance.edge.checkpoint.disk import LocalDisk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes that the system was asked to make safe."""
    inodes: list[int] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        fsync(fd)
        inodes.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    return inodes


def test_a_sync_reaches_the_system(tmp_path: Path, synced: list[int]) -> None:
    disk = LocalDisk(tmp_path / "state")
    file = disk.create("a.tmp")
    file.write(b"x")
    assert synced == []
    file.sync()
    inode = (tmp_path / "state" / "a.tmp").stat().st_ino
    disk.rename("a.tmp", "a")
    disk.sync_names()
    disk.sync_file("a")
    assert synced == [inode, (tmp_path / "state").stat().st_ino, inode]
    file.close()


def test_what_is_written_to_a_deleted_file_is_not_safe(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    file = disk.create("a")
    disk.remove("a")
    with pytest.raises(FileNotFoundError, match="deleted while it was written"):
        file.sync()
    file.close()

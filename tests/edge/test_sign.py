"""`checkpoint sign`: a folder comes under a key, or under another, whole; killed anywhere it can be repeated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import Disk, LocalDisk
from stream_balance.edge.checkpoint.entries import read_entries
from stream_balance.edge.checkpoint.fit_journal import FILE, FitJournal
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.journal import MergeJournal, segment_name
from stream_balance.edge.checkpoint.sign import journals, sign
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.errors import SettingsError
from tests.edge.test_checkpoint_store import made
from tests.edge.test_signed_journals import KEY, OTHER
from tests.simulation.disk import SimulatedDisk
from tests.simulation.fate import MOMENTS, Crash, Fate, ProcessEnds

NAMES = [file_name(1), file_name(2), segment_name(1), segment_name(2), FILE]


def fill(disk: Disk, key: bytes | None) -> None:
    """Two checkpoints, a segment each, and a journal of fits."""
    store, journal, fits = Store(disk, AllowList(), key=key), MergeJournal(disk, key), FitJournal(disk, key=key)
    for number in (1, 2):
        made(store, number)
        journal.begin(number)
        for offset in range(3):
            journal.append({("s", 0): 10 * number + offset})
        fits.refuse("gan", b"%d" % number, "killed")
    journal.close()
    fits.close()


def held(disk: Disk, key: bytes | None) -> tuple[object, object, str | None]:
    """What a service with that key finds."""
    loaded = Store(disk, AllowList(), key=key).newest()
    assert loaded is not None
    return loaded.state, MergeJournal(disk, key).recover(1), FitJournal(disk, key=key).why("gan", b"2")


@pytest.mark.parametrize("old", [None, OTHER], ids=["for the first time", "another"])
def test_a_folder_comes_under_a_key(tmp_path: Path, old: bytes | None) -> None:
    disk = LocalDisk(tmp_path)
    fill(disk, old)
    before = held(disk, old)
    with pytest.raises(SettingsError, match="checkpoint sign"):
        held(disk, KEY)
    assert sign(disk, KEY, old).anew == NAMES
    assert held(disk, KEY) == before
    if old is not None:
        with pytest.raises(SettingsError, match="another key"):
            held(disk, old)
    assert sign(disk, KEY, old).before == NAMES, "and it can be repeated"
    assert sorted(disk.names()) == sorted(NAMES)


@pytest.mark.parametrize("key", [None, OTHER, KEY[::-1]], ids=["unsigned", "old", "of somebody else"])
@pytest.mark.parametrize("name", [file_name(2), segment_name(1), FILE])
def test_one_file_of_others_and_nothing_is_signed(tmp_path: Path, name: str, key: bytes | None) -> None:
    fill(LocalDisk(tmp_path / "ours"), None)
    fill(LocalDisk(tmp_path / "theirs"), key)
    shutil.copy(tmp_path / "theirs" / name, tmp_path / "ours" / name)
    disk = LocalDisk(tmp_path / "ours")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    with pytest.raises(SettingsError, match="nothing was signed") as error:
        sign(disk, KEY, OTHER if key is None else None)
    assert ("is not signed" if key is None else name) in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()} == before


def test_a_damaged_checkpoint_stays_as_it_is_and_a_damaged_journal_stops_it(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    fill(disk, None)
    path = tmp_path / file_name(1)
    path.write_bytes(path.read_bytes()[:-1])
    rest = (tmp_path / segment_name(2)).read_bytes()
    (tmp_path / segment_name(2)).write_bytes(rest[5:])
    with pytest.raises(Damaged, match=segment_name(2)):
        sign(disk, KEY)
    assert not any(b"\t" in (tmp_path / name).read_bytes() for name in journals(disk)), "nothing was signed"
    (tmp_path / segment_name(2)).write_bytes(rest[:-5])  # as a kill leaves it
    done = sign(disk, KEY)
    assert (done.anew, len(done.damaged)) == (NAMES[1:], 1)
    assert len(read_entries((tmp_path / segment_name(2)).read_bytes(), segment_name(2), KEY)[0]) == 2


def kills() -> list[Crash]:
    """All there are on the way."""
    fate = Fate(0)
    disk = SimulatedDisk(fate)
    fill(disk, OTHER)
    fate.seen.clear()
    sign(disk, KEY, OTHER)
    return [
        Crash(name, count + 1, moment, power)
        for name, passed in sorted(fate.seen.items())
        for count in range(passed)
        for moment in MOMENTS
        for power in (False, True)
    ]


@pytest.mark.parametrize("crash", kills(), ids=lambda crash: f"{crash.name}-{crash.count}-{crash.moment}-{crash.power}")
def test_killed_anywhere_nothing_is_lost_and_it_can_be_repeated(crash: Crash) -> None:
    fate = Fate(0)
    disk = SimulatedDisk(fate)
    fill(disk, OTHER)
    before = held(disk, OTHER)
    fate.live(crash)
    with pytest.raises(ProcessEnds) as end:
        sign(disk, KEY, OTHER)
    if end.value.power:
        disk.power_fails()
    Store(disk, AllowList()).clear_temporary()
    done = sign(disk, KEY, OTHER)
    assert sorted(done.anew + done.before) == sorted(NAMES)
    assert held(disk, KEY) == before

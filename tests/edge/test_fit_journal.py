"""The fit journal: what was decided once is decided again, up to a bound, and a torn line was never relied upon."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.carried import carry, followed
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.fit_journal import FILE, Entry, FitJournal, entries
from stream_balance.edge.fits import ChildFits
from stream_balance.edge.trainer import Job, Refusal, Trainer, Worker, WorkerSettings
from stream_balance.errors import SettingsError, WorldError
from tests.simulation.disk import SimulatedDisk
from tests.simulation.fate import Fate

MAX = 50


def test_refusals_are_kept_up_to_a_bound_and_a_torn_line_is_none(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    first = FitJournal(disk, entries_max=MAX)
    assert not list(tmp_path.iterdir())
    for number in range(3 * MAX):
        first.refuse("gan", b"%d" % number, "timeout")
        assert first.why("gan", b"%d" % number) == "timeout"
    assert len(first) <= 2 * MAX
    assert first.forgotten + len(first) == 3 * MAX
    first.close()
    second = FitJournal(disk, entries_max=MAX)
    assert second.why("gan", b"%d" % (2 * MAX)) == "timeout"
    assert (second.why("booster", b"149"), second.why("gan", b"x")) == (None, None)
    second.refuse("gan", b"x", "killed")
    second.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write((tmp_path / FILE).read_bytes().splitlines()[0][:-3])
    third = FitJournal(disk, entries_max=MAX)
    assert len(third) == MAX
    assert (third.why("gan", b"0"), third.why("gan", b"x")) == (None, "killed")


def test_looks_without_an_entry_do_not_make_the_file_grow_without_end(tmp_path: Path) -> None:
    journal = FitJournal(LocalDisk(tmp_path), entries_max=4)
    for events in range(500):
        journal.wait("gan", b"one", events)
    journal.close()
    assert len((tmp_path / FILE).read_bytes().splitlines()) <= 8
    assert entries((tmp_path / FILE).read_bytes()).popitem()[1] == Entry("gan", not_by=499)


def test_a_journal_that_lost_a_line_in_its_middle_is_neither_followed_nor_carried(tmp_path: Path) -> None:
    journal = FitJournal(LocalDisk(tmp_path))
    for number in range(3):
        journal.refuse("gan", b"%d" % number, "killed")
    journal.close()
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(lines[0] + lines[1].replace(b"killed", b"filled") + lines[2])
    night = tmp_path / "night"
    night.mkdir()
    for read in (
        lambda: FitJournal(LocalDisk(tmp_path)), lambda: carry(LocalDisk(tmp_path), LocalDisk(night)),
        lambda: followed([tmp_path], None),
        lambda: followed([], tmp_path / FILE),
    ):  # fmt: skip
        with pytest.raises(WorldError, match=r"is damaged: its entry 2 is not whole.*Restore the file"):
            read()
    assert not list(night.iterdir())


@given(st.data())
def test_any_beginning_of_the_file_says_what_was_said_by_then(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = FitJournal(LocalDisk(folder))
    said, sizes = [dict[str, Entry]()], [0]
    for step in range(data.draw(st.integers(1, 8))):
        request = bytes([data.draw(st.integers(0, 2))])
        match data.draw(st.sampled_from(("refuse", "enter", "wait"))):
            case "refuse":
                journal.refuse("gan", request, "killed")
            case "enter":
                journal.enter("gan", request, step, data.draw(st.sampled_from((b"rows", "crash"))))
            case _:
                journal.wait("gan", request, step)
        content = (folder / FILE).read_bytes()
        said.append(entries(content))
        sizes.append(len(content))
    journal.close()
    cut = data.draw(st.integers(0, len(content)))
    whole = max(i for i, size in enumerate(sizes) if size <= cut)
    assert entries(content[:cut]) == said[whole]
    assert dict(FitJournal(LocalDisk(folder))._known) == said[-1]


def fits(journal: FitJournal, *, early: bool) -> ChildFits:
    return ChildFits(Trainer({"gan": Worker("tests.edge.children:echo")}), journal, early=early)


def refused(request: bytes, reason: str = "crash") -> Job:
    return Job.refused("gan", request, Refusal(reason, "", 3))


def test_an_early_entry_is_repeated_at_its_place_and_what_was_passed_is_passed_again(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    first = fits(FitJournal(disk), early=True)
    waiting = Job("gan", b"a")
    assert [first.enters(waiting, events) for events in (10, 20)] == [False, False]
    # The process ends; in its next life the answer is there sooner.
    second = fits(FitJournal(disk), early=True)
    job = refused(b"a")
    assert [second.enters(job, events) for events in (10, 20, 30)] == [False, False, True]
    # In the one after it is late, early or not: it is waited for at its place.
    for early in (True, False):
        later = fits(FitJournal(disk), early=early)
        assert [later.enters(Job("gan", b"a"), events) for events in (10, 20, 30)] == [False, False, True]
        assert later.submit("gan", b"a").done()
    assert FitJournal(disk).why("gan", b"a") == "crash"


def test_without_the_option_nothing_enters_early_and_nothing_is_journaled(tmp_path: Path) -> None:
    journal = FitJournal(LocalDisk(tmp_path))
    assert not fits(journal, early=False).enters(refused(b"a"), 10)
    assert not list(tmp_path.iterdir())


def test_a_refusal_that_entered_at_its_time_does_so_again(tmp_path: Path) -> None:
    journal = FitJournal(LocalDisk(tmp_path))
    journal.refuse("gan", b"a", "killed")
    child = fits(journal, early=True)
    assert not child.enters(child.submit("gan", b"a"), 10)


def test_a_fit_that_served_once_is_not_left_out_after_a_restart(tmp_path: Path) -> None:
    with Trainer({"gan": Worker("tests.edge.children:echo")}) as trainer:
        child = ChildFits(trainer, FitJournal(LocalDisk(tmp_path)))
        assert child.take(child.submit("gan", b"ab")) == b"ba"
    again = fits(FitJournal(LocalDisk(tmp_path)), early=True)
    assert not again.enters(refused(b"ab"), 10), "it entered at its time"
    with pytest.raises(WorldError, match=r"had a result before a restart.*it goes on, raise workers\.gan\.timeout_s"):
        again.take(refused(b"ab"))
    assert FitJournal(LocalDisk(tmp_path)).why("gan", b"ab") is None
    # Nothing left because of a replay that keeps nothing.
    followed_only = fits(FitJournal(None, followed([], tmp_path)), early=False)
    assert followed_only.take(refused(b"ab")) is None


def test_a_result_that_differs_from_the_one_journaled_is_told(tmp_path: Path) -> None:
    journal, told = FitJournal(LocalDisk(tmp_path)), list[str]()
    journal.enter("gan", b"ab", 10, b"other")
    with Trainer({"gan": Worker("tests.edge.children:echo")}) as trainer:
        child = ChildFits(trainer, journal, tell=told.append)
        assert child.take(child.submit("gan", b"ab")) == b"ba"
    assert len(told) == 1
    assert journal.early("gan", b"ab").result == hashlib.sha256(b"other").hexdigest()


def test_a_journal_goes_along_with_a_recording_and_is_followed(tmp_path: Path) -> None:
    state, night = tmp_path / "state", tmp_path / "night"
    night.mkdir()
    state.mkdir()
    assert (carry(LocalDisk(state), LocalDisk(night)), followed([night], None)) == (0, {})
    journal = FitJournal(LocalDisk(state))
    journal.enter("gan", b"a", 70, b"rows")
    with (state / FILE).open("ab") as file:
        file.write(b"0000 half a li")
    assert carry(LocalDisk(state), LocalDisk(night)) == 1
    found = followed([night], None)
    assert found == followed([tmp_path / "log.jsonl"], state) == followed([], state / FILE)
    own = FitJournal(LocalDisk(tmp_path / "own"), found)
    assert own.early("gan", b"a").position == 70
    # What was followed once is in the folder: a resumed replay needs no telling.
    assert FitJournal(LocalDisk(tmp_path / "own")).early("gan", b"a").position == 70
    assert FitJournal(None, found).early("gan", b"a").position == 70
    with pytest.raises(SettingsError, match="nothing was journaled"):
        followed([], tmp_path / "nowhere")


def test_what_is_journaled_is_safe_from_a_power_failure() -> None:
    disk = SimulatedDisk(Fate(0))
    journal = FitJournal(disk)
    for number in range(3):
        for write in (
            lambda name: journal.wait("gan", name, 10),
            lambda name: journal.enter("gan", name, 20, b"result"),
            lambda name: journal.refuse("gan", name, "killed"),
        ):
            write(b"%d" % number)
            assert not disk.unsafe("fits")
    disk.power_fails()
    assert FitJournal(disk).why("gan", b"2") == "killed"


def test_what_was_given_up_once_is_not_tried_again(tmp_path: Path) -> None:
    worker = Worker("tests.edge.children:crashes", settings=WorkerSettings(retries_max=0))
    for tries in (1, 0):
        with Trainer({"gan": worker}) as trainer:
            child = ChildFits(trainer, FitJournal(LocalDisk(tmp_path)))
            ticket = child.submit("gan", b"a")
            assert (child.take(ticket), child.why(ticket)) == (None, "crash")
            assert trainer.tallies["gan"].requests == tries

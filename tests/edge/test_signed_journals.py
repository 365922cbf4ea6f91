"""Journals under a key: who has it not can change, add, leave out, move or bring nothing; a kill in the middle of an
entry is borne as without one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.carried import carry, followed
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.entries import Chain, line_of, read_entries
from stream_balance.edge.checkpoint.fit_journal import FILE, FitJournal
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.journal import MergeJournal, segment_name
from stream_balance.errors import SettingsError

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"
NAME = segment_name(7)
ENTRIES = [b'{"s/0":%d,"p/1":7}' % number for number in (3, 14, 159, 2653)]


def signed(entries: list[bytes], key: bytes | None = KEY, name: str = NAME) -> list[bytes]:
    chain = Chain(key, name)
    return [chain.line(entry) for entry in entries]


LINES = signed(ENTRIES)
FORGED = line_of(b'{"s/0":9}')  # its sum is right: that is no secret
ATTACKS: dict[str, list[bytes]] = {
    "an entry is changed": [LINES[0], line_of(LINES[1][9:-1].replace(b"14", b"15")), *LINES[2:]],
    "the first entry is changed": [line_of(LINES[0][9:-1].replace(b"3", b"4")), *LINES[1:]],
    "the last entry is changed": [*LINES[:3], line_of(LINES[3][9:-1].replace(b"2653", b"2654"))],
    "an entry is left out": [LINES[0], *LINES[2:]],
    "the first entry is left out": LINES[1:],
    "two entries change places": [LINES[0], LINES[2], LINES[1], LINES[3]],
    "an entry stands twice": [*LINES[:2], *LINES[1:]],
    "an entry is added at the end": [*LINES, FORGED],
    "an entry is added before all": [FORGED, *LINES],
    "an entry takes the signature of another": [*LINES, line_of(b'{"s/0":9}\t' + LINES[3][9:-1].split(b"\t")[1])],
    "signatures are taken off": [line_of(entry) for entry in ENTRIES],
    "another key signed": signed(ENTRIES, OTHER),
    "it is another segment's": signed(ENTRIES, name=segment_name(8)),
    "it is the other journal's": signed(ENTRIES, name=FILE),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_key_did_not_sign_is_refused(attack: str) -> None:
    content = b"".join(ATTACKS[attack])
    assert read_entries(content, NAME)[1] == 0, "without a key it is whole"
    with pytest.raises(SettingsError, match=rf"{NAME} (is not signed|is signed with another key|has an entry \d)"):
        read_entries(content, NAME, KEY)


@given(st.integers(0, len(b"".join(LINES))), st.integers(0, 9))
def test_what_a_kill_leaves_of_an_entry_is_left_out_under_a_key_too(cut: int, zeros: int) -> None:
    content = b"".join(LINES)[:cut]
    found, dropped = read_entries(content + bytes(zeros), NAME, KEY)
    assert found == ENTRIES[: content.count(b"\n")]
    assert sum(len(line) for line in LINES[: len(found)]) + dropped == cut + zeros
    assert read_entries(content + bytes(zeros), NAME) == (found, dropped), "a signed file is read without a key"


def test_a_bit_that_changed_is_damage_under_a_key_too() -> None:
    content = bytearray(b"".join(LINES))
    content[len(LINES[0]) + 70] ^= 1
    with pytest.raises(Damaged, match="its entry 2 is not whole"):
        read_entries(bytes(content), NAME, KEY)


def merged(folder: Path, key: bytes | None) -> list[dict[str, int]]:
    """Two segments of decisions, read back by another life."""
    journal = MergeJournal(LocalDisk(folder), key)
    for number in (3, 4):
        journal.begin(number)
        for offset in range(3):
            journal.append({("s", 0): 10 * number + offset, ("p", 0): 7})
    journal.close()
    return MergeJournal(LocalDisk(folder), key).recover(3)


def test_a_signed_merge_journal_says_what_an_unsigned_one_says(tmp_path: Path) -> None:
    plain, under_key = tmp_path / "plain", tmp_path / "signed"
    assert merged(plain, None) == merged(under_key, KEY)
    # Taken for a later checkpoint's, the same decisions would be taken twice.
    (under_key / segment_name(3)).rename(under_key / segment_name(5))
    with pytest.raises(SettingsError, match=f"{segment_name(5)} is signed with another key, or for another file"):
        MergeJournal(LocalDisk(under_key), KEY).recover(3)
    with pytest.raises(SettingsError, match=r"is not signed.*checkpoint sign"):
        MergeJournal(LocalDisk(plain), KEY).recover(3)


def refused(folder: Path, key: bytes | None, requests: int = 3) -> FitJournal:
    journal = FitJournal(LocalDisk(folder), key=key, entries_max=2)
    for number in range(requests):
        journal.refuse("gan", b"%d" % number, "killed")
    journal.close()
    return FitJournal(LocalDisk(folder), key=key)


def test_a_signed_journal_of_fits_is_followed_written_anew_and_carried(tmp_path: Path) -> None:
    again = refused(tmp_path, KEY, requests=9)  # beyond its bound: the file is written anew meanwhile
    assert again.why("gan", b"8") == "killed"
    again.refuse("gan", b"x", "timeout")
    again.close()
    assert FitJournal(LocalDisk(tmp_path), key=KEY).why("gan", b"x") == "timeout"
    night = tmp_path / "night"
    night.mkdir()
    carry(LocalDisk(tmp_path), LocalDisk(night))
    assert followed([night], None) == followed([], tmp_path)
    assert FitJournal(LocalDisk(night), key=KEY).why("gan", b"x") == "timeout"


def _cleared(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line_of(line[9:].partition(b"\t")[0]) for line in lines))


def _forged(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    lines[1] = line_of(lines[1][9:].replace(b"killed", b"memory"))[:-1]
    path.write_bytes(b"\n".join(lines) + b"\n")


@pytest.mark.parametrize("change", [_cleared, _forged])
def test_a_journal_of_fits_that_somebody_else_wrote_is_not_followed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    refused(tmp_path, KEY)
    change(tmp_path / FILE)
    with pytest.raises(SettingsError, match=r"is not signed, and|has an entry 2"):
        FitJournal(LocalDisk(tmp_path), key=KEY)

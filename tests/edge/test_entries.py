"""Entries of a journal: any end of the file is borne, any other damage is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.checkpoint.entries import line_of, whole_entries
from stream_balance.edge.checkpoint.format import Damaged

ENTRIES = [b'{"s/0":%d,"p/1":7}' % number for number in (3, 14, 159, 2653)]
CONTENT = b"".join(line_of(entry) for entry in ENTRIES)


@given(st.integers(0, len(CONTENT)), st.integers(0, 9))
def test_what_was_not_finished_is_left_out_with_what_a_power_failure_put_there(cut: int, zeros: int) -> None:
    found, dropped = whole_entries(CONTENT[:cut] + bytes(zeros), "journal")
    assert found == ENTRIES[: CONTENT[:cut].count(b"\n")]
    assert sum(len(line_of(entry)) for entry in found) + dropped == cut + zeros


def test_no_bit_of_the_file_changes_what_it_says_in_silence() -> None:
    told = 0
    for place in range(len(CONTENT)):
        for bit in range(8):
            changed = bytearray(CONTENT)
            changed[place] ^= 1 << bit
            try:
                found, dropped = whole_entries(bytes(changed), "journal")
            except Damaged as error:
                told += "journal is damaged: its entry" in str(error)
            else:
                # The last entry may be one that was being written, so what is left out is counted.
                assert found == ENTRIES[:-1]
                assert dropped == len(line_of(ENTRIES[-1]))
    assert told == 8 * (len(CONTENT) - len(line_of(ENTRIES[-1])))


def test_two_damaged_entries_at_the_end_are_no_unfinished_one() -> None:
    lines = [line_of(entry) for entry in ENTRIES]
    with pytest.raises(Damaged, match="its entry 3 is not whole, and others follow"):
        whole_entries(b"".join([*lines[:2], lines[2][1:], lines[3][1:]]), "journal")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_piece_that_is_missing_is_told(lost: int) -> None:
    lines = [line_of(entry) for entry in ENTRIES]
    lines[lost] = lines[lost][:20] + lines[lost][25:]
    with pytest.raises(Damaged, match=f"its entry {lost + 1} is not whole"):
        whole_entries(b"".join(lines), "journal")

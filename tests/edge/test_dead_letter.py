"""Dead letters: which may be sent again, where to, and how far they have been dealt with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.dead_letter import DeadLetter, Judge
from stream_balance.edge.deadletter_file import DeadLetterFile, read_letters
from stream_balance.edge.kafka.letters import Dealt
from stream_balance.edge.logfile import LogRecord
from stream_balance.errors import BadRecord, SettingsError

TOPICS = ("search-events", "purchase-events")
GOOD = b'{"event_id":"p","ts":1772357400000,"user_id":"u","item_id":"i"}'
JUDGE = Judge(Codec(WireSettings()), TOPICS, attempts_max=3)


def letter(value: bytes = GOOD, **fields: object) -> DeadLetter:
    return DeadLetter("somewhere", value, "not_json", "", **{"topic": TOPICS[1], "key": b"k"} | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (letter(), "sendable"),
        (letter(b"{"), "still_bad"),
        (letter(record_time_us=1), "still_bad"),  # it is ahead of its time, then as now
        (letter(is_cut=True), "cut"),
        (letter(attempts=2), "sendable"),
        (letter(attempts=3), "too_often"),
        (letter(topic="search-events.dead"), "foreign"),
        (letter(topic=None), "sendable"),
    ],
)
def test_what_may_be_sent_again(case: DeadLetter, verdict: str) -> None:
    assert JUDGE.verdict(case)[0] == verdict


def test_a_letter_goes_where_it_was_and_one_of_a_file_where_it_belongs() -> None:
    event = JUDGE.verdict(letter())[1]
    assert event is not None
    assert JUDGE.target(letter(topic=TOPICS[0]), event) == (TOPICS[0], b"k")
    assert JUDGE.target(letter(topic=None, key=None), event) == (TOPICS[1], b"u")


def test_letters_of_a_file_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "dead"
    path.write_bytes(b'{"li\n')  # an earlier end cut it short
    with DeadLetterFile(path) as kept:
        for line, (data, reason) in enumerate(
            [(GOOD, "not_json"), (b"\xff\n", "not_utf8"), (b"x" * 99, "too_large")], 1
        ):
            kept.keep(LogRecord(None, None, data, Path("a.jsonl"), line, 5_000_000), BadRecord(reason, "why"))
    first, second, third = read_letters(path)
    assert (first.place, first.value, first.reason, first.record_time_us) == ("a.jsonl:1", GOOD, "not_json", 5_000_000)
    assert second.value == b"\xff\n"
    assert (first.is_cut, third.is_cut) == (False, True)
    with pytest.raises(SettingsError, match="cannot be read"):
        list(read_letters(tmp_path / "none"))


STEPS = st.lists(
    st.tuples(st.none() | st.lists(st.sampled_from("abc"), min_size=1, unique=True), st.integers(0, 12)), max_size=6
)


@given(st.lists(st.sampled_from("abc"), max_size=12), STEPS)
def test_however_letters_are_picked_none_is_dealt_with_twice_or_left_out(
    reasons: list[str], steps: list[tuple[list[str] | None, int]]
) -> None:
    """Each step deals with the letters of some reasons up to some offset."""
    dealt, done = Dealt(), set()
    for picked, stop in [*steps, (None, len(reasons))]:
        for offset, reason in enumerate(reasons[:stop]):
            if dealt.is_new(reason, offset) and (picked is None or reason in picked):
                assert offset not in done
                done.add(offset)
        dealt.advance(picked, min(stop, len(reasons)))
    assert done == set(range(len(reasons)))

"""Bad share: a broken topic ends the run, a few bad records do not."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.bad_share import BadShare, BadShareSettings
from stream_balance.errors import WorldError


def told(bad: list[bool], share_max: float, window: int) -> int | None:
    """After how many records it ended; None = it did not."""
    share = BadShare(BadShareSettings(share_max=share_max, window_records=window))
    for number, is_bad in enumerate(bad, start=1):
        try:
            share.bad("not_json") if is_bad else share.good()
        except WorldError:
            return number
    return None


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]), st.integers(1, 20))
def test_it_ends_at_the_first_record_with_too_many_bad_ones_among_the_latest(
    bad: list[bool], share_max: float, window: int
) -> None:
    latest: deque[bool] = deque(maxlen=window)
    wanted = None
    for number, is_bad in enumerate(bad, start=1):
        latest.append(is_bad)
        if wanted is None and sum(latest) > share_max * window:
            wanted = number
    assert told(bad, share_max, window) == wanted


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20), st.integers(0, 60), st.integers(1, 20))
def test_a_restart_forgets_nothing(bad: list[bool], window: int, cut: int, former: int) -> None:
    """Also where the window was another one: what is missing in it counts as good."""
    first = BadShare(BadShareSettings(share_max=1.0, window_records=former))
    for is_bad in bad[:cut]:
        first.bad("not_json") if is_bad else first.good()
    share = BadShare(BadShareSettings(share_max=0.5, window_records=window))
    share.restore(first.state())
    known = [False] * max(cut - former, 0) + bad[:cut][-former:]
    for is_bad in bad[cut:]:
        known.append(is_bad)
        if is_bad and sum(known[-window:]) > 0.5 * window:
            with pytest.raises(WorldError):
                share.bad("not_json")
            return
        share.bad("not_json") if is_bad else share.good()


def test_it_is_off_at_one() -> None:
    assert told([True] * 5000, 1.0, 100) is None


def test_the_message_says_what_was_bad_and_what_to_do() -> None:
    share = BadShare(BadShareSettings(share_max=0.5, window_records=4))
    share.bad("not_json")
    share.bad("too_large")
    with pytest.raises(
        WorldError, match=r"3 of the latest 4 .*not_json 2, too_large 1.*at most 2.*dlq list.*share_max"
    ):
        share.bad("not_json")

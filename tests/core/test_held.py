"""Held searches: the digest tells any two lists of them apart, however many there are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_balance.core.digest import Digest
from stream_balance.core.held import Described
from stream_balance.core.records import Scored
from stream_balance.testing import make_scored

ONE = replace(make_scored("s1", items=["i1", "i2"], user_id="u1"), truths=(0.25, 0.5), said=b"abcd")
TWO = make_scored("s2", ts=3, items=["i1"])
MANY = 5_000  # more than are described at once


def digest_of(searches: list[Scored]) -> str:
    digest = Digest()
    digest.add(Described(searches))
    return digest.hex()


OTHERS: dict[str, list[Scored]] = {
    "event_id": [replace(ONE, event_id="s3"), TWO],
    "user_id": [replace(ONE, user_id="u3"), TWO],
    "item_ids": [replace(ONE, item_ids=("i1", "i3")), TWO],
    "positions": [replace(ONE, positions=(1, 3)), TWO],
    "tiers": [replace(ONE, tiers=b"\x01\x00"), TWO],
    "width": [replace(ONE, width=ONE.width + 1), TWO],
    "block": [replace(ONE, block=ONE.block[:-1] + bytes([ONE.block[-1] ^ 1])), TWO],
    "truths": [replace(ONE, truths=(0.25, 0.75)), TWO],
    "no truths": [replace(ONE, truths=None), TWO],
    "truths of none": [ONE, replace(TWO, truths=())],
    "said": [replace(ONE, said=b"abcx"), TWO],
    "what one said, another says": [replace(ONE, said=b""), replace(TWO, said=b"abcd")],
    "a letter moves from one id to the next": [
        replace(ONE, event_id="s"), replace(TWO, event_id="1s2"),
    ],
    "an item moves from one search to the next": [
        replace(ONE, item_ids=("i1",), positions=(1,)), replace(TWO, item_ids=("i2", "i1"), positions=(2, 1)),
    ],
    "their order": [TWO, ONE],
    "one is missing": [ONE],
    "one is there twice": [ONE, TWO, TWO],
}  # fmt: skip


@pytest.mark.parametrize("difference", OTHERS)
def test_another_list_has_another_digest(difference: str) -> None:
    assert digest_of([ONE, TWO]) == digest_of([replace(ONE), replace(TWO)])
    assert digest_of(OTHERS[difference]) != digest_of([ONE, TWO])


@pytest.mark.parametrize("place", [0, 4_095, 4_096, MANY - 1])
def test_of_many_each_counts(place: int) -> None:
    searches = [make_scored(f"s{number}", items=["i1"]) for number in range(MANY)]
    whole = digest_of(searches)
    searches[place] = replace(searches[place], user_id="somebody else")
    assert digest_of(searches) != whole
    assert digest_of([]) != digest_of(searches[:1])


def test_every_field_of_a_search_is_tried() -> None:
    assert set(Scored.__slots__) <= set(OTHERS)

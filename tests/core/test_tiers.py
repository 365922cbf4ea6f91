"""Popularity: the smallest set that holds half of the exposure, decided before the search counts, with hysteresis."""

from __future__ import annotations

import pickle
import random

import pytest

from stream_balance.core.digest import Digest
from stream_balance.core.records import HEAD, TAIL
from stream_balance.core.tiers import Tiers, TierSettings


def digest(tiers: Tiers) -> str:
    made = Digest()
    made.add(tiers.digest_state())
    return made.hex()


def zipf(rng: random.Random, n: int, items: int = 200) -> tuple[str, ...]:
    weights = [1 / (i + 1) for i in range(items)]
    return tuple(f"i{i}" for i in rng.choices(range(items), weights, k=n))


def test_before_the_first_computation_every_item_is_head() -> None:
    tiers = Tiers(TierSettings(first=10))
    assert tiers.stamp(("a",) * 9) == bytes([HEAD] * 9)
    assert tiers.stamp(("b",) * 3) == bytes([HEAD] * 3)  # it decides for the search after it
    assert tiers.stamp(("a", "b", "new")) == bytes([HEAD, TAIL, TAIL])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_head_is_the_smallest_set_that_holds_the_share(share: float) -> None:
    tiers = Tiers(TierSettings(head_share=share, first=5000, half_life_impressions=10**12))
    rng = random.Random(3)
    shown = [zipf(rng, 20) for _ in range(250)]
    for item_ids in shown:
        tiers.stamp(item_ids)
    counts: dict[str, int] = {}
    for item in (item for item_ids in shown for item in item_ids):
        counts[item] = counts.get(item, 0) + 1
    head = [item for item in counts if tiers.stamp((item,)) == bytes([HEAD])]
    assert sum(counts[item] for item in head) >= share * 5000
    assert sum(counts[item] for item in head) - min(counts[item] for item in head) < share * 5000
    assert min(counts[item] for item in head) >= max(counts[item] for item in counts if item not in head)


def test_an_item_near_the_border_does_not_flap() -> None:
    def changes(hysteresis: float) -> int:
        tiers = Tiers(TierSettings(first=100, every=100, hysteresis=hysteresis, half_life_impressions=2000))
        rng = random.Random(5)
        seen, changed = {}, 0
        for _ in range(3000):
            item_ids = tuple(f"i{i}" for i in rng.choices(range(20), k=10))
            for item, tier in zip(item_ids, tiers.stamp(item_ids), strict=True):
                changed += seen.get(item, tier) != tier
                seen[item] = tier
        return changed

    assert changes(0.6) < changes(1.0) / 2


def test_popularity_follows_what_is_shown_now() -> None:
    tiers = Tiers(TierSettings(first=100, every=100, half_life_impressions=1000))
    for _ in range(500):
        tiers.stamp(("old", "old", "x"))
    assert tiers.stamp(("old", "new")) == bytes([HEAD, TAIL])
    for _ in range(3000):
        tiers.stamp(("new", "new", "x"))
    assert tiers.stamp(("old", "new")) == bytes([TAIL, HEAD])


def test_memory_is_bounded_and_the_hot_items_stay() -> None:
    tiers = Tiers(TierSettings(items_max=100, first=50, every=50))
    for i in range(5000):
        tiers.stamp(("hot", f"once-{i}"))
    assert len(tiers._exposure) <= 102
    assert tiers.items_forgotten > 4000
    assert tiers.stamp(("hot",)) == bytes([HEAD])
    assert tiers.counts()["items_forgotten"] == tiers.items_forgotten


def test_weights_are_renormalised_and_change_nothing() -> None:
    tiers = Tiers(TierSettings(first=100, every=100, half_life_impressions=1000))
    for i in range(200_000):
        tiers.stamp(("a", "a", "b", "c"))
        if i % 20_000 == 0:
            assert tiers._weight < 1e102
    assert tiers.stamp(("a", "b", "c")) == bytes([HEAD, TAIL, TAIL])


def test_a_cut_run_equals_the_whole_run() -> None:
    whole, cut = Tiers(TierSettings()), Tiers(TierSettings())
    rng = random.Random(8)
    for step in range(600):
        item_ids = zipf(rng, 10)
        assert whole.stamp(item_ids) == cut.stamp(item_ids)
        if step % 100 == 0:
            cut = pickle.loads(pickle.dumps(cut))
    assert digest(whole) == digest(cut)

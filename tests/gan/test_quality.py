"""Quality: fresh real rows pass; copies, shuffled columns and collapsed rows are seen, each by its own figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stream_balance.core.synthesis import Quality, RecipeSettings
from stream_balance.gan.makers import Start, make_by_trees
from stream_balance.gan.quality import (
    exact_share,
    exact_share_by_nature,
    pairs_lost,
    pairwise_distances,
    quality_of,
    shuffle,
)
from stream_balance.gan.table import Table, layout_of
from stream_balance.gan.vet import quality_breach
from tests.gan.tables import NOMINAL, mixed

LEARNED, HELD_OUT, FRESH = mixed(450, 1), mixed(150, 2), mixed(400, 3)


def judged(made: np.ndarray) -> Quality:
    table = Table(LEARNED, layout_of(LEARNED, NOMINAL, levels_max=20, level_rows_min=5))
    return quality_of(made, LEARNED, HELD_OUT, NOMINAL, table, seed=0)


def test_fresh_rows_of_the_same_kind_pass() -> None:
    quality = judged(FRESH)
    assert quality_breach(quality, RecipeSettings()) is None
    assert quality.c2st == pytest.approx(0.5, abs=0.1)
    assert quality.dcr_share == pytest.approx(0.5, abs=0.12)
    assert quality.coverage > 0.9
    assert quality.exact_share == 0.0


def test_copies_of_learned_rows_are_caught_though_a_forest_takes_them_for_real() -> None:
    quality = judged(LEARNED[np.random.default_rng(0).integers(450, size=400)])
    assert quality.c2st < 0.65
    assert quality.dcr_share == 1.0
    assert quality.exact_share == 1.0
    assert quality_breach(quality, RecipeSettings()) == "exact_copies"


def test_copies_with_a_little_noise_are_near_copies() -> None:
    rng = np.random.default_rng(0)
    made = LEARNED[rng.integers(450, size=400)]
    made[:, :3] += 1e-3 * rng.normal(size=(400, 3))
    quality = judged(made)
    assert quality.exact_share == 0.0
    assert quality_breach(quality, RecipeSettings()) == "near_copies"


def coarse(n: int, seed: int) -> np.ndarray:
    """Four columns of few whole numbers, tied by a common cause (correlation about .7), (n, 4); nominal: 0 and 2."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 1))
    scores = np.clip(np.round(2 + 1.2 * cause + rng.normal(size=(n, 2))), 0, 5)
    counts = np.clip(np.floor(np.exp(0.8 + 0.5 * cause + 0.4 * rng.normal(size=(n, 2)))), 0, 8)
    return np.column_stack([scores[:, 0], counts[:, 0], scores[:, 1], counts[:, 1]])


@pytest.mark.parametrize("draw", [coarse, mixed])
def test_fresh_rows_are_no_copies_however_coarse_the_table_and_half_copies_are(
    draw: Callable[[int, int], np.ndarray],
) -> None:
    limit, seen = RecipeSettings().exact_share_max, 0
    for seed in range(30):
        learned, held_out, fresh = (draw(n, 3 * seed + k) for k, n in enumerate((180, 60, 1_000)))
        half = np.vstack([fresh, learned[np.random.default_rng(seed).integers(180, size=1_000)]])
        real = exact_share_by_nature(held_out, learned)
        assert exact_share(fresh, learned) - real <= limit, seed
        seen += exact_share(half, learned) - real > limit
    # Where half of the real rows are equal to another one, a few half copies are left to the near copies' limit.
    assert seen == 30 if draw is mixed else seen >= 26


def test_shuffled_rows_of_a_coarse_table_are_seen_by_what_they_lost_good_rows_pass() -> None:
    limit, seen, trees = RecipeSettings().pairs_lost_max, 0, 0
    for seed in range(20):
        learned, held_out = coarse(180, 2 * seed), coarse(60, 2 * seed + 1)
        start = Start.of(learned, (0, 2), b"", RecipeSettings())
        good = coarse(1_000, 100 + seed), make_by_trees(start, learned, 1_000, seed).rows
        real, fresh, by_trees, one, other = (
            pairwise_distances(rows, held_out, start.table)
            for rows in (learned, *good, shuffle(learned, 1_000, seed), shuffle(learned, 1_000, 99))
        )
        seen += pairs_lost(one, real, other, 60) > limit
        assert pairs_lost(fresh, real, other, 60) < limit, seed
        trees += pairs_lost(by_trees, real, other, 60) <= limit
    # Where real rows are hardly nearer to the held-out ones than shuffled ones are, nothing can be said.
    assert (seen >= 15, trees >= 19) == (True, True)


def test_a_worst_pair_within_the_limit_does_not_save_shuffled_rows() -> None:
    learned, held_out, fresh = coarse(180, 0), coarse(60, 1), coarse(1_000, 2)
    table = Table(learned, layout_of(learned, (0, 2), levels_max=20, level_rows_min=5))
    for reason, rows in {None: fresh, "pairs": shuffle(fresh, 1_000, 5)}.items():
        quality = quality_of(rows, learned, held_out, (0, 2), table, seed=0)
        assert quality.pairwise_max < BLIND.pair_max
        assert quality_breach(quality, BLIND) == reason


def test_independent_columns_have_nothing_to_lose() -> None:
    for seed, n in enumerate((70, 100, 240, 1_000)):
        rows = np.random.default_rng(seed).normal(size=(n, 6))
        learned, held_out = rows[n // 4 :], rows[: n // 4]
        table = Table(learned, layout_of(learned, (), levels_max=20, level_rows_min=5))
        made = shuffle(learned, 500, seed)
        real, made_pairs = (pairwise_distances(each, held_out, table) for each in (learned, made))
        assert pairs_lost(made_pairs, real, made_pairs, n // 4) == 0.0


def test_shuffled_rows_keep_their_columns_and_nothing_else() -> None:
    tied = LEARNED[:, [0, 2]]
    made = shuffle(tied, 900, seed=0)
    np.testing.assert_array_equal(np.sort(made, axis=0), np.sort(np.repeat(tied, 2, axis=0), axis=0))
    assert np.corrcoef(tied.T)[0, 1] > 0.5
    assert abs(np.corrcoef(made.T)[0, 1]) < 0.15


BLIND = RecipeSettings(c2st_max=1.0, coverage_min=0.0, dcr_share_max=1.0, exact_share_max=1.0)


def shuffled(rows: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.permutation(column) for column in rows.T])


@pytest.mark.parametrize("held_out", [150, 40, 17])
def test_pairs_and_marginals_refuse_garbage_by_themselves_and_real_rows_never(
    held_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_balance.gan.quality.TREES", 2)  # what the forest says is not listened to here
    table = Table(LEARNED, layout_of(LEARNED, NOMINAL, levels_max=20, level_rows_min=5))
    garbage = {"pairs": shuffled(FRESH, 1), "marginals": FRESH[np.argsort(FRESH[:, 0])[-100:]]}
    for seed in range(5):
        held = mixed(held_out, 40 + seed)
        for reason, made in {None: mixed(400, 50 + seed), **garbage}.items():
            found = quality_breach(quality_of(made, LEARNED, held, NOMINAL, table, seed=0), BLIND)
            # Of seventeen rows no limit can ask much: there the forest and the shadow test are left.
            assert found == reason or (held_out == 17 and found is None)


def test_shuffled_columns_are_seen_by_the_forest_and_the_pairs_not_by_the_marginals() -> None:
    made = shuffled(FRESH, 0)
    quality, real = judged(made), judged(FRESH)
    assert quality_breach(quality, RecipeSettings()) == "c2st"
    assert quality.marginal == pytest.approx(real.marginal, abs=0.01)
    assert quality.pairwise > real.pairwise + 0.02


def test_rows_of_one_corner_do_not_cover() -> None:
    corner = mixed(4_000, 4)
    quality = judged(corner[corner[:, 0] > 1.0][:400])
    assert quality.coverage < 0.5
    assert quality.marginal > 0.2


def test_a_table_of_few_different_rows_is_not_taken_for_copied() -> None:
    bits = np.random.default_rng(1).integers(0, 2, size=(1_000, 4)).astype(np.float64)
    learned, held_out, made = bits[:450], bits[450:600], bits[600:]
    table = Table(learned, layout_of(learned, [], levels_max=20, level_rows_min=5))
    quality = quality_of(made, learned, held_out, (), table, seed=0)
    assert quality.exact_share == 1.0
    assert quality_breach(quality, RecipeSettings()) is None

"""Training: begins as what the trees drew, is the same for a seed, goes on from weights, sees what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from stream_balance.core.synthesis import RecipeSettings
from stream_balance.gan.makers import Start, encode, make_by_gan, split
from stream_balance.gan.quality import c2st
from stream_balance.gan.trees import Trees
from tests.gan.tables import NOMINAL, mixed

torch = pytest.importorskip("torch", reason="needs the extra 'gan'")

from stream_balance.gan.train import BATCH, generate, steps_for, train  # noqa: E402  # imports torch

SETTINGS = RecipeSettings(steps_cold=30, steps_warm=20)


def test_an_untrained_generator_gives_the_rows_drawn() -> None:
    rows = mixed(200, 0)
    start = Start.of(rows, NOMINAL, b"", SETTINGS)
    layout = start.table.layout
    rng = np.random.default_rng(0)
    drawn = encode(*Trees(rows, start.table, rng).sample(2_000, rng), layout)
    trained = train(layout, lambda _: drawn, drawn, steps=0, seed=0)
    made = split(generate(layout, trained.weights, drawn, 0), layout)
    before = split(drawn, layout)
    np.testing.assert_array_equal(made[0], before[0])
    assert (made[1] == before[1]).mean() == pytest.approx(0.998, abs=0.003)  # chance moves two levels in a thousand


def test_the_same_request_trains_the_same_bits_and_another_seed_others() -> None:
    rows = mixed(150, 0)
    start = Start.of(rows, NOMINAL, b"", SETTINGS)
    one, two, other = (make_by_gan(start, rows, 50, seed, SETTINGS) for seed in (1, 1, 2))
    assert one.weights == two.weights
    assert one.rows.tobytes() == two.rows.tobytes()
    assert one.curve.tobytes() == two.curve.tobytes()
    assert one.weights != other.weights
    assert one.rows.tobytes() != other.rows.tobytes()


def test_a_warm_start_goes_on_from_the_weights() -> None:
    rows = mixed(150, 0)
    cold = make_by_gan(Start.of(rows, NOMINAL, b"", SETTINGS), rows, 10, 0, SETTINGS)
    moved = mixed(150, 5)
    start = Start.of(moved, NOMINAL, cold.weights, SETTINGS)
    warm = make_by_gan(start, moved, 10, 0, SETTINGS)
    assert (cold.warm, warm.warm) == (False, True)
    assert len(warm.curve) == SETTINGS.steps_warm / 10
    assert warm.weights != cold.weights
    assert start.weights is not None


def test_few_rows_have_fewer_steps_cold_and_warm_alike() -> None:
    settings = RecipeSettings(steps_cold=1_000, steps_warm=100, passes_max=64)
    enough = BATCH * 1_000 // 64
    for rows, cold, warm in ((10 * enough, 1_000, 100), (enough, 1_000, 100), (enough // 4, 250, 25), (1, 1, 1)):
        assert steps_for(rows, settings, warm=False) == cold
        assert steps_for(rows, settings, warm=True) == warm


@pytest.mark.parametrize("change", ["wider", "no longer constant", "new levels"])
def test_after_a_change_of_columns_it_starts_cold(change: str) -> None:
    rows = mixed(150, 0)
    rows[:, 1] = 3.0
    weights = make_by_gan(Start.of(rows, NOMINAL, b"", SETTINGS), rows, 10, 0, SETTINGS).weights
    assert Start.of(rows, NOMINAL, weights, SETTINGS).weights is not None
    changed = rows.copy()
    if change == "wider":
        changed = np.hstack([rows, rows[:, :1]])
    elif change == "no longer constant":
        changed[0, 1] = 4.0
    else:
        changed[:50, 4] = 7.0
    assert Start.of(changed, NOMINAL, weights, SETTINGS).weights is None


def test_a_column_of_very_many_levels_is_no_reason_to_start_cold() -> None:
    rng = np.random.default_rng(0)
    rows, later = mixed(600, 0), mixed(600, 1)
    rows[:, 5], later[:, 5] = rng.integers(0, 60, (2, 600))
    weights = make_by_gan(Start.of(rows, NOMINAL, b"", SETTINGS), rows, 10, 0, SETTINGS).weights
    assert Start.of(later, NOMINAL, weights, SETTINGS).weights is not None


def test_it_learns_a_dependence_that_the_rows_drawn_do_not_have_and_less_of_it_where_edits_are_dear() -> None:
    rows, fresh = mixed(600, 0), mixed(600, 9)
    table = Start.of(rows, NOMINAL, b"", SETTINGS).table
    layout, rng = table.layout, np.random.default_rng(0)
    shuffled = np.column_stack([rng.permutation(rows[:, j]) for j in range(rows.shape[1])])
    drawn, spread = encode(*table.scores(shuffled, rng), layout), table.spread(rows)

    def seen(edit_weight: float) -> float:
        trained = train(
            layout, lambda chance: encode(*spread(chance), layout), drawn, steps=600, seed=0, edit_weight=edit_weight
        )
        return c2st(table.decode(*split(generate(layout, trained.weights, drawn, 0), layout), rng), fresh, 0)

    free, dear = seen(0.0), seen(1.0)
    assert free < c2st(shuffled, fresh, 0) - 0.15
    assert free < dear - 0.1


def test_columns_that_are_held_stay_as_they_were_drawn() -> None:
    rows = mixed(200, 0)
    table = Start.of(rows, NOMINAL, b"", SETTINGS).table
    layout, rng = table.layout, np.random.default_rng(0)
    drawn = encode(*Trees(rows, table, rng).sample(400, rng), layout)
    assert table.tied == (False, False, False, True)  # zeros with a tail, and absent values
    trained = train(layout, lambda _: drawn[:200], drawn, steps=60, seed=0, held=table.tied)
    made = generate(layout, trained.weights, drawn, 0, held=table.tied)
    np.testing.assert_array_equal(made[:, 3], drawn[:, 3])
    assert (made[:, :3] != drawn[:, :3]).any(axis=0).all()

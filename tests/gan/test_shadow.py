"""Shadow test: helpful rows are told from useless and harmful ones, with errors; the verdict follows the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stream_balance.core.synthesis import Gain, RecipeSettings
from stream_balance.gan.shadow import ShadowSet, booster, shadow_gains, weighted_precision
from stream_balance.gan.vet import shadow_verdict


def ring(n: int, seed: int) -> np.ndarray:
    """Points on a noisy ring, (n, 2): hard to guess from few."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + 0.1 * rng.normal(size=(n, 1)))


def plane(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, size=(n, 2))


def gains(made: np.ndarray) -> tuple[Gain, ...]:
    shadow = ShadowSet(ring(30, 0), plane(600, 1), ring(300, 2), plane(900, 3), rate=0.1)
    return shadow_gains(shadow, made, {"live": booster}, (0.1, 0.2), repeats=2, seed=0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=30))
def test_the_precision_is_scikit_learns_with_weights_and_ties(rows: list[tuple[bool, int, int]]) -> None:
    labels, scores, weights = (np.array(each, dtype=np.float64) for each in zip(*rows, strict=True))
    if labels.any():
        expected = average_precision_score(labels, scores, sample_weight=weights)
        assert weighted_precision(labels.astype(np.int64), scores, weights[None])[0] == pytest.approx(expected)


def test_more_real_rows_help() -> None:
    found = gains(ring(500, 9))
    assert [gain.share for gain in found] == [0.1, 0.2]
    assert all(gain.over_none > gain.over_none_error > 0 for gain in found)
    assert shadow_verdict(found, RecipeSettings())[0] == "helps"


def test_rows_of_the_other_class_harm() -> None:
    assert shadow_verdict(gains(plane(500, 9)), RecipeSettings())[:2] == ("refused", "harm")


def test_copies_are_no_gain_over_copies() -> None:
    verdict, _, _ = shadow_verdict(gains(ring(30, 0)), RecipeSettings())
    assert verdict != "helps"


def test_without_held_out_rows_nothing_can_be_said() -> None:
    few = ShadowSet(ring(30, 0), plane(60, 1), ring(5, 2), plane(90, 3), rate=0.1)
    found = shadow_gains(few, ring(50, 9), {"booster": booster}, (0.1,), repeats=1, seed=0)
    assert found == ()
    assert shadow_verdict(found, RecipeSettings()) == ("inconclusive", "too_few_held_out", 0.1)


def gain(model: str, share: float, over_none: float, over_copies: float) -> Gain:
    return Gain(model, share, 0.5, over_none, 0.01, over_copies, 0.01)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([gain("live", 0.1, 0.05, 0.05)], ("helps", "gain", 0.1)),
        ([gain("live", 0.1, 0.05, 0.01)], ("inconclusive", "gain_within_error", 0.1)),  # copies would do
        ([gain("live", 0.1, 0.05, 0.05), gain("live", 0.2, 0.09, 0.09)], ("helps", "gain", 0.2)),
        ([gain("live", 0.1, -0.05, 0.0), gain("booster", 0.1, 0.05, 0.05)], ("refused", "harm", 0.0)),
        ([gain("live", 0.1, 0.02, 0.02), gain("live", 0.2, -0.05, 0.0)], ("helps", "gain", 0.1)),
        # The live model is far worse than with copies; a booster that gains is no comfort.
        ([gain("live", 0.1, -0.005, -0.10), gain("booster", 0.1, 0.05, 0.05)], ("refused", "harm", 0.0)),
        ([gain("live", 0.1, 0.05, 0.05), gain("booster", 0.1, 0.05, -0.10)], ("refused", "harm", 0.0)),
        ([gain("live", 0.1, 0.0, 0.0), gain("booster", 0.1, 0.05, 0.05)], ("inconclusive", "no_live_gain", 0.1)),
        ([gain("live", 0.1, 0.005, -0.005), gain("booster", 0.1, 0.05, 0.05)], ("inconclusive", "no_live_gain", 0.1)),
        ([gain("live", 0.1, 0.005, 0.005), gain("booster", 0.1, 0.05, 0.05)], ("helps", "gain", 0.1)),
        ([gain("booster", 0.1, 0.05, 0.05)], ("inconclusive", "no_live_gain", 0.1)),
        # Of two shares the one at which the live model gains, though the booster is surer of the other.
        (
            [
                gain(model, share, *by)
                for model, share, by in (
                    ("live", 0.1, (0.001, 0.001)),
                    ("booster", 0.1, (0.02, 0.02)),
                    ("live", 0.2, (0.0, 0.0)),
                    ("booster", 0.2, (0.09, 0.09)),
                )
            ],
            ("helps", "gain", 0.1),
        ),
    ],
)
def test_the_verdict_is_by_the_surest_share_that_harms_nobody(
    found: list[Gain], expected: tuple[str, str, float]
) -> None:
    assert shadow_verdict(tuple(found), RecipeSettings(errors=1.0)) == expected


def test_a_column_that_nobody_has_a_value_of_is_no_trouble() -> None:
    """As one that is seen for the first time among the held-out rows."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(200, 3)), np.repeat([1, 0], [40, 160])
    rows[:40, 0] += 3.0
    test = rows.copy()
    rows[:, 1] = np.nan
    said = booster(rows, labels, 0, test)
    assert said[:40].mean() > said[40:].mean() + 0.5
    assert booster(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), 0, test[:5, :2]).tolist() == [0.0] * 5

"""Vet: the verdict on the very rows that would be delivered. In: made rows and held-out rows. Out: `Vetting`.

Quality first, it is cheap; only rows that pass it are tried in the shadow test, which also chooses their amount.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import LIVE, Breach, Gain, Maker, Quality, RecipeSettings, Verdict, Vetting

NO_QUALITY = Quality(1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)


def vet(maker: Maker, made: Floats, quality: Callable[[], Quality], gains: Callable[[], tuple[Gain, ...]],
        settings: RecipeSettings) -> Vetting:  # fmt: skip
    """The verdict on rows `made` (m, d). `gains` is called only if the quality passes."""
    if np.isinf(made).any() or np.isnan(made).all():
        return Vetting(maker, "refused", "not_finite", 0.0, NO_QUALITY, ())
    figures = quality()
    breach = quality_breach(figures, settings)
    if breach is not None:
        return Vetting(maker, "refused", breach, 0.0, figures, ())
    found = gains()
    verdict, reason, share = shadow_verdict(found, settings)
    return Vetting(maker, verdict, reason, share, figures, found)


def quality_breach(quality: Quality, settings: RecipeSettings) -> Breach | None:
    """The first limit that is broken, as a word for a counter; None where all hold."""
    excess = quality.exact_share - quality.exact_share_real
    breaches: dict[Breach, bool] = {
        "exact_copies": excess > settings.exact_share_max,
        "near_copies": quality.dcr_share > settings.dcr_share_max,
        "c2st": quality.c2st > settings.c2st_max,
        "coverage": quality.coverage < settings.coverage_min,
        "marginals": quality.marginal > settings.marginal_max,
        "pairs": quality.pairwise_max > settings.pair_max or quality.pairs_lost > settings.pairs_lost_max,
    }
    return next((name for name, broken in breaches.items() if broken), None)


def shadow_verdict(gains: tuple[Gain, ...], settings: RecipeSettings) -> tuple[Verdict, str, float]:
    """Verdict, reason and share. The live model decides; the booster is a second opinion.

    A share harms if some model loses against no rows or against copies, beyond `errors` standard errors. One that does
    not helps if the live model gains over both at all, and some model over both beyond the errors. Of several such
    shares the surest wins. Where every share harms, the rows are refused.
    """
    if not gains:
        return "inconclusive", "too_few_held_out", min(settings.shares)
    z = settings.errors
    found: dict[float, tuple[bool, float]] = {}  # whether the live model gains, the surest gain over both
    for share in dict.fromkeys(gain.share for gain in gains):
        of_share = [gain for gain in gains if gain.share == share]
        if any(_at_most(gain, z) < 0 for gain in of_share):
            continue
        live_gains = any(gain.model == LIVE and min(gain.over_none, gain.over_copies) > 0 for gain in of_share)
        found[share] = live_gains, max(_at_least(gain, z) for gain in of_share)
    if not found:
        return "refused", "harm", 0.0
    best = max(found, key=lambda share: found[share])
    live_gains, surest = found[best]
    if surest <= 0:
        return "inconclusive", "gain_within_error", best
    return ("helps", "gain", best) if live_gains else ("inconclusive", "no_live_gain", best)


def _at_most(gain: Gain, z: float) -> float:
    """The lesser of the gains over none and over copies, with the errors' benefit of the doubt."""
    return min(gain.over_none + z * gain.over_none_error, gain.over_copies + z * gain.over_copies_error)


def _at_least(gain: Gain, z: float) -> float:
    """The lesser of the gains over none and over copies, less their errors."""
    return min(gain.over_none - z * gain.over_none_error, gain.over_copies - z * gain.over_copies_error)

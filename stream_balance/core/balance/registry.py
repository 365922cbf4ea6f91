"""Registry: strategies by their names in the settings."""

from __future__ import annotations

from collections.abc import Sequence

from stream_balance.core.balance import over, pairs, plain, under
from stream_balance.core.balance.generated import Generated
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Strategy
from stream_balance.core.balance.stratified import Stratified
from stream_balance.core.rates import Rates
from stream_balance.errors import SettingsError, did_you_mean

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (
        plain.NoBalancing, plain.RandomOver, plain.NeighbourOver, plain.Smote, over.BorderlineSmote,
        over.BorderlineSmote2, over.Adasyn, plain.RandomUnder, under.NeighbourUnder, under.Tomek, under.NearMiss,
        under.HardMining, plain.SmoteUnder, pairs.BorderlineUnder, pairs.AdasynUnder, pairs.SmoteNeighbourUnder,
        pairs.SmoteTomek, plain.ClassWeight, plain.OversamplingOnlineBagging, plain.UndersamplingOnlineBagging,
        Generated,
    )
}  # fmt: skip


AUTO = "auto"  # no strategy of one model, so not among them; `core/lineup.py` knows what it stands for


def _unknown(name: str) -> str:
    known = ", ".join(STRATEGIES)
    if name == AUTO:
        return f"'auto' is several models side by side, each with a strategy of its own; one takes one of {known}."
    meant = did_you_mean(name, [AUTO, *STRATEGIES])
    return (
        f"balance.strategy, or an arm: {name!r} is no strategy.{meant} Choose auto (several models side by side; for "
        f"no arm), or one of {known}."
    )


def make_strategy(
    settings: BalanceSettings, rates: Rates, tiers: Sequence[Rates] = (), *, weighs: bool = False
) -> Strategy:
    """The strategy that the settings name, for a model that honours weights or not. Raises SettingsError.

    With the rates of each of `tiers`, one of each tier's own.
    """
    kind = STRATEGIES.get(settings.strategy or "")
    if kind is None:
        raise SettingsError(_unknown(settings.strategy or ""))
    if not tiers or kind is plain.NoBalancing:
        return kind(settings, rates, weighs=weighs)
    return Stratified(settings, rates, tiers, lambda each: kind(settings, each, weighs=weighs))

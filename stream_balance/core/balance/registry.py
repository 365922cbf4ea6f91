"""Registry: strategies by their names in the settings."""

from __future__ import annotations

from stream_balance.core.balance.strategies import NoBalancing, RandomOver, RandomUnder, Smote, SmoteUnder
from stream_balance.core.balance.strategy import BalanceSettings, Strategy
from stream_balance.core.rates import Rates
from stream_balance.errors import SettingsError

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (NoBalancing, RandomOver, RandomUnder, Smote, SmoteUnder)
}


def make_strategy(settings: BalanceSettings, rates: Rates) -> Strategy:
    """The strategy that the settings name. Raises SettingsError with the known names."""
    kind = STRATEGIES.get(settings.strategy)
    if kind is None:
        known = ", ".join(STRATEGIES)
        raise SettingsError(f"balance.strategy: {settings.strategy!r} is no strategy; choose one of {known}.")
    return kind(settings, rates)

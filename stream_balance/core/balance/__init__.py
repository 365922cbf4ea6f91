"""Balance: how often each example is learned, so that rare classes are learned enough. In: labels. Out: Plan, Sample.

Balancing happens after an example was scored and measured, and only in what the model learns.
"""

from stream_balance.core.balance.registry import STRATEGIES, make_strategy
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Strategy

__all__ = ["STRATEGIES", "BalanceSettings", "Strategy", "make_strategy"]

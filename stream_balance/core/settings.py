"""Core settings: the rooms' own settings, gathered. What a state digest depends on; nothing operational."""

from __future__ import annotations

from pydantic import Field

from stream_balance.core.balance import BalanceSettings
from stream_balance.core.calibrate import CalibratorSettings
from stream_balance.core.comparison import ComparisonSettings
from stream_balance.core.drift import DriftSettings
from stream_balance.core.features import FeatureSettings
from stream_balance.core.join import JoinSettings
from stream_balance.core.lineup import LineupSettings
from stream_balance.core.mixture import MixtureSettings
from stream_balance.core.order import OrderSettings
from stream_balance.core.rates import RateSettings
from stream_balance.core.records import RoomSettings
from stream_balance.core.retrain import GanSettings
from stream_balance.core.scorecard import MetricSettings
from stream_balance.core.target import TargetSettings
from stream_balance.core.threshold import ThresholdSettings
from stream_balance.core.tiers import TierSettings
from stream_balance.core.window import WindowSettings


class ModelSettings(RoomSettings):
    """Which classifier learns."""

    name: str | None = None  # of core/arms/registry.py, or package.module:factory; None = what the strategy goes with
    one_vs_rest: bool = False  # wrap a binary model for three or more classes


class CoreSettings(RoomSettings):
    """Every room of the core."""

    order: OrderSettings = OrderSettings()
    join: JoinSettings = JoinSettings()
    features: FeatureSettings = FeatureSettings()
    tiers: TierSettings = TierSettings()
    window: WindowSettings = WindowSettings()
    rates: RateSettings = RateSettings()
    balance: BalanceSettings = BalanceSettings()
    model: ModelSettings = ModelSettings()
    arms: LineupSettings = LineupSettings()
    mixture: MixtureSettings = MixtureSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    target: TargetSettings = TargetSettings()
    calibrate: CalibratorSettings = CalibratorSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    metrics: MetricSettings = MetricSettings()
    drift: DriftSettings = DriftSettings()
    gan: GanSettings = GanSettings()
    freeze_after_events: int | None = Field(default=None, ge=0)  # stop learning there and only score

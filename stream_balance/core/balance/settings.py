"""Settings of balancing: what is balanced, how far, and the bounds that hold whatever the rates say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from stream_balance.core.records import RoomSettings

DEFAULT_TARGET_SHARE = 0.2


class BalanceSettings(RoomSettings):
    """What is balanced, how far, and the bounds that hold whatever the rates say."""

    strategy: str | None = None  # None = auto; or, where a model is named, smote_under
    target_share: float | None = Field(default=None, gt=0, lt=1)  # of the rare class; None = .2; .5 = equal classes
    copies_max: int = Field(default=50, ge=1)  # an example counts at most so often, synthetic rows included
    keep_min: float = Field(default=0.002, gt=0, le=1)  # a majority example is learned at least this often
    neighbours: PositiveInt = 5  # SMOTE interpolates towards one of so many; NearMiss measures the way to so many
    neighbour_rows_max: PositiveInt = 200  # neighbours of its own class are sought among so many of the newest rows
    minority_min: int = Field(default=2, ge=1)  # with fewer rows of the class to choose from, copies instead
    by_tier: bool = False  # keep rates, copies and offsets of hot and of cold items apart, each to the target share
    tier_min: PositiveInt = 20  # with fewer rows of the class in the tier, those of all tiers are used
    mixed_rows_max: PositiveInt = 1_000  # neighbours of any class are sought among so many of the newest rows
    refresh_rows: PositiveInt = 64  # those are gathered anew after so many more (by near_miss: 4 times)
    danger_neighbours: PositiveInt = 10  # borderline SMOTE: in danger where half of so many or more are of others
    edit_neighbours: PositiveInt = 3  # edited nearest neighbours: dropped unless all of so many are of the class
    near_miss_version: Literal[1, 2] = 1  # 1: near the nearest rare rows; 2: near even the farthest of them

    @property
    def target(self) -> float:
        """The target share that is asked for."""
        return DEFAULT_TARGET_SHARE if self.target_share is None else self.target_share

"""Settings of checkpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from stream_balance.core.records import RoomSettings

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class CheckpointSettings(RoomSettings):
    """Where checkpoints are kept, how often they are made, and what happens when they cannot be."""

    dir: Path | None = None  # None = no checkpoints: a restart begins again
    interval_s: PositiveFloat = 30.0  # between the starts of two checkpoints
    interval_events: PositiveInt = 1_000_000  # or so many records, whichever comes first
    keep: PositiveInt = 3  # the last ones; older ones are removed
    writer: Literal["fork", "inline"] = "fork"  # inline: the loop stands still while one is written
    write_max_s: PositiveFloat = 300.0  # a write that takes longer is given up
    failing_max_s: PositiveFloat = 900.0  # so long the service bears that none can be written, then it leaves
    stop_max_s: PositiveFloat = 8.0  # for the outputs and the last checkpoint of a clean stop
    journal_bytes_max: int = Field(default=64_000_000, ge=1_000)  # of merge decisions; at half of it one is made early
    fits_max: PositiveInt = 10_000  # requests of child processes that the fit journal remembers what became of

    hmac_key_file: Path | None = None  # sign checkpoints, and take only signed ones
    trusted_modules: tuple[str, ...] = ()  # whose classes may be in one, beside ours, River's and numpy's
    accept_versions: bool = False  # take one that another River, numpy or Python wrote

    @field_validator("trusted_modules")
    @classmethod
    def _are_modules(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _MODULE.fullmatch(name):
                raise ValueError(f"{name!r} is no module's name; expected for example 'shop_models.trees'")
        return names

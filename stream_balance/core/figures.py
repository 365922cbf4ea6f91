"""Figures: what every part of the report is made of. Undefined is null, never 0: NaN and infinity become null."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
Amount = int | float  # a count; of weights where the scope is faded


class Record(BaseModel):
    """Base of the report's parts: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

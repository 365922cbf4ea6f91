"""A model of somebody's own whose process is asked to stop (SIGTERM) while it learns its hundredth row."""

from __future__ import annotations

import os
import signal
from typing import Any

from river import linear_model

_rows: list[int] = []  # of all copies in this process: a second signal would end it at once


class Stopping(linear_model.LogisticRegression):
    """River's logistic regression."""

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn a row, and ask."""
        super().learn_one(x, y, w)
        _rows.append(1)
        if len(_rows) == 100:
            os.kill(os.getpid(), signal.SIGTERM)


def make() -> Stopping:
    """One that has learned nothing."""
    return Stopping()

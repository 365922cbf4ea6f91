"""A model of one's own, as `model.name` may name it: River's logistic regression on the numbers among the features, as
slow as the environment says.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from river.linear_model import LogisticRegression

NAME = f"{__name__}:classifier"
PAUSE = "STREAM_BALANCE_TEST_PAUSE_S"  # for each item scored


class SlowLogisticRegression(LogisticRegression):
    """The same figures, later."""

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        super().learn_one(_numbers(x), y, w)

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:
        threading.Event().wait(float(os.environ.get(PAUSE, "0")))
        scores: dict[Any, float] = super().predict_proba_one(_numbers(x))
        return scores


def _numbers(x: dict[Any, Any]) -> dict[Any, float]:
    return {name: value for name, value in x.items() if not isinstance(value, str)}


def classifier() -> SlowLogisticRegression:
    return SlowLogisticRegression()

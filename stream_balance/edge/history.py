"""History: how the figures of the live page came to be. In: each report and state, with its moment. Out: points.

Bounded: when `points_max` are there every second one goes, so that the whole run stays in sight, ever more coarsely.
Not saved: it is a picture for people, no part of any figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# name of the series -> where it stands in the report
SERIES: dict[str, str] = {
    "auc": "metrics.window.roc_auc",
    "auc_head": "metrics.tiers.head.roc_auc",
    "auc_tail": "metrics.tiers.tail.roc_auc",
    "ap": "metrics.window.average_precision",
    "ratio": "metrics.window.mean_probability_over_rate",
    "ece": "metrics.window.ece",
    "entropy": "metrics.window.normalised_entropy",
    "trained": "training.positive_share",
    "target": "training.target_share",
    "held": "examples.held",
    "matured": "examples.matured",
    "alarms_log_loss": "drift.counts.log_loss",
    "alarms_label_rate": "drift.counts.label_rate",
}

# Of fewer outcomes than this these figures say nothing, and leap so far that nothing else could be seen beside them.
POSITIVES_MIN = 20
NOISY_AT_FIRST = {
    **dict.fromkeys(("auc", "ap", "ratio", "ece", "entropy"), "metrics.window.positives"),
    "auc_head": "metrics.tiers.head.positives",
    "auc_tail": "metrics.tiers.tail.positives",
}

# the same, where there is a reference, or a generator
WHERE_THERE: dict[str, str] = {
    "lift_none": "lift.none.average_precision.value",
    "lift_none_error": "lift.none.average_precision.error",
    "lift_river": "lift.river_logistic.average_precision.value",
    "lift_river_error": "lift.river_logistic.average_precision.error",
    "gan_releases": "gan.releases",
}


def find(document: Any, path: str) -> Any:
    """What stands at a dotted path; None where nothing does."""
    for part in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(part)
    return document


class History:
    """Points of the series, oldest first.

    >>> history = History(points_max=4)
    >>> for second in range(6):
    ...     point = history.add({"examples": {"held": second}}, {}, float(second))
    >>> [point["t"] for point in history.points()]
    [0.0, 2.0, 4.0, 5.0]
    """

    def __init__(self, points_max: int = 400) -> None:
        self._points_max = points_max
        self._points: list[dict[str, float | None]] = []

    def add(self, report: Mapping[str, Any], state: Mapping[str, Any], at_s: float) -> dict[str, float | None]:
        """Note one report; return its point."""
        if len(self._points) >= self._points_max:
            self._points = self._points[::2]
        point: dict[str, float | None] = {"t": at_s}
        point |= {name: find(report, path) for name, path in (SERIES | WHERE_THERE).items()}
        for name, where in NOISY_AT_FIRST.items():
            if (find(report, where) or 0) < POSITIVES_MIN:
                point[name] = None
        rows, positives = find(report, "metrics.window.rows"), find(report, "metrics.window.positives")
        point["real"] = positives / rows if rows else None
        refusals = find(report, "gan.refusals")
        point["gan_refusals"] = None if refusals is None else sum(refusals.values())
        events = report.get("events") or {}
        point["events"] = events.get("search", 0) + events.get("purchase", 0)
        point["lag_s"] = max((state.get("lag_s") or {}).values(), default=None)
        self._points = [*self._points, point]  # a new list: a reader keeps the one it has
        return point

    def points(self) -> list[dict[str, float | None]]:
        """All of them."""
        return self._points

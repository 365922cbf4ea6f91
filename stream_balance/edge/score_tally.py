"""Score tally: what became of the requests to score, and how long they took. In: one call for each. Out: plain data.

Written by the HTTP thread alone; readers get copies.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, Literal

from stream_balance.edge.telemetry import Histogram

REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
Answer = Literal["scored", "refused", "busy"]


class ScoreTally:
    """Counts by answer; seconds from a request's first byte to the last of its answer, whatever that was.

    >>> tally = ScoreTally()
    >>> tally.count("scored")
    >>> tally.snapshot()["score_requests"]
    {'scored': 1, 'refused': 0, 'busy': 0}
    """

    def __init__(self) -> None:
        self._answers: dict[Answer, int] = {"scored": 0, "refused": 0, "busy": 0}
        self._seconds = Histogram(REQUEST_BUCKETS_S)

    def count(self, answer: Answer) -> None:
        """One request got this answer: scores, a refusal of what it asked, or no turn in time."""
        self._answers[answer] += 1

    def took(self, began: float) -> None:
        """A request whose first byte came at `began` (perf_counter) has been answered."""
        self._seconds.observe(perf_counter() - began)

    def snapshot(self) -> dict[str, Any]:
        """Everything so far."""
        return {"score_requests": dict(self._answers), "score_request_seconds": self._seconds.snapshot()}

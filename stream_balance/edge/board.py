"""Board: where the loop pins its latest report and the HTTP thread reads it. One writer, many readers, no shared state.

The loop calls `serve` at each turn; it makes a report only when a reader asks for a fresh one or the last is older than
`refresh_s`. Readers get immutable bytes. `progress` is what /health looks at: the loop's own pulse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from stream_balance.edge.history import History
from stream_balance.edge.scoring import Scoring


@dataclass(frozen=True, slots=True)
class Pinned:
    """One report: `document` as plain data, `state` of the service, and the moment (monotonic seconds) it was made."""

    document: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)
    made_at: float = 0.0


class Board:
    """The latest report, the loop's pulse, and the flags the outside may ask about.

    Promise: readers never block the loop; a reader waits at most its own time-out.
    """

    def __init__(
        self,
        *,
        refresh_s: float = 2.0,
        stall_s: float = 30.0,
        now: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._now = now
        self._wall = wall
        self.history = History()
        self._refresh_s = refresh_s
        self._stall_s = stall_s
        self._condition = threading.Condition()
        self._pinned: Pinned | None = None
        self.base = Pinned({})  # what had been counted when this process began: of a state that was saved
        self._wanted = False
        self._beat_at = now()
        self.ready = False
        self.open_pages: set[object] = set()  # live pages that listen; the HTTP thread's
        self.scoring: Scoring | None = None  # set once there is a model to ask
        self.ended = False
        self.trouble: str | None = None  # what is the matter outside, in a sentence; the loop turns all the same

    def beat(self) -> None:
        """The loop is alive; called at every turn."""
        self._beat_at = self._now()

    def stalled_s(self) -> float:
        """Seconds since the loop last turned; 0 once it has ended on purpose."""
        return 0.0 if self.ended else self._now() - self._beat_at

    def healthy(self) -> bool:
        """Whether the loop has turned within `stall_s`."""
        return self.stalled_s() <= self._stall_s

    def serve(self, make: Callable[[bool], tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Make and pin a report if one is due. `make(fresh)` returns (report document, service state)."""
        self.beat()
        wanted = self._wanted
        due = self._pinned is None or self._now() - self._pinned.made_at >= self._refresh_s
        if wanted or due:
            self.pin(*make(wanted))

    def pin(self, document: dict[str, Any], state: dict[str, Any]) -> None:
        """Pin a report and wake those who wait for one."""
        self.history.add(document, state, self._wall())
        with self._condition:
            self._pinned = Pinned(document, state, self._now())
            self._wanted = False
            self._condition.notify_all()

    def latest(self) -> Pinned | None:
        """The last report, however old."""
        return self._pinned

    def age_s(self) -> float | None:
        """Seconds since the last report was made; None before the first."""
        pinned = self._pinned
        return None if pinned is None else self._now() - pinned.made_at

    def fresh(self, timeout_s: float) -> Pinned | None:
        """A report made after this call, or the last one if the loop does not make one in time or has ended."""
        with self._condition:
            if self.ended:
                return self._pinned
            asked_at = self._now()
            self._wanted = True
            self._condition.wait_for(
                lambda: (
                    self.ended or (self._pinned is not None and self._pinned.made_at >= asked_at and not self._wanted)
                ),
                timeout_s,
            )
            return self._pinned

    def end(self) -> None:
        """The loop has left on purpose: the last report stays."""
        with self._condition:
            self.ended = True
            self._condition.notify_all()

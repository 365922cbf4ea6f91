"""Scoring on request: what the model says of a search that is not in the stream. In: its JSON. Out: scores and ranks.

Nothing is learned and nothing is counted in the core: the answer is the one that the same search would get if it came
next, and the state digest is the same before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from stream_balance.core.records import Floats, Search
from stream_balance.edge.codec import Codec
from stream_balance.edge.score_tally import ScoreTally
from stream_balance.edge.turn import Turn
from stream_balance.errors import BadRecord

NOBODY = "-"  # the user of a search that names none: nothing is known about it


class Scoring:
    """Reads the live state in its turn. `reached` gives event time (microseconds; None = no event yet) and version."""

    def __init__(
        self,
        turn: Turn,
        codec: Codec,
        classes: Sequence[str],
        look: Callable[[Search], tuple[Floats, Floats]],
        reached: Callable[[], tuple[int | None, int]],
    ) -> None:
        self.turn = turn
        self._codec = codec
        self._classes = tuple(classes)
        self._look = look
        self._reached = reached
        self.tally = ScoreTally()

    @property
    def body_bytes_max(self) -> int:
        """The largest request: a record's limit."""
        return self._codec.settings.record_bytes_max

    def read(self, body: bytes) -> Search:
        """The search in a request. `event_id`, `user_id` and `ts` may be left out. Raises BadRecord."""
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadRecord("not_json", f"request is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise BadRecord("wrong_type", "request is no object; expected a search event with its items")
        for item in fields["items"] if isinstance(fields.get("items"), list) else ():
            position = item.get("position") if isinstance(item, dict) else None
            if isinstance(position, float) and position.is_integer() and abs(position) <= 2**53:
                item["position"] = int(position)  # to a client's JSON 3.0 may be an integer
        reached_us, _ = self._reached()
        now_us = 0 if reached_us is None else reached_us + 1
        defaults = {"event_id": "request", "user_id": NOBODY, "ts": max(now_us / 1000, _year_2000_ms())}
        event = self._codec.parse_request(fields, defaults)
        if not isinstance(event, Search):
            raise BadRecord("unknown_type", "request is a purchase, expected a search event with its items")
        return event

    async def answer(self, search: Search, wait_s: float) -> dict[str, Any]:
        """Probability, threshold and rank of each item, best first among equals as shown. Raises turn.Busy."""
        async with self.turn.guest(wait_s):
            probability, threshold = self._look(search)
            _, version = self._reached()
        order = np.argsort(-probability.sum(axis=1), kind="stable")
        ranks = np.empty(len(order), dtype=int)
        ranks[order] = np.arange(1, len(order) + 1)
        binary = len(self._classes) == 1
        items = [
            {
                "item_id": item_id,
                "position": search.positions[i],
                "probability": row[0] if binary else dict(zip(self._classes, row, strict=True)),
                "threshold": at,
                "rank": rank,
            }
            for i, (item_id, row, at, rank) in enumerate(
                zip(search.item_ids, probability.tolist(), threshold.tolist(), ranks.tolist(), strict=True)
            )
        ]
        return {"schema": 1, "search_id": search.event_id, "model_version": version, "items": items}


def _year_2000_ms() -> float:
    return 946_684_800_000.0

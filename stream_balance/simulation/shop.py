"""Shop: a simulated shop whose true purchase probabilities are known. Out: JSON lines of search and purchase events.

Promise: the same settings and seed give the same bytes; events come in the total order; `items[].truth` is the exact
probability that this impression is bought within `window_s` of its search, given everything shown. Broken records are
extra lines: without them the log is the same. Unbounded in time, bounded in memory: what is kept is the world and the
purchases that are still to come.

What there is to learn: taste (a user's and an item's vectors), quality, price against its usual level, position, user.
What moves: season (demand of each category), prices, new items.

With a `rank` the loop is closed: the shop asks it for the score of each item, in a search event whose items all stand
on top, and shows them by falling score; what is bought, and so what is learned, depends on it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import orjson

from stream_balance.simulation.breakage import Breakage
from stream_balance.simulation.world import ShopSettings, Shown, World, ranked

__all__ = ["Rank", "Shop", "ShopSettings", "generate"]

Rank = Callable[[bytes], Sequence[float]]  # a search event to a score of each item

START_MS = 1_772_352_000_000  # 2026-03-01T08:00:00Z
_CALIBRATION_SEARCHES = 400


class Shop:
    """The shop's events as JSON lines without newlines, for ever.

    >>> first, again = (next(Shop(ShopSettings(), seed=7).events()) for _ in range(2))
    >>> first == again, first[:42]
    (True, b'{"schema":1,"event_id":"s-1","ts":"2026-03')
    """

    def __init__(self, settings: ShopSettings, seed: int, rank: Rank | None = None) -> None:
        self.settings = settings
        self._seed = seed
        self._rank = rank
        self._world = World(settings, np.random.default_rng([seed, 1]))
        z = math.log(settings.window_s / settings.delay_median_s) / settings.delay_sigma
        self.within_window = 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))  # share of purchases that come in time
        self._intercept = self._calibrate()

    def events(self) -> Iterator[bytes]:
        """Searches, purchases and broken records in order of time. Each call begins anew."""
        rng = np.random.default_rng([self._seed, 2])
        breakage = Breakage(self.settings.broken_share, self._seed)
        pending: list[tuple[int, str, str, str, str, float]] = []  # purchases to come, as a heap
        last_search: dict[str, str] = {}  # by user
        at_ms, searches, purchases = START_MS, 0, 0
        while True:
            while pending and pending[0][0] < at_ms:
                line = self._purchase(heapq.heappop(pending), last_search)
                yield line
                yield from breakage.after(line)
            searches += 1
            search_id = f"s-{searches}"
            shown = self._world.search((at_ms - START_MS) / 1000.0, rng)
            if self._rank is not None:
                on_top = [{**item, "position": 1} for item in shown.items]
                shown = ranked(shown, self._rank(_event(search_id, at_ms, shown, on_top)))
            p_ever = _sigmoid(self._intercept + shown.logits)
            last_search[shown.user_id] = search_id
            line = self._search(search_id, at_ms, shown, p_ever * self.within_window)
            yield line
            yield from breakage.after(line)
            for index in np.flatnonzero(rng.random(len(p_ever)) < p_ever):
                purchases += 1
                item_id, price = shown.items[index]["item_id"], shown.items[index]["price"]
                due_ms = at_ms + 1 + int(1000.0 * self._delay_s(rng))
                heapq.heappush(pending, (due_ms, f"p-{purchases}", search_id, shown.user_id, item_id, price))
            at_ms += 1 + int(rng.exponential(1000.0 * self.settings.search_gap_s))

    def hot_items(self) -> set[str]:
        """The most popular items, which hold half of what the shop shows by itself."""
        return self._world.hot_items()

    def _delay_s(self, rng: np.random.Generator) -> float:
        return float(self.settings.delay_median_s * math.exp(self.settings.delay_sigma * rng.standard_normal()))

    def _search(self, event_id: str, at_ms: int, shown: Shown, truth: np.ndarray) -> bytes:
        for item, probability in zip(shown.items, truth.tolist(), strict=True):
            item["truth"] = probability
        return _event(event_id, at_ms, shown, shown.items)

    def _purchase(self, due: tuple[int, str, str, str, str, float], last_search: dict[str, str]) -> bytes:
        """A purchase leaves its search unnamed only where the join must find the same one: it is the user's latest."""
        at_ms, event_id, search_id, user_id, item_id, price = due
        # a fixed share by number, so that no random draw hangs on how events interleave
        unnamed = int(event_id[2:]) * 0.6180339887 % 1.0 >= self.settings.search_id_share
        named = None if unnamed and last_search.get(user_id) == search_id else search_id
        fields = {"schema": 1, "event_id": event_id, "ts": _iso(at_ms), "user_id": user_id, "item_id": item_id}
        return orjson.dumps(fields | {"search_id": named, "price": price, "quantity": 1})

    def _calibrate(self) -> float:
        """The intercept at which the first hours' mean probability within the window is `positive_share`."""
        rng = np.random.default_rng([self._seed, 3])
        ahead_s = np.linspace(0.0, self.settings.season_s, _CALIBRATION_SEARCHES)
        logits = np.concatenate([self._world.search(float(at_s), rng).logits for at_s in ahead_s])
        low, high = -30.0, 30.0
        for _ in range(50):
            middle = (low + high) / 2
            too_many = float(_sigmoid(middle + logits).mean()) * self.within_window > self.settings.positive_share
            low, high = (low, middle) if too_many else (middle, high)
        return low


def generate(events: int, seed: int, settings: ShopSettings | None = None) -> Iterator[bytes]:
    """The first `events` lines of the shop, broken ones included."""
    return islice(Shop(settings or ShopSettings(), seed).events(), events)


def _event(event_id: str, at_ms: int, shown: Shown, items: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(
        {
            "schema": 1,
            "event_id": event_id,
            "ts": _iso(at_ms),
            "user_id": shown.user_id,
            "query": shown.query,
            "features": shown.features,
            "items": items,
        }
    )


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    made: np.ndarray = 1.0 / (1.0 + np.exp(-logits))
    return made

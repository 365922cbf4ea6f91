"""Joiner: holds scored searches until their labels are due, and gives them the purchases that belong to them.
In: Scored, Purchase, the watermark. Out: Examples. Bounded by `held_max` and `purchases_max`; counts what it drops.

Rules of residence
- An impression is (search, position). Its label is decided once, at maturity: watermark >= search.ts + window_s +
  disorder_max_s. It is the largest class among the purchases attributed to it, 0 if there are none.
- A purchase belongs to one search. With a `search_id`: to that one, if it showed the item and 0 <= dt < window_s, else
  to none. Without: to the latest search of the user that showed the item with 0 <= dt < window_s, ties to the greatest
  event_id. Every position of the item gets the label.
- A search that comes late and suits a purchase better takes it over. A label once matured is not recalled.
- Purchases and the ids of late searches are remembered until the watermark is window_s + disorder_max_s beyond their
  arrival; a held search is its own memory. What is remembered is not taken twice.
- `in == held + matured + dropped`, always. Overflow drops the oldest search, never guesses its labels.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from operator import attrgetter

from pydantic import PositiveFloat, PositiveInt

from stream_balance.core.held import Described, Packed, pack, unpack
from stream_balance.core.records import Event, Examples, Purchase, RoomSettings, Scored, Search

_BEGINNING_US = -(2**63)
_by_time = attrgetter("ts_us", "event_id")


class JoinSettings(RoomSettings):
    """The attribution window and the bounds of what waits in it."""

    window_s: PositiveFloat = 1800.0  # a purchase counts this long after its search
    held_max: PositiveInt = 5_000_000  # impressions; beyond it the oldest searches are dropped, counted, never guessed
    purchases_max: PositiveInt = 1_000_000  # remembered (and as many ids of late searches); beyond it the oldest is
    # forgotten: the label it gave stays, but it is no longer known to a late search or to a duplicate
    shared_max: PositiveInt = 100_000  # tuples of positions and ids that are held once for all searches with equal ones


@dataclass(slots=True)
class JoinCounts:
    """Counters, in impressions where not said otherwise. `in_ == held + matured + sum(dropped.values())`."""

    in_: int = 0
    held: int = 0
    matured: int = 0
    positive: int = 0  # matured with a label other than 0
    label_known: int = 0  # matured, of a search that came late: a purchase could have been seen when it was scored
    purchases: int = 0  # purchases taken
    orphans: int = 0  # purchases without a search when the watermark passed them; some find one later
    late_purchases: int = 0  # purchases that came behind the watermark
    forgotten: int = 0  # purchases and ids of late searches that left memory by overflow
    duplicate_search: int = 0  # searches ignored
    duplicate_purchase: int = 0  # purchases ignored
    dropped: dict[str, int] = field(default_factory=lambda: {"overflow": 0})


class _Outcome:
    """A remembered purchase and the search it belongs to now, if any."""

    __slots__ = ("best", "expires_us", "purchase")

    def __init__(self, purchase: Purchase, expires_us: int) -> None:
        self.purchase = purchase
        self.expires_us = expires_us
        self.best: tuple[int, str] | None = None  # (ts_us, event_id) of the search


class Joiner:
    """Scored searches waiting for their labels.

    The pipeline calls at each event: `mature(watermark)`, then `is_duplicate`, then `hold` or `match`.

    >>> from stream_balance.testing import make_purchase, make_scored
    >>> joiner = Joiner(JoinSettings(window_s=60))
    >>> joiner.hold(make_scored(items=["i1", "i2"], ts=9))
    >>> joiner.match(make_purchase(item_id="i1", ts=10))
    >>> joiner.mature(68_999_999), [examples.labels for examples in joiner.mature(69_000_000)]
    ([], [(1, 0)])
    """

    def __init__(self, settings: JoinSettings, disorder_max_s: float = 0.0) -> None:
        self._window_us = round(settings.window_s * 1e6)
        self._disorder_us = round(disorder_max_s * 1e6)
        self._due_us = self._window_us + self._disorder_us
        self._held_max = settings.held_max
        self._purchases_max = settings.purchases_max
        self._watermark_us = _BEGINNING_US
        self.counts = JoinCounts()
        self._bytes = 0
        # Held searches. No object of ours per search: the memory of millions of them is what bounds this room.
        self._by_id: dict[str, Scored] = {}
        self._by_user: dict[str, Scored | list[Scored]] = {}  # a list is sorted by (ts, event_id)
        self._queue: deque[Scored] = deque()  # in order of ts
        self._late: list[tuple[int, int, Scored]] = []  # heap of those that came out of that order: (ts, arrival, .)
        self._arrivals = 0
        self._late_ids: dict[str, int] = {}  # id of a late search -> watermark at which it is forgotten
        # Purchases: few beside the searches.
        self._outcomes: dict[str, _Outcome] = {}  # by event_id, in order of arrival and of expiry
        self._asked: dict[str, list[_Outcome]] = {}  # those with a search_id, by it
        self._buyers: dict[str, dict[str, list[_Outcome]]] = {}  # the others, by user and item
        self._waiting: list[tuple[int, str]] = []  # heap of (ts, event_id) not yet judged orphans
        self._bought: dict[str, list[_Outcome]] = {}  # by held search
        self._known: dict[str, tuple[bool, ...]] = {}  # by held search

    def is_duplicate(self, event: Event) -> bool:
        """Whether an event of this id is still remembered; counted if so. Such an event must not be scored or taken."""
        if isinstance(event, Search):
            if event.event_id in self._by_id or event.event_id in self._late_ids:
                self.counts.duplicate_search += 1
                return True
        elif event.event_id in self._outcomes:
            self.counts.duplicate_purchase += 1
            return True
        return False

    def held_bytes(self) -> int:
        """Estimate of the memory of held searches, without the strings of item and user ids (shared)."""
        return self._bytes

    def due_us(self) -> int | None:
        """The watermark at which the next search matures; None when nothing is held."""
        first = self._queue[0].ts_us if self._queue else None
        if self._late and (first is None or self._late[0][0] < first):
            first = self._late[0][0]
        return None if first is None else first + self._due_us

    def hold(self, scored: Scored) -> None:
        """Take a search just scored; purchases that were seen before it and suit it become its own."""
        event_id, ts_us, n = scored.event_id, scored.ts_us, len(scored.item_ids)
        assert event_id not in self._by_id, f"search {event_id!r} is held already"
        if ts_us < self._watermark_us:
            # All of it, bought or not: leaving out what was bought alone would bend every figure of the late ones.
            self._known[event_id] = (True,) * n
            self._late_ids[event_id] = self._watermark_us + self._due_us
            if len(self._late_ids) > self._purchases_max:
                del self._late_ids[next(iter(self._late_ids))]
                self.counts.forgotten += 1
        else:
            self._watermark_us = ts_us
        self._by_id[event_id] = scored
        others = self._by_user.get(scored.user_id)
        if others is None:
            self._by_user[scored.user_id] = scored
        elif isinstance(others, list):
            insort(others, scored, key=_by_time)
        else:
            self._by_user[scored.user_id] = sorted((others, scored), key=_by_time)
        if self._queue and ts_us < self._queue[-1].ts_us:
            self._arrivals += 1
            heapq.heappush(self._late, (ts_us, self._arrivals, scored))
        else:
            self._queue.append(scored)
        counts = self.counts
        counts.in_ += n
        counts.held += n
        self._bytes += _size(scored)
        if self._outcomes:
            self._claim(scored)
        while counts.held > self._held_max:
            oldest = self._pop()
            counts.dropped["overflow"] += len(oldest.item_ids)
            self._bought.pop(oldest.event_id, None)
            self._known.pop(oldest.event_id, None)

    def match(self, purchase: Purchase) -> None:
        """Take a purchase and attribute it to a held search, or keep it for one that may come late."""
        counts = self.counts
        counts.purchases += 1
        if purchase.ts_us < self._watermark_us:
            counts.late_purchases += 1
        else:
            self._watermark_us = purchase.ts_us
        outcome = _Outcome(purchase, self._watermark_us + self._due_us)
        self._outcomes[purchase.event_id] = outcome
        if purchase.search_id is not None:
            self._asked.setdefault(purchase.search_id, []).append(outcome)
        else:
            self._buyers.setdefault(purchase.user_id, {}).setdefault(purchase.item_id, []).append(outcome)
        found = self._find(purchase)
        if found is not None:
            outcome.best = _by_time(found)
            self._bought.setdefault(found.event_id, []).append(outcome)
        else:
            heapq.heappush(self._waiting, (purchase.ts_us, purchase.event_id))
        if len(self._waiting) > self._purchases_max:
            self._judge()
        if len(self._outcomes) > self._purchases_max:
            counts.forgotten += 1
            self._forget(next(iter(self._outcomes)))

    def mature(self, watermark_us: int) -> list[Examples]:
        """The searches that are due, with their labels, in (due time, arrival) order. Event time only moves forward."""
        watermark_us = self._watermark_us = max(watermark_us, self._watermark_us)
        due_us = watermark_us - self._due_us  # those with ts <= it
        matured = []
        while (self._queue and self._queue[0].ts_us <= due_us) or (self._late and self._late[0][0] <= due_us):
            matured.append(self._label(self._pop()))
        if self._outcomes or self._late_ids:
            self._expire(watermark_us)
        return matured

    def _label(self, scored: Scored) -> Examples:
        n = len(scored.item_ids)
        counts = self.counts
        counts.matured += n
        labels: tuple[int, ...] = (0,) * n
        revenue = (0.0,) * n
        outcomes = self._bought.pop(scored.event_id, None) if self._bought else None
        if outcomes:
            classes: dict[str, int] = {}
            paid: dict[str, float] = {}
            for outcome in outcomes:
                purchase = outcome.purchase
                classes[purchase.item_id] = max(classes.get(purchase.item_id, 0), purchase.label)
                amount = purchase.quantity * purchase.price if purchase.price is not None else 0.0
                paid[purchase.item_id] = paid.get(purchase.item_id, 0.0) + amount
            labels = tuple(classes.get(item, 0) for item in scored.item_ids)
            counts.positive += n - labels.count(0)
            # An item shown twice was bought once: its first position has the revenue.
            revenue = tuple(paid.pop(item, 0.0) for item in scored.item_ids)
        known = self._known.pop(scored.event_id, None) if self._known else None
        if known is None:
            known = (False,) * n
        else:
            counts.label_known += sum(known)
        return Examples(scored, labels, known, revenue)

    def _pop(self) -> Scored:
        """Remove the oldest held search; of equal times the first to arrive: one out of order came after the others."""
        if self._late and (not self._queue or self._late[0][0] < self._queue[0].ts_us):
            scored = heapq.heappop(self._late)[2]
        else:
            scored = self._queue.popleft()
        del self._by_id[scored.event_id]
        others = self._by_user[scored.user_id]
        if isinstance(others, list):
            del others[bisect_left(others, _by_time(scored), key=_by_time)]
            if len(others) == 1:
                self._by_user[scored.user_id] = others[0]
        else:
            del self._by_user[scored.user_id]
        self.counts.held -= len(scored.item_ids)
        self._bytes -= _size(scored)
        return scored

    def _find(self, purchase: Purchase) -> Scored | None:
        """The held search that a purchase belongs to."""
        if purchase.search_id is not None:
            asked = self._by_id.get(purchase.search_id)
            return asked if asked is not None and self._suits(asked, purchase) else None
        held = self._by_user.get(purchase.user_id)
        if held is None:
            return None
        if not isinstance(held, list):
            return held if self._suits(held, purchase) else None
        after = bisect_left(held, purchase.ts_us + 1, key=attrgetter("ts_us"))
        for i in range(after - 1, -1, -1):
            if purchase.ts_us - held[i].ts_us >= self._window_us:
                return None
            if purchase.item_id in held[i].item_ids:
                return held[i]
        return None

    def _suits(self, scored: Scored, purchase: Purchase) -> bool:
        return 0 <= purchase.ts_us - scored.ts_us < self._window_us and purchase.item_id in scored.item_ids

    def _claim(self, scored: Scored) -> None:
        """Give a new search the remembered purchases that suit it better than the search they belong to."""
        key = _by_time(scored)
        bought: dict[str, None] = {}
        for outcome in self._asked.get(scored.event_id, ()):
            if self._suits(scored, outcome.purchase):
                self._take_over(outcome, key)
                bought[outcome.purchase.item_id] = None
        items = self._buyers.get(scored.user_id)
        if items is not None:
            for item in dict.fromkeys(scored.item_ids):
                for outcome in items.get(item, ()):
                    better = outcome.best is None or key > outcome.best
                    if better and self._suits(scored, outcome.purchase):
                        self._take_over(outcome, key)
                        bought[item] = None
        if bought:
            self._known[scored.event_id] = (True,) * len(scored.item_ids)

    def _take_over(self, outcome: _Outcome, key: tuple[int, str]) -> None:
        if outcome.best is not None:
            former = self._bought.get(outcome.best[1])
            if former is not None and outcome in former:  # else it has matured, and its label stays
                former.remove(outcome)
                if not former:
                    del self._bought[outcome.best[1]]
        outcome.best = key
        self._bought.setdefault(key[1], []).append(outcome)

    def _expire(self, watermark_us: int) -> None:
        """Judge the purchases that the watermark has passed; forget what is older than the window."""
        while self._waiting and self._waiting[0][0] + self._disorder_us < watermark_us:
            self._judge()
        while self._outcomes:
            event_id, oldest = next(iter(self._outcomes.items()))
            if oldest.expires_us > watermark_us:
                break
            self._forget(event_id)
        while self._late_ids:
            event_id, expires_us = next(iter(self._late_ids.items()))
            if expires_us > watermark_us:
                break
            del self._late_ids[event_id]

    def _judge(self) -> None:
        """Count the oldest waiting purchase as an orphan, unless a search came for it."""
        outcome = self._outcomes.get(heapq.heappop(self._waiting)[1])
        if outcome is None or outcome.best is None:
            self.counts.orphans += 1

    def _forget(self, event_id: str) -> None:
        outcome = self._outcomes.pop(event_id)
        purchase = outcome.purchase
        if purchase.search_id is not None:
            _remove(self._asked, purchase.search_id, outcome)
        else:
            items = self._buyers[purchase.user_id]
            _remove(items, purchase.item_id, outcome)
            if not items:
                del self._buyers[purchase.user_id]

    def __getstate__(self) -> tuple[dict[str, object], Packed, list[tuple[int, int]]]:
        """What is saved: the held searches as columns, the late ones last; the indexes over them are made anew."""
        made = ("_by_id", "_by_user", "_queue", "_late")
        rest = {name: value for name, value in self.__dict__.items() if name not in made}
        held = [*self._queue, *(scored for _, _, scored in self._late)]
        return rest, pack(held), [(ts_us, arrival) for ts_us, arrival, _ in self._late]

    def __setstate__(self, state: tuple[dict[str, object], Packed, list[tuple[int, int]]]) -> None:
        rest, packed, late = state
        self.__dict__.update(rest)
        held = unpack(packed)
        in_order = len(held) - len(late)
        self._queue = deque(held[:in_order])
        self._late = [(*key, scored) for key, scored in zip(late, held[in_order:], strict=True)]
        self._by_id = {scored.event_id: scored for scored in held}
        self._by_user = {}
        for scored in held:
            others = self._by_user.setdefault(scored.user_id, scored)
            if isinstance(others, list):
                insort(others, scored, key=_by_time)
            elif others is not scored:
                self._by_user[scored.user_id] = sorted((others, scored), key=_by_time)

    def digest_state(self) -> object:
        """Everything that steers what comes next: held searches by (ts, arrival), purchases by arrival."""
        late = [scored for _, _, scored in sorted(self._late, key=lambda entry: entry[:2])]
        return {
            "watermark_us": self._watermark_us,
            "counts": [getattr(self.counts, name) for name in JoinCounts.__slots__],
            "held": Described(self._queue),
            "late": Described(late),
            "late_ids": list(self._late_ids.items()),
            "outcomes": [(event_id, o.expires_us, o.best) for event_id, o in self._outcomes.items()],
            "bought": sorted((key, [o.purchase.event_id for o in found]) for key, found in self._bought.items()),
            "known": sorted(self._known.items()),
            "waiting": sorted(self._waiting),
        }


def _remove(index: dict[str, list[_Outcome]], key: str, outcome: _Outcome) -> None:
    index[key].remove(outcome)
    if not index[key]:
        del index[key]


def _size(scored: Scored) -> int:
    # The block, two pointers per item, and what a search costs in objects and dict entries whatever its length.
    return len(scored.block) + len(scored.said) + 16 * len(scored.item_ids) + 350

"""The join, the slow way: plain lists, every question answered by looking at everything. A yardstick for `Joiner`."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_balance.core.records import Purchase, Scored


@dataclass
class Taken:
    """A purchase, and every search that could claim it: held when it came, or come while it was remembered."""

    purchase: Purchase
    forgotten_us: int
    candidates: list[Scored] = field(default_factory=list)


class JoinOracle:
    """Same verbs as `Joiner`, O(n^2), no bounds. `matured` is (event_id, labels, known) in order."""

    def __init__(self, window_us: int, disorder_us: int) -> None:
        self.window_us = window_us
        self.due_after_us = window_us + disorder_us
        self.disorder_us = disorder_us
        self.watermark_us = -(2**63)
        self.held: list[Scored] = []  # in order of arrival
        self.purchases: list[Taken] = []
        self.ids: list[tuple[str, str, int]] = []  # kind, id, forgotten at
        self.known: dict[str, tuple[bool, ...]] = {}
        self.duplicates = 0
        self.orphans = 0
        self.judged: list[Taken] = []

    def suits(self, scored: Scored, purchase: Purchase) -> bool:
        if purchase.search_id is not None:
            asked = purchase.search_id == scored.event_id
        else:
            asked = purchase.user_id == scored.user_id
        dt = purchase.ts_us - scored.ts_us
        return asked and purchase.item_id in scored.item_ids and 0 <= dt < self.window_us

    def owner(self, taken: Taken) -> Scored | None:
        fit = [scored for scored in taken.candidates if self.suits(scored, taken.purchase)]
        return max(fit, key=lambda scored: (scored.ts_us, scored.event_id), default=None)

    def is_duplicate(self, event: Scored | Purchase) -> bool:
        kind = "p" if isinstance(event, Purchase) else "s"
        found = any(
            (kind, event.event_id) == (k, i) and self.watermark_us < forgotten_us for k, i, forgotten_us in self.ids
        )
        self.duplicates += found
        return found

    def _remember(self, kind: str, event: Scored | Purchase) -> int:
        self.watermark_us = max(self.watermark_us, event.ts_us)
        forgotten_us = self.watermark_us + self.due_after_us
        self.ids.append((kind, event.event_id, forgotten_us))
        return forgotten_us

    def hold(self, scored: Scored) -> None:
        late = scored.ts_us < self.watermark_us
        self._remember("s", scored)
        for taken in self.purchases:
            if self.watermark_us < taken.forgotten_us:
                taken.candidates.append(scored)
        own = {taken.purchase.item_id for taken in self.purchases if self.owner(taken) is scored}
        self.known[scored.event_id] = (late or bool(own),) * len(scored.item_ids)
        self.held.append(scored)

    def match(self, purchase: Purchase) -> None:
        self.purchases.append(Taken(purchase, self._remember("p", purchase), list(self.held)))

    def mature(self, watermark_us: int) -> list[tuple[str, tuple[int, ...], tuple[bool, ...]]]:
        self.watermark_us = max(self.watermark_us, watermark_us)
        due = [scored for scored in self.held if scored.ts_us + self.due_after_us <= self.watermark_us]
        self.held = [scored for scored in self.held if scored not in due]
        for taken in self.purchases:
            if taken not in self.judged and taken.purchase.ts_us + self.disorder_us < self.watermark_us:
                self.judged.append(taken)
                self.orphans += self.owner(taken) is None
        return [
            (scored.event_id, self._labels(scored), self.known[scored.event_id])
            for scored in sorted(due, key=lambda scored: scored.ts_us)  # stable: arrival breaks ties
        ]

    def _labels(self, scored: Scored) -> tuple[int, ...]:
        own = [taken.purchase for taken in self.purchases if self.owner(taken) is scored]
        return tuple(max([p.label for p in own if p.item_id == item], default=0) for item in scored.item_ids)

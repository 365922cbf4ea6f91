"""Pool: the rows of the adopted releases, by class. In: Release. Out: generated rows to learn, in their turn.

A newer release takes the place of the one before; one that is too old leaves. Without a release there are no rows: the
strategy then learns copies, the next rung of the ladder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_balance.core.gan_report import GanPool
from stream_balance.core.records import Floats
from stream_balance.core.synthesis import Release


@dataclass(slots=True)
class _Adopted:
    release: Release
    asked_us: int  # event time of the newest rows it has learned from
    next: int = 0
    drawn: int = 0


class Pool:
    """Adopted releases, at most one a class. Rows are drawn in turn, so that each is learned about equally often.

    >>> pool = Pool(release_age_s=60)
    >>> pool.draw(1, 2, 3).shape
    (0, 3)
    """

    def __init__(self, release_age_s: float) -> None:
        self._age_us = round(release_age_s * 1e6)
        self._adopted: dict[int, _Adopted] = {}
        self.expired = 0

    def adopt(self, release: Release, asked_us: int) -> None:
        """From now on this release serves its class."""
        self._adopted[release.label] = _Adopted(release, asked_us)

    def expire(self, now_us: int) -> None:
        """Let go what was asked for longer ago than a release may be old."""
        for label in [c for c, each in self._adopted.items() if now_us - each.asked_us > self._age_us]:
            del self._adopted[label]
            self.expired += 1

    def release(self, label: int) -> Release | None:
        """What serves a class now."""
        adopted = self._adopted.get(label)
        return None if adopted is None else adopted.release

    def shares(self) -> dict[int, float]:
        """By class with a release: the share of all samples that its generated rows may have."""
        return {label: each.release.vetting.share for label, each in self._adopted.items()}

    def draw(self, label: int, wanted: int, width: int) -> Floats:
        """The next `wanted` rows of a class, (wanted, width); none without a release. New columns are absent."""
        adopted = self._adopted.get(label)
        if adopted is None or wanted <= 0:
            return np.empty((0, width))
        rows = adopted.release.rows
        taken = rows.take(np.arange(adopted.next, adopted.next + wanted) % len(rows), axis=0)
        adopted.next = (adopted.next + wanted) % len(rows)
        adopted.drawn += wanted
        if taken.shape[1] >= width:
            return taken[:, :width]
        wide = np.full((wanted, width), np.nan)
        wide[:, : taken.shape[1]] = taken
        return wide

    def metrics(self, now_us: int, class_names: Sequence[str]) -> dict[str, GanPool]:
        """By class: maker, rows, share, age in event time, rows drawn so far."""
        return {
            class_names[label]: GanPool(
                maker=each.release.vetting.maker, rows=len(each.release.rows), share=each.release.vetting.share,
                age_s=(now_us - each.asked_us) / 1e6, drawn=each.drawn,
            )
            for label, each in sorted(self._adopted.items())
        }  # fmt: skip

    def digest_state(self) -> object:
        """The releases' rows, ages and places."""
        return [
            self.expired,
            [[c, each.release.rows, each.asked_us, each.next, each.drawn] for c, each in sorted(self._adopted.items())],
        ]

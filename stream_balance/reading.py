"""Reading: the records of a log or table from where its checkpoint stands, saved as it goes. In: a reader, an open
folder. Out: the records still to be done. Its place is the number of records done; those before it are read and
skipped, and the last of them must be the one it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.keeper import Snapshot
from stream_balance.errors import SettingsError
from stream_balance.saving import Saving

T = TypeVar("T")
TURN_RECORDS = 64


class SavedReading(Generic[T]):
    """Iterate over it once, finish each record before asking for the next, then call `finish`.

    `content(record)` is the record as bytes; `flush` makes safe what was kept beside the state.
    """

    def __init__(
        self,
        records: Iterable[T],
        saving: Saving,
        pipeline: Pipeline,
        content: Callable[[T], bytes],
        *,
        flush: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = iter(records)
        self._saving = saving
        self._pipeline = pipeline
        self._content = content
        self._flush = flush
        self._now_s = now_s
        self._last: T | None = None
        self.done = 0

    def __iter__(self) -> Iterator[T]:
        self._skip()
        keeper = self._saving.keeper
        for record in self._records:
            self.done += 1
            self._last = record
            yield record
            keeper.note(1)
            if self.done % TURN_RECORDS == 0:
                keeper.settled()
                if keeper.is_due():
                    keeper.start(self._snapshot())

    def _skip(self) -> None:
        position = self._saving.position
        if position is None:
            return
        for record in self._records:
            self.done += 1
            self._last = record
            if self.done == position["records"]:
                break
        if self.done != position["records"] or self._sum() != position["last"]:
            raise SettingsError(
                f"the input is not the one that was saved: record {position['records']} of it is another or missing. "
                "Name the same files in the same order, or an empty folder to begin again."
            )

    def _sum(self) -> str | None:
        return None if self._last is None else hashlib.sha256(self._content(self._last)).hexdigest()

    def _snapshot(self) -> Snapshot:
        self._flush()
        counts = {**self._pipeline.events, "impressions": self._pipeline.examples_in}
        position: dict[str, Any] = {"records": self.done, "last": self._sum()}
        return Snapshot({"pipeline": self._pipeline}, position, counts)

    def finish(self) -> None:
        """Save what has been done. Raises WorldError if that fails; the last good one stays."""
        write_max_s = self._saving.settings.write_max_s
        self._saving.keeper.finish(self._snapshot, lambda: None, self._now_s() + write_max_s)

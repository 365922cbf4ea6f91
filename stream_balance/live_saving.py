"""Live saving: what `run` does beside reading and scoring so that a kill costs nothing. In: the loop's turns. Out: the
source opened where the checkpoint stands; decisions journaled; checkpoints begun and put into place, offsets committed.

The state is saved beside the loop. A checkpoint counts once the outputs before it are acknowledged; its offsets are
committed after that, as a courtesy: a restart goes by the checkpoint. A merge decision that times did not force is
journaled before anything made of it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from stream_balance.edge.checkpoint.keeper import Snapshot
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import SettingsError, WorldError
from stream_balance.saving import Saving
from stream_balance.service import Session

COMMIT_S = 5.0  # the loop waits for it; what could not be committed is with the next checkpoint


def _name(lane: LaneKey) -> str:
    return f"{lane[0]}/{lane[1]}"


def _lane(name: str) -> LaneKey:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def named(positions: Mapping[LaneKey, int]) -> dict[str, int]:
    """Positions as a checkpoint keeps them."""
    return {_name(lane): offset for lane, offset in positions.items()}


def lanes(named_positions: Mapping[str, int]) -> dict[LaneKey, int]:
    """Positions as the source knows them.

    >>> lanes({"search-events/3": 7})
    {('search-events', 3): 7}
    """
    return {_lane(name): offset for name, offset in named_positions.items()}


def as_lanes(plan: list[dict[str, int]]) -> Iterator[dict[LaneKey, int]]:
    """Entries of a journal as the source knows them; `plan` is empty in the end, for there may be a million."""
    lane_of = cache(_lane)  # each key once in memory
    plan.reverse()
    while plan:
        yield {lane_of(name): offset for name, offset in plan.pop().items()}


def _as_named(plan: list[Mapping[LaneKey, int]]) -> list[dict[str, int]]:
    """The way back."""
    name_of = cache(_name)
    return [{name_of(lane): offset for lane, offset in entry.items()} for entry in plan]


class LiveSaving:
    """Saves one live session. `patience_s`: how long the broker may be without records that we once read; `before` is
    called before each snapshot.
    """

    def __init__(
        self,
        saving: Saving,
        source: KafkaSource,
        sink: KafkaSink,
        session: Session,
        *,
        patience_s: float,
        now_s: Callable[[], float],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._saving = saving
        self._keeper = saving.keeper
        self._source = source
        self._sink = sink
        self._session = session
        self._patience_s = patience_s
        self._now_s = now_s
        self._before = before
        self._unforced = 0  # merge decisions that have been journaled
        self._missing_since_s: float | None = None

    @property
    def afresh(self) -> bool:
        """There was no checkpoint."""
        return self._saving.loaded is None

    def open(self) -> None:
        """Begin where the checkpoint stands, and take the order that was taken after it; or at the beginning."""
        loaded = self._saving.loaded
        if loaded is None:
            self._source.open()
            # A first one before any event, so that there is always one that the journal goes on from.
            self._keeper.finish(self._snapshot, self._session.serve, self._now_s() + self._saving.settings.write_max_s)
            return
        saved = lanes(loaded.header.position["offsets"])
        if self._session.bad_share is not None:
            self._session.bad_share.restore(loaded.state.get("bad_share", ()))
        self._source.open(saved, loaded.header.position["topic_ids"])
        self._follow([*as_lanes(loaded.state["plan"]), *as_lanes(self._saving.plan)], saved)

    def _follow(self, plan: list[dict[LaneKey, int]], saved: Mapping[LaneKey, int]) -> None:
        began = self._source.positions()
        if any(began.get(lane) != offset for lane, offset in saved.items()):
            # Only with kafka.accept_data_loss: else the source has refused.
            self._session.log.warning("order not repeated", journal_entries=len(plan), why="records are gone")
            return
        unknown = {lane[0] for entry in plan for lane in entry if lane not in began}
        if unknown:
            raise SettingsError(
                f"the merge journal speaks of partitions of {sorted(unknown)[0]!r} that are not there. Set "
                "kafka.search_topic and kafka.purchase_topic as they were, or name an empty checkpoint.dir."
            )
        self._source.follow(plan)

    def _snapshot(self) -> Snapshot:
        pipeline, source = self._session.pipeline, self._source
        counts = {**pipeline.events, "impressions": pipeline.examples_in}
        bad = self._session.bad_share
        state = {
            "pipeline": pipeline,
            "plan": _as_named(source.plan()),
            "bad_share": [] if bad is None else bad.state(),
        }
        position = {"offsets": named(source.positions()), "topic_ids": source.topic_ids()}
        return Snapshot(state, position, counts)

    def decided(self) -> None:
        """The source has handed out records, none of them taken yet: what it decided is safe on return."""
        if self._source.unforced > self._unforced:
            self._session.telemetry.enter("checkpoint")
            self._keeper.note_decision(self._source.positions())
            self._unforced = self._source.unforced
        missing = self._source.missing()
        if not missing:
            self._missing_since_s = None
        elif self._missing_since_s is None:
            self._missing_since_s = self._now_s()
        elif self._now_s() - self._missing_since_s > self._patience_s:
            (topic, partition), end, offset = missing[0]
            raise WorldError(
                f"{topic}[{partition}] ends at {end}, but was once read up to {offset}: was the topic created anew? "
                "Begin again with an empty checkpoint.dir."
            )

    def turn(self, records: int) -> None:
        """So many records were taken: put into place what is ready, begin what is due."""
        keeper, telemetry = self._keeper, self._session.telemetry
        keeper.note(records)
        position = keeper.settled()
        if position is not None:
            self._session.log.debug("checkpoint in place", **self._told(position))
            telemetry.enter("flush")
            self._source.commit(lanes(position["offsets"]), COMMIT_S)
        if keeper.is_due():
            telemetry.enter("checkpoint")
            self._before()
            mark = self._sink.mark()
            keeper.start(self._snapshot(), lambda: self._sink.is_acknowledged(mark))
        self._session.state["checkpoint"] = keeper.state()

    def trouble(self) -> str | None:
        """What is the matter with the folder, in a sentence; None = nothing."""
        return self._keeper.trouble()

    def end(self, until_s: float, within_s: float | None = None) -> None:
        """Everything handed out is acknowledged: save it; raises WorldError if that is not done by then. Then
        commit, if Kafka takes it within so many seconds.
        """
        self._session.telemetry.enter("checkpoint")
        self._before()
        position = self._keeper.finish(self._snapshot, self._session.serve, until_s)
        self._session.state["checkpoint"] = self._keeper.state()
        self._session.log.info("checkpoint in place", **self._told(position))
        if not self._source.commit(lanes(position["offsets"]), within_s):
            self._session.log.warning("offsets not committed", so="lag graphs are behind; a restart is not")

    def _told(self, position: Mapping[str, Any]) -> dict[str, Any]:
        """What a log line says of the last checkpoint."""
        last = self._keeper.last
        return {
            "checkpoint": self._keeper.latest, "bytes": last.bytes, "write_s": round(last.seconds, 3),
            "next_offsets": position["offsets"],
        }  # fmt: skip

"""Live: the loop around Kafka. Polls, pushes, publishes, saves; what is committed has been done.

Without checkpoints the outputs are flushed, then the offsets committed; with them see `live_saving`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import orjson

from stream_balance.core.records import Scored, Search
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import LaneKey, Polled
from stream_balance.edge.portion import Portion
from stream_balance.edge.telemetry import LagClock
from stream_balance.errors import BadRecord, WorldError
from stream_balance.live_recording import LiveRecording, records_in
from stream_balance.live_saving import LiveSaving
from stream_balance.saving import Saving
from stream_balance.service import Session

LAG_EVERY_S = 0.5
TURN_S = 0.5  # how long a turn should take at most
CLOSE_S = 0.5  # what could not be sent has been waited for already
STOP_FLUSH_S = 4.0  # how long a stop waits for outputs when the broker is away
STOP_COMMIT_S = 1.0  # and for its offsets to be taken


class KafkaDeadLetters:
    """Bad records go to `<topic>.dead` with their original bytes."""

    def __init__(self, sink: KafkaSink, now: Callable[[], float] = time.time) -> None:
        self._sink = sink
        self._now = now

    def keep(self, record: Polled, bad: BadRecord) -> None:
        """Hand one record to the sink; it is acknowledged before the offsets pass it."""
        self._sink.dead_letter(record, bad.reason, str(bad), int(self._now() * 1e6))


def prediction_publisher(sink: KafkaSink, classes: Sequence[str]) -> Callable[[Scored], None]:
    """Publishes each scored search as one message, keyed by user; ids are deterministic, so a repeat shows."""
    binary = len(classes) == 1

    def publish(scored: Scored) -> None:
        probability, threshold = scored.probability.tolist(), scored.threshold.tolist()
        items = [
            {
                "item_id": item_id,
                "position": scored.positions[i],
                "prediction_id": f"{scored.event_id}/{i}",
                "probability": probability[i][0] if binary else dict(zip(classes, probability[i], strict=True)),
                "threshold": threshold[i],
            }
            for i, item_id in enumerate(scored.item_ids)
        ]
        message = {
            "schema": 1,
            "search_id": scored.event_id,
            "user_id": scored.user_id,
            "ts": scored.ts_us // 1000,
            "model_version": scored.model_version,
            "items": items,
        }
        sink.publish_prediction(scored.user_id.encode(), orjson.dumps(message))

    return publish


class LiveLoop:
    """Poll, take, serve, settle; until the stop flag is set, or caught up if asked. `saving` lets it go on after."""

    def __init__(
        self,
        source: KafkaSource,
        sink: KafkaSink,
        session: Session,
        stop: threading.Event,
        *,
        saving: Saving | None = None,
        recorded: LiveRecording | None = None,
        commit_s: float = 1.0,
        flush_max_s: float = 60.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._saving: LiveSaving | None = None
        if saving is not None:
            before = self._settle_recording
            self._saving = LiveSaving(saving, source, sink, session, patience_s=flush_max_s, now_s=now_s, before=before)
        self._recorded = recorded
        self._stop_max_s = saving.settings.stop_max_s if saving else STOP_FLUSH_S
        self._write_max_s = saving.settings.write_max_s if saving else STOP_FLUSH_S  # nobody waits for the end then
        self._now_s = now_s
        self._source = source
        self._sink = sink
        self._session = session
        self._stop = stop
        self._commit_s = commit_s
        self._flush_max_s = flush_max_s
        self._settled_at = 0.0
        self._stopped_at: float | None = None
        self._unsettled = False
        sink.on_wait = self._bear
        self._telemetry = session.telemetry
        self._lag_clock: LagClock[LaneKey] = LagClock()
        self._noted_at = -LAG_EVERY_S

    def run(self, *, until_caught_up: bool = False, batch_max: int = 500, wait_s: float = 0.2) -> None:
        """Work until told to stop. Raises WorldError when the broker stays away longer than the settings bear."""
        self._sink.open()
        if self._saving is not None:
            self._saving.open()
        else:
            self._source.open()
        self._begin_recording()
        self._tell("reading")
        board = self._session.board
        if board is not None:
            board.ready = True
        portion = Portion(batch_max, turn_s=TURN_S)
        while not self._stop.is_set():
            self._telemetry.enter("poll")
            records = self._source.poll(portion.size, wait_s)
            if self._saving is not None:
                self._saving.decided()
            self._telemetry.enter("work")
            began_s = self._now_s()
            self._take(records)
            portion.took(len(records), self._now_s() - began_s)
            self._note_state()
            self._unsettled = self._unsettled or bool(records)
            caught_up = not records and self._source.caught_up()
            if self._saving is not None:
                self._saving.turn(len(records))
            elif self._unsettled and (caught_up or self._now_s() - self._settled_at >= self._commit_s):
                self.settle()
            self._session.serve()
            if until_caught_up and caught_up:
                break
        if self._stop.is_set():
            self._stopping_since_s()
            self._session.log.info("stopping")
        self._end()
        self._noted_at = -LAG_EVERY_S
        self._note_state()
        self._tell("settled")

    def _tell(self, words: str) -> None:
        """A log line with the next offset of every partition, in their order."""
        offsets: dict[str, list[int]] = {}
        for (topic, _), offset in sorted(self._source.positions().items()):
            offsets.setdefault(topic, []).append(offset)
        self._session.log.info(words, next_offsets=offsets)

    def settle(self, within_s: float | None = None) -> None:
        """Outputs acknowledged, then offsets committed: what is committed has been done."""
        self._telemetry.enter("flush")
        self._flush()
        self._unsettled = not self._source.commit(self._source.positions(), within_s)
        self._telemetry.enter("work")
        self._settled_at = self._now_s()

    def _end(self) -> None:
        """Settle for the last time."""
        within_s = STOP_COMMIT_S if self._stop.is_set() else None
        if self._saving is None:
            self.settle(within_s)
            if self._unsettled:
                self._session.log.warning("offsets not committed", so="what came since the last commit is read again")
            return
        until_s = self._now_s() + self._write_max_s
        if self._stop.is_set():
            until_s = self._stopping_since_s() + self._stop_max_s
        self._telemetry.enter("flush")
        self._flush()
        self._saving.end(until_s, within_s)

    def _take(self, records: Sequence[Polled]) -> None:
        for record in records:
            if self._recorded is not None:
                self._recorded.take(record)
            self._session.take(record, record.value)
            self._note_latency(record)

    def _begin_recording(self) -> None:
        if self._recorded is not None and self._saving is not None:
            afresh, taken = self._saving.afresh, records_in(self._session.pipeline)
            positions, ids = self._source.positions(), self._source.topic_ids()
            if not self._recorded.begin(positions, ids, afresh=afresh, taken=taken):
                self._session.log.warning("recording begins late", so="a replay of it does not come to this state")

    def _settle_recording(self) -> None:
        if self._recorded is not None:
            self._recorded.settle(self._source.positions(), self._source.topic_ids())

    def _note_latency(self, record: Polled) -> None:
        """From the record's time to its score handed to the producer; only searches are scored."""
        if isinstance(record.event, Search) and record.record_time_us >= 0:
            telemetry = self._telemetry
            telemetry.event_to_score.observe(max(0.0, telemetry.wall() - record.record_time_us / 1e6))

    def _note_state(self, outputs: str | None = None) -> None:
        """What is the matter, at once (`outputs`: with them); how far each partition is behind, and what has left and
        failed, at most once in `LAG_EVERY_S`.
        """
        if self._session.board is not None:
            disk = self._saving.trouble() if self._saving is not None else None
            told = (self._source.trouble() or outputs, disk)
            self._session.board.trouble = " ".join(filter(None, told)) or None
        now_s = self._now_s()
        if now_s - self._noted_at < LAG_EVERY_S:
            return
        self._noted_at = now_s
        source, sink = self._source, self._sink
        positions, lag = source.positions(), source.lag()
        lag_s = {
            key: self._lag_clock.observe(key, position=position, end=position + lag[key], now_s=now_s)
            for key, position in positions.items()
        }
        self._session.state |= {
            "lag": {f"{topic}/{partition}": records for (topic, partition), records in lag.items()},
            "lag_s": {f"{topic}/{partition}": seconds for (topic, partition), seconds in lag_s.items()},
            **source.figures(),
            **sink.figures(),
        }

    def _flush(self, slice_s: float = 1.0) -> None:
        """Wait for the outputs, in slices: a broker that is away must not make the loop look dead."""
        began = self._now_s()
        while not self._sink.try_flush(slice_s):
            self._bear(self._now_s() - began)

    def _bear(self, waited_s: float) -> None:
        """Outputs have been waited for so long: go on asking, show a turn of the loop. WorldError at the limit."""
        told = f"Kafka has left our predictions or dead letters unanswered for {waited_s:.0f} s"
        self._note_state(told + ".")
        if self._stop.is_set():  # nothing more is to be read or shown, and both take time when no broker answers
            patience_s = min(self._flush_max_s, STOP_FLUSH_S)
            self._check_patience(told, self._now_s() - self._stopping_since_s(), patience_s, "at a stop")
            return
        self._session.serve()
        self._source.ask()
        self._check_patience(told, waited_s, self._flush_max_s, "(kafka.outage_max_s)")

    def _check_patience(self, told: str, waited_s: float, patience_s: float, which: str) -> None:
        if waited_s > patience_s:
            raise WorldError(f"{told}; at most {patience_s:g} s are borne {which}.")

    def _stopping_since_s(self) -> float:
        """When the stop was first seen: all of its limits count from there, whatever it was found at."""
        if self._stopped_at is None:
            self._stopped_at = self._now_s()
        return self._stopped_at

    def close(self) -> None:
        """Leave the broker."""
        self._source.close()
        self._sink.close(CLOSE_S)

"""Service: drives one pipeline from a source to its end. Thin: all that is decided is decided in the core.

The loop is synchronous: take a record, push it, hand the predictions on, serve the board. A stop flag ends it between
records, so what was taken is finished.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from typing import Any, Protocol

import numpy as np

from stream_balance.core.lineup import chosen
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Scored
from stream_balance.edge.bad_share import BadShare
from stream_balance.edge.board import Board, Pinned
from stream_balance.edge.checkpoint.fit_journal import FitJournal
from stream_balance.edge.codec import Codec
from stream_balance.edge.fits import ChildFits, check_privacy, make_trainer, makes_gan_rows
from stream_balance.edge.log import Log, silent_log
from stream_balance.edge.logfile import LogRecord
from stream_balance.edge.pace import Pace
from stream_balance.edge.privacy import user_hasher
from stream_balance.edge.scoring import Scoring
from stream_balance.edge.telemetry import Telemetry
from stream_balance.edge.trainer import Trainer
from stream_balance.edge.turn import Turn
from stream_balance.edge.watch import Watch
from stream_balance.errors import BadRecord, SettingsError
from stream_balance.settings import Settings

LATEST_SEARCHES, LATEST_ITEMS = 8, 3  # shown on the live page
# Those of the last two are not in the state; what their fits come to in child processes is.
LIBRARIES = ("river", "numpy", "pydantic", "kafka-python", "prometheus-client", "scikit-learn", "torch")


def versions() -> dict[str, str]:
    """Versions that decide the bits of a report: ours, the libraries' ("none" for torch where it is not installed),
    Python's, and the machine's architecture.
    """
    found = {"stream_balance": version("stream-balance")}
    for name in LIBRARIES:
        try:
            found[name.replace("-", "_")] = version(name)
        except PackageNotFoundError:
            found[name.replace("-", "_")] = "none"
    return found | {"python": platform.python_version(), "machine": platform.machine()}


def make_pipeline(settings: Settings) -> Pipeline:
    """A pipeline of events: class 0 is no outcome, the others are the wire's."""
    return Pipeline(settings.core(), settings.seed, ("none", *settings.wire.classes))


def make_codec(settings: Settings) -> Codec:
    """The door, with user ids hidden if they are to be. Raises SettingsError for a key that cannot be used."""
    return Codec(settings.wire, user_hasher(settings.privacy))


def told(scored: Scored) -> dict[str, Any]:
    """A search as it was scored, for people: its items by falling probability of any outcome, without the user."""
    probability = scored.probability.sum(axis=1)
    best = np.argsort(-probability, kind="stable")[:LATEST_ITEMS].tolist()
    items = [{"item_id": scored.item_ids[i], "probability": float(probability[i])} for i in best]
    return {"search_id": scored.event_id, "ts_us": scored.ts_us, "items": len(scored), "best": items}


class Record(Protocol):
    """What a source hands over: an event, or why there is none."""

    @property
    def event(self) -> Event | None: ...
    @property
    def bad(self) -> BadRecord | None: ...


class DeadLetters(Protocol):
    """Where bad records are kept."""

    def keep(self, record: Any, bad: BadRecord) -> None: ...


@dataclass(slots=True)
class Meter:
    """Work done, and what it cost: wall and CPU seconds of this process since `start`."""

    wall_at: float = field(default_factory=time.perf_counter)
    cpu_at: float = field(default_factory=time.process_time)

    def throughput(self, examples: int) -> dict[str, float]:
        """The report's `throughput`."""
        wall_s = time.perf_counter() - self.wall_at
        return {
            "examples_per_s": examples / wall_s if wall_s > 0 else 0.0,
            "cpu_s": time.process_time() - self.cpu_at,
            "wall_s": wall_s,
        }


def _check_model(name: str, settings: Settings) -> None:
    """A restored state may ask a child process for any model; only what the settings name is made."""
    named = {pair.model for pair in chosen(settings.arms, settings.balance.strategy, settings.model.name)}
    if name not in named:
        raise SettingsError(
            f"the state's GAN asks for the model {name!r}, the settings name {', '.join(sorted(named))}: it is not a "
            "state of these settings. Do not trust the file; name an empty checkpoint folder to begin again."
        )


class Session:
    """One pipeline at work: takes records, keeps the bad ones, makes reports."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        *,
        dead_letters: DeadLetters | None = None,
        board: Board | None = None,
        publish: Callable[[Scored], None] | None = None,
        log: Log | None = None,
        bad_share: BadShare | None = None,
        journal: FitJournal | None = None,
        early: bool = False,
        trainer: Trainer | None = None,
    ) -> None:
        if pipeline.retrain is not None:
            check_privacy(settings.gan.privacy.on)
            _check_model(pipeline.retrain.model, settings)
        self.pipeline = pipeline
        self.log = silent_log() if log is None else log
        self.fits = ChildFits(
            trainer or make_trainer(settings.workers), journal, early=early, turn=self._beat, tell=self.log.warning
        )
        pipeline.attach(self.fits)
        self.settings = settings
        self.board = board
        self.meter = Meter()
        self.telemetry = Telemetry()
        if pipeline.retrain is not None and not makes_gan_rows():
            self.log.warning(
                "no torch", so="trees and a copula make the generated rows", do="pip install 'stream-balance[gan]'"
            )
        self._watch = Watch()
        self._turn = Turn(settings.http.aside_s)
        self._latest: deque[Scored] = deque(maxlen=LATEST_SEARCHES)
        if board is not None:
            board.scoring = Scoring(
                self._turn, make_codec(settings), settings.wire.classes, pipeline.look, pipeline.reached
            )
            if any(pipeline.events.values()):
                board.base = Pinned(pipeline.report(digest=False).document(), pipeline.vitals())
        self.state: dict[str, Any] = {}
        self._dead_letters = dead_letters
        self._publish = publish
        self.bad_share = bad_share
        self._versions = versions()

    def take(self, record: Record, content: bytes) -> None:
        """One record, good or bad, with its original bytes."""
        if record.event is None:
            bad = record.bad
            assert bad is not None, "a record without an event says why"
            self.keep_bad(record, bad)
            return
        if self.bad_share is not None:
            self.bad_share.good()
        telemetry, joiner = self.telemetry, self.pipeline.joiner
        began, due_us, matured = telemetry.clock(), joiner.due_us(), joiner.counts.matured
        with self._turn:
            scored = self.pipeline.push(record.event, content, self._turn.offer)
        if scored:
            telemetry.score.observe(telemetry.clock() - began)
        if due_us is not None and joiner.counts.matured > matured:
            waited_s = max(0.0, telemetry.wall() - due_us / 1e6)
            telemetry.label_to_learn.observe(waited_s, joiner.counts.matured - matured)
            telemetry.learned_at_s = telemetry.wall()
        self._latest.extend(scored)
        if self._publish is not None:
            for each in scored:
                self._publish(each)

    def keep_bad(self, record: Any, bad: BadRecord) -> None:
        """Count a record that could not be read, and keep it if somebody does. Raises WorldError at one too many."""
        self.pipeline.count_bad(bad.reason)
        if self.pipeline.bad[bad.reason] == 1:
            place = {"where": record.where} if hasattr(record, "where") else {}
            self.log.warning("first bad record of its kind", reason=bad.reason, **place)
        if self._dead_letters is not None:
            self._dead_letters.keep(record, bad)
        if self.bad_share is not None:
            self.bad_share.bad(bad.reason)

    def serve(self) -> None:
        """Show the board a turn of the loop; a report is made only when one is due."""
        if self.board is not None:
            self.board.serve(self._look)

    def _beat(self) -> None:
        """The loop waits for a child: it lives, and nothing that answers is half changed."""
        if self.board is not None:
            self.board.beat()
        self._turn.offer()

    def _look(self, fresh: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Report and state for the board, and a log line for each change since the last look."""
        report, state = self.report(digest=fresh), self.service_state()
        for change in self._watch.look(report, state):
            getattr(self.log, change.level)(change.event, **change.fields)
        return report, state

    def service_state(self) -> dict[str, Any]:
        """What is not in the report: what the shell has noted, the pipeline's vitals, the loop's own speed."""
        vitals = self.pipeline.vitals()
        watermark_us, now_s = vitals["watermark_us"], self.telemetry.wall()
        delay_s = None if watermark_us is None else now_s - watermark_us / 1e6
        latest = [told(scored) for scored in reversed(self._latest)]
        return {
            **self.state,
            **vitals,
            "latest": latest,
            "watermark_delay_s": delay_s,
            "telemetry": self.telemetry.snapshot(),
            "workers": {kind: asdict(tally) for kind, tally in self.fits.tallies.items()},
        }

    def report(self, *, digest: bool = True) -> dict[str, Any]:
        """The report as a document. The digest costs a walk over all held state."""
        examples = self.pipeline.examples_in
        report = self.pipeline.report(
            digest=digest,
            settings=self.settings.model_dump(mode="json"),
            versions=self._versions,
            throughput=self.meter.throughput(examples),
            between=self._turn.offer,
        )
        self._turn.offer()
        return report.document()

    def end(self) -> dict[str, Any]:
        """The final report, pinned for the HTTP thread. Ends the child processes."""
        self.fits.close()
        report = self.report()
        if self.board is not None:
            self.board.pin(report, self.service_state())
            self.board.end()
        return report


def drive(
    records: Iterable[LogRecord],
    session: Session,
    stop: threading.Event,
    *,
    pace: Callable[[Record], None] | None = None,
    on_turn: Callable[[int], None] | None = None,
    turn_records: int = 64,
) -> int:
    """Take records until they end or `stop` is set; return how many. Board and caller see every `turn_records`."""
    taken = 0
    for taken, record in enumerate(records, 1):
        if pace is not None:
            session.telemetry.enter("wait")
            pace(record)
            session.telemetry.enter("work")
        session.take(record, record.data)
        if taken % turn_records == 0:
            session.serve()
            if on_turn is not None:
                on_turn(taken)
        if stop.is_set():
            break
    if on_turn is not None:
        on_turn(taken)
    return taken


def event_pace(speed: float, stop: threading.Event) -> Callable[[Record], None]:
    """Holds records back to `speed` times real time, by event time. Stops waiting when `stop` is set."""
    pace = Pace(speed, time.monotonic, stop.wait)

    def wait(record: Record) -> None:
        if record.event is not None:
            pace.wait_for(record.event.ts_us / 1e6)

    return wait


def rate_pace(per_s: float, stop: threading.Event) -> Callable[[Record], None]:
    """Holds records back to `per_s` a second: a stream of one recorded second each, at that speed."""
    pace, numbers = Pace(per_s, time.monotonic, stop.wait), count()
    return lambda _: pace.wait_for(next(numbers))

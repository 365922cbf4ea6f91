"""`run`: Kafka in, predictions out, always on. One writer over all partitions of both topics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from stream_balance.commands.options import (
    Arms,
    CheckpointDir,
    Config,
    Host,
    Model,
    Port,
    ReportTo,
    Seed,
    Set,
    Strategy,
    TargetShare,
    gather,
    lineup,
    listed,
)
from stream_balance.commands.output import STDERR, write_report
from stream_balance.commands.signals import Stopped, sleep_until, stop_on_signals
from stream_balance.commands.targets import check_apart
from stream_balance.edge.bad_share import BadShare
from stream_balance.edge.board import Board
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.log import Log, make_log
from stream_balance.edge.log_settings import LogSettings
from stream_balance.errors import SettingsError, StreamBalanceError
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.live_recording import LiveRecording
from stream_balance.saving import Saving, saving
from stream_balance.service import Session, make_codec, make_pipeline
from stream_balance.serving import serving
from stream_balance.settings import Settings

LEAVE_S = 1.5  # after what a clean stop may take


@contextmanager
def ended_in(log: Log, settings: LogSettings) -> Iterator[None]:
    """Where lines are read by machines, what ends the block is a line too; the command line says it in words."""
    try:
        yield
    except StreamBalanceError as error:
        if settings.format == "json":
            log.error("ended by an error", error=str(error), exit_code=error.exit_code)
        raise


def tell_begin(log: Log, saved: Saving | None) -> None:
    """Where the state comes from."""
    if saved is None:
        log.warning("no checkpoints", why="checkpoint.dir is not set", so="a restart begins again")
    elif saved.loaded is None:
        log.info("begins afresh", folder="empty")
    else:
        header = saved.loaded.header
        log.info(
            "goes on", checkpoint=header.sequence, written=header.created, journal_entries=len(saved.plan),
            **header.counts,
        )  # fmt: skip


def known_to(board: Board, log: Log, bootstrap: str, sleep: Callable[[float], None]) -> Callable[[float], None]:
    """The waits of a start, until events are taken: /health says what is waited for, and that the loop lives."""

    def wait(seconds: float) -> None:
        if not board.ready:
            if board.trouble is None:
                board.trouble = f"Kafka at {bootstrap} does not answer yet, or does not know the topics yet."
                log.warning("waiting for the broker", bootstrap=bootstrap)
            board.beat()
        sleep(seconds)

    return wait


@contextmanager
def recording(folder: Path | None, settings: Settings) -> Iterator[LiveRecording | None]:
    """A recording in that folder, which is ours alone meanwhile; None without one."""
    if folder is None or settings.checkpoint.dir is None:
        yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--record {str(folder)!r} cannot be made a folder: {error.strerror}.") from error
    lock = FolderLock(folder)
    try:
        recorded = LiveRecording(folder, settings.record, LocalDisk(settings.checkpoint.dir))
        try:
            yield recorded
        finally:
            recorded.close()
    finally:
        lock.release()


def run(
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    strategy: Strategy = None,
    model: Model = None,
    target_share: TargetShare = None,
    arms: Arms = None,
    bootstrap: Annotated[str | None, typer.Option(help="Broker address.", show_default="127.0.0.1:9092")] = None,
    host: Host = None,
    port: Port = None,
    report_to: ReportTo = None,
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Go on behind records that retention or a new topic took away.")
    ] = False,
    checkpoint_dir: CheckpointDir = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write what is taken to a recording, in the order in which it is taken. Needs a checkpoint folder.",
            show_default=False,
        ),
    ] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Leave once every partition is read to its end.")
    ] = False,
) -> None:
    """Read search and purchase events from Kafka, learn, publish scores; until SIGTERM or Ctrl-C.

    What it makes of complete topics equals what `replay` makes of the log. With a checkpoint folder it goes on where
    it was, however it ended, as if it had never ended. A replay of what --record wrote comes to the same state.

    Example: stream-balance run -c settings.toml --checkpoint-dir state
    """
    settings = gather(
        config, assignments, seed=seed, balance__strategy=strategy, balance__target_share=target_share,
        arms__pairs=listed(arms),
        model__name=model, http__host=host, http__port=port, kafka__bootstrap=bootstrap,
        kafka__accept_data_loss=accept_data_loss or None,
        checkpoint__dir=checkpoint_dir,
    )  # fmt: skip
    check_apart([config, settings.checkpoint.dir], {"--report": report_to})
    if settings.workers.early and settings.checkpoint.dir is None:
        raise SettingsError(
            "workers.early is on without a checkpoint folder: where an answer enters is journaled there. Set "
            "checkpoint.dir (--checkpoint-dir), or leave workers.early off."
        )
    if record is not None and settings.checkpoint.dir is None:
        raise SettingsError(
            "--record without a checkpoint folder: after a restart nobody would know what is written already. Set "
            "checkpoint.dir (--checkpoint-dir), or leave --record out."
        )
    log = make_log(settings.log, sys.stderr)
    board = Board(refresh_s=settings.http.refresh_s, stall_s=settings.http.stall_s)
    with (
        stop_on_signals(settings.checkpoint.stop_max_s + LEAVE_S) as stop, ended_in(log, settings.log),
        saving(settings, settings.checkpoint.dir, "kafka", log.warning) as saved, serving(board, settings) as server,
        recording(record, settings) as recorded,
    ):  # fmt: skip
        pipeline = (saved.pipeline if saved is not None else None) or make_pipeline(settings)
        if settings.log.format == "console":
            STDERR.print(
                f"metrics {server.url}/metrics  report {server.url}/report.json", highlight=False, soft_wrap=True
            )
        log.info(
            "started", version=version("stream-balance"), seed=settings.seed, learning=lineup(settings),
            bootstrap=settings.kafka.bootstrap, url=server.url,
        )  # fmt: skip
        tell_begin(log, saved)
        sleep = known_to(board, log, settings.kafka.bootstrap, sleep_until(stop, lambda: board.ready))
        source = KafkaSource(settings.kafka, make_codec(settings), on_note=log.warning, sleep=sleep)
        sink = KafkaSink(settings.kafka, sleep=sleep)
        session = Session(
            pipeline, settings, board=board, dead_letters=KafkaDeadLetters(sink),
            publish=prediction_publisher(sink, settings.wire.classes), log=log, bad_share=BadShare(settings.bad),
            journal=saved.journal if saved is not None else None, early=settings.workers.early,
        )  # fmt: skip
        loop = LiveLoop(
            source, sink, session, stop, saving=saved, recorded=recorded, flush_max_s=settings.kafka.outage_max_s
        )
        try:
            loop.run(until_caught_up=until_caught_up, batch_max=settings.kafka.poll_records_max)
        except Stopped:
            log.info("stopped", why="before the broker was found")
            return
        finally:
            loop.close()
        report = session.end()
        log.info("ended", events=pipeline.events, matured=report["examples"]["matured"])
    write_report(report, report_to, f"run: {lineup(settings)}")

"""`run`: Kafka in, predictions out, always on. One writer over all partitions of both topics."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import typer

from stream_balance.commands.options import (
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
)
from stream_balance.commands.output import STDERR, write_report
from stream_balance.commands.signals import stop_on_signals
from stream_balance.edge.bad_share import BadShare
from stream_balance.edge.board import Board
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.log import Log, LogSettings, make_log
from stream_balance.errors import StreamBalanceError
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.service import Session, make_codec, make_pipeline, serving


@contextmanager
def ended_in(log: Log, settings: LogSettings) -> Iterator[None]:
    """Where lines are read by machines, what ends the block is a line too; the command line says it in words."""
    try:
        yield
    except StreamBalanceError as error:
        if settings.format == "json":
            log.error("ended by an error", error=str(error), exit_code=error.exit_code)
        raise


def run(
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    strategy: Strategy = None,
    model: Model = None,
    target_share: TargetShare = None,
    bootstrap: Annotated[str | None, typer.Option(help="Broker address.", show_default="127.0.0.1:9092")] = None,
    host: Host = None,
    port: Port = None,
    report_to: ReportTo = None,
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Go on behind records that retention or a new topic took away.")
    ] = False,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Leave once every partition is read to its end.")
    ] = False,
) -> None:
    """Read search and purchase events from Kafka, learn, publish scores; until SIGTERM or Ctrl-C.

    What it makes of complete topics equals what `replay` makes of the log.

    Example: stream-balance run -c settings.toml
    """
    settings = gather(
        config, assignments, seed=seed, balance__strategy=strategy, balance__target_share=target_share,
        model__name=model, http__host=host, http__port=port, kafka__bootstrap=bootstrap,
        kafka__accept_data_loss=accept_data_loss or None,
    )  # fmt: skip
    pipeline = make_pipeline(settings)
    log = make_log(settings.log, sys.stderr)
    board = Board(refresh_s=settings.http.refresh_s, stall_s=settings.http.stall_s)
    with stop_on_signals() as stop, serving(board, settings) as server, ended_in(log, settings.log):
        if settings.log.format == "console":
            STDERR.print(
                f"metrics {server.url}/metrics  report {server.url}/report.json", highlight=False, soft_wrap=True
            )
        log.info(
            "started", version=version("stream-balance"), seed=settings.seed, strategy=settings.balance.strategy,
            model=settings.model.name, bootstrap=settings.kafka.bootstrap, url=server.url,
        )  # fmt: skip
        source = KafkaSource(settings.kafka, make_codec(settings), on_note=log.warning)
        sink = KafkaSink(settings.kafka)
        session = Session(
            pipeline, settings, board=board, dead_letters=KafkaDeadLetters(sink),
            publish=prediction_publisher(sink, settings.wire.classes), log=log, bad_share=BadShare(settings.bad),
        )  # fmt: skip
        loop = LiveLoop(source, sink, session, stop, flush_max_s=settings.kafka.outage_max_s)
        try:
            loop.run(until_caught_up=until_caught_up)
        finally:
            loop.close()
        report = session.end()
        log.info("ended", events=pipeline.events, matured=report["examples"]["matured"])
    write_report(report, report_to, f"run: strategy {settings.balance.strategy}, model {settings.model.name}")

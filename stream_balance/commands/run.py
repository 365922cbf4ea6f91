"""`run`: Kafka in, predictions out, always on. One writer over all partitions of both topics."""

from __future__ import annotations

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
from stream_balance.edge.board import Board
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.service import Session, make_pipeline, serving


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
    )  # fmt: skip
    pipeline = make_pipeline(settings)
    board = Board(refresh_s=settings.http.refresh_s, stall_s=settings.http.stall_s)
    with stop_on_signals() as stop, serving(board, settings) as server:
        STDERR.print(f"metrics {server.url}/metrics  report {server.url}/report.json", highlight=False, soft_wrap=True)
        source = KafkaSource(settings.kafka, Codec(settings.wire))
        sink = KafkaSink(settings.kafka)
        session = Session(
            pipeline, settings, board=board, dead_letters=KafkaDeadLetters(sink),
            publish=prediction_publisher(sink, settings.wire.classes),
        )  # fmt: skip
        loop = LiveLoop(source, sink, session, stop, flush_max_s=settings.kafka.outage_max_s)
        try:
            loop.run(until_caught_up=until_caught_up)
        finally:
            loop.close()
        report = session.end()
    write_report(report, report_to, f"run: strategy {settings.balance.strategy}, model {settings.model.name}")

"""`demo`: the simulated shop through the whole pipeline in one process. No broker, no Docker."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

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
from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.board import Board
from stream_balance.edge.codec import Codec
from stream_balance.edge.console import render_report
from stream_balance.edge.deadletter_file import DeadLetterFile
from stream_balance.edge.logfile import read_lines
from stream_balance.service import RatePace, Session, drive, serving
from stream_balance.simulation.shop import Shop


def demo(
    max_events: Annotated[int | None, typer.Option(min=1, help="End after so many events.", show_default=False)] = None,
    rate: Annotated[float, typer.Option(min=0, help="Events a second; 0 = as fast as it can.")] = 500.0,
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    strategy: Strategy = None,
    model: Model = None,
    target_share: TargetShare = None,
    host: Host = None,
    port: Port = None,
    report_to: ReportTo = None,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep broken records here.", show_default=False)
    ] = None,
) -> None:
    """Run a simulated shop through the full service: live page, /metrics, /health, /ready and /report.json.

    Its true probabilities are known, so the report says how far from the oracle the model is. Ctrl-C ends it with the
    final report.

    Example: stream-balance demo --max-events 20000 --rate 0
    """
    settings = gather(
        config, assignments, seed=seed, balance__strategy=strategy, balance__target_share=target_share,
        model__name=model, http__host=host, http__port=port,
    )  # fmt: skip
    pipeline = Pipeline(settings.core(), settings.seed, ("none", *settings.wire.classes))
    board = Board(refresh_s=settings.http.refresh_s, stall_s=settings.http.stall_s)
    kept = DeadLetterFile(dead_letters) if dead_letters is not None else None
    session = Session(pipeline, settings, board=board, dead_letters=kept)
    lines = islice(Shop(settings.shop, settings.seed).events(), max_events)
    with stop_on_signals() as stop, serving(board, settings) as server:
        board.ready = True
        STDERR.print(
            f"live page {server.url}/  metrics {server.url}/metrics  (Ctrl-C ends with the final report)",
            soft_wrap=True,
        )
        with Live(console=STDERR, auto_refresh=False, transient=True) as live:

            def show(count: int) -> None:
                pinned = board.latest()
                if pinned is not None and STDERR.is_terminal:
                    title = f"demo: {count:,} events, live page {server.url}/"
                    live.update(render_report(pinned.document, title), refresh=True)
                elif STDERR.is_terminal:
                    live.update(Text("warming up"), refresh=True)

            pace = RatePace(rate, stop) if rate > 0 else None
            drive(read_lines(lines, Codec(settings.wire)), session, stop, pace=pace, on_turn=show)
        report = session.end()
    if kept is not None:
        kept.close()
    write_report(report, report_to, f"demo, seed {settings.seed}, strategy {settings.balance.strategy}")

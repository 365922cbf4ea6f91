"""`demo`: the simulated shop through the whole pipeline in one process. No broker, no Docker."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from stream_balance.commands.options import (
    Arms,
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
from stream_balance.commands.output import STDERR, dead_letter_file, write_report
from stream_balance.commands.signals import stop_on_signals
from stream_balance.commands.targets import check_apart
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Search
from stream_balance.edge.board import Board
from stream_balance.edge.codec import Codec
from stream_balance.edge.console import render_report
from stream_balance.edge.logfile import read_lines
from stream_balance.errors import SettingsError
from stream_balance.service import Session, drive, make_codec, make_pipeline, rate_pace
from stream_balance.serving import serving
from stream_balance.simulation.shop import Rank, Shop


def rank_by(pipeline: Pipeline, codec: Codec) -> Rank:
    """Our scores as the shop's order: the probability of any outcome. Asking changes nothing.

    The shop is some lines ahead of the learning, as a page is that was ranked a moment before it is shown.
    """

    def rank(event: bytes) -> list[float]:
        search = codec.parse(event)
        assert isinstance(search, Search)
        found: list[float] = pipeline.look(search)[0].sum(axis=1).tolist()
        return found

    return rank


def demo(
    max_events: Annotated[int | None, typer.Option(min=1, help="End after so many events.", show_default=False)] = None,
    rate: Annotated[float, typer.Option(min=0, help="Events a second; 0 = as fast as it can.")] = 500.0,
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    strategy: Strategy = None,
    model: Model = None,
    target_share: TargetShare = None,
    arms: Arms = None,
    host: Host = None,
    port: Port = None,
    report_to: ReportTo = None,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep broken records here.", show_default=False)
    ] = None,
    rank_by_score: Annotated[
        bool, typer.Option("--rank-by-score", help="The shop shows items in the order of our scores: a closed loop.")
    ] = False,
) -> None:
    """Run a simulated shop through the full service: live page, /metrics, /health, /ready and /report.json.

    Its true probabilities are known, so the report says how far from the oracle the model is. Ctrl-C ends it with the
    final report.

    Example: stream-balance demo --max-events 20000 --rate 0
    """
    settings = gather(
        config, assignments, seed=seed, balance__strategy=strategy, balance__target_share=target_share,
        arms__pairs=listed(arms),
        model__name=model, http__host=host, http__port=port,
    )  # fmt: skip
    check_apart([config], {"--report": report_to, "--dead-letters": dead_letters})
    if settings.wire.shape() is not None:
        raise SettingsError(
            "the simulated shop writes its records in our own shape: leave the section 'wire' as it is."
        )
    board = Board(refresh_s=settings.http.refresh_s, stall_s=settings.http.stall_s)
    pipeline, codec = make_pipeline(settings), make_codec(settings)
    shop = Shop(settings.shop, settings.seed, rank_by(pipeline, codec) if rank_by_score else None)
    lines = islice(shop.events(), max_events)
    with stop_on_signals() as stop, serving(board, settings) as server, dead_letter_file(dead_letters) as kept:
        session = Session(pipeline, settings, board=board, dead_letters=kept)
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

            pace = rate_pace(rate, stop) if rate > 0 else None
            drive(read_lines(lines, codec), session, stop, pace=pace, on_turn=show)
        report = session.end()
    write_report(report, report_to, f"demo, seed {settings.seed}, {lineup(settings)}")

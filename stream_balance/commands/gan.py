"""`gan inspect`: what the GAN has made, against what is real, as one HTML page; of a checkpoint, or of a log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream_balance.commands.options import Arms, Config, Seed, Set, gather, listed
from stream_balance.commands.output import tell, write
from stream_balance.commands.progress import progress_bar
from stream_balance.commands.signals import stop_on_signals
from stream_balance.commands.targets import STANDARD_OUTPUT, check_apart, file_or_stdout
from stream_balance.core.gan_report import Gan
from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.store import file_name
from stream_balance.edge.gan_page import page
from stream_balance.edge.log import make_log
from stream_balance.edge.logfile import read_events
from stream_balance.errors import SettingsError
from stream_balance.saving import open_store
from stream_balance.service import Session, drive, make_codec, make_pipeline
from stream_balance.settings import Settings

CHECKPOINTS = "checkpoint-*.sbc"

app = typer.Typer(no_args_is_help=True, help="Generated rows: inspect.")


@app.callback()
def _group() -> None:
    """Generated rows: inspect."""


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT|LOG", help="A folder of checkpoints, or an event log.")],
    html: Annotated[
        str,
        typer.Option(metavar="FILE|-", callback=file_or_stdout, help="The page is written here; - is standard output."),
    ],
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    arms: Arms = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Show the GAN's trainings, and its rows beside the real ones: marginals, correlations, a projection.

    A log is replayed with the strategy gan first, under the settings given.

    Examples:

    stream-balance gan inspect state --html gan.html

    stream-balance gan inspect shop.jsonl.gz --html gan.html --set gan.swap_after_events=2000
    """
    if not source.exists():
        raise SettingsError(f"{str(source)!r} does not exist. Name a folder of checkpoints or an event log.")
    check_apart([source, config], {"--html": html})
    settings = gather(
        config, assignments, seed=seed, balance__strategy=None if arms else "gan", arms__pairs=listed(arms)
    )
    is_saved = source.is_dir() and any(source.glob(CHECKPOINTS))
    pipeline = _saved(source, settings) if is_saved else _replayed(source, settings, quiet)
    assert pipeline.retrain is not None, "looked at before"
    write("--html", html, page(pipeline, source.name).encode())
    told, in_the_way = pipeline.retrain.metrics(0), html == STANDARD_OUTPUT
    typer.echo(
        f"{html}: {told.requests} requests, {told.releases} releases, {sum(told.refusals.values())} refusals",
        err=in_the_way,
    )
    if not is_saved and (hint := _hint(told, pipeline)) is not None:
        typer.echo(hint, err=in_the_way)


def _hint(told: Gan, pipeline: Pipeline) -> str | None:
    """What to set where the log ended before the first answer entered."""
    if told.open is None or told.history:
        return None
    events = sum(pipeline.events.values())
    return (
        f"The log ends after {events:,} events; the answer to the first request, asked at {told.open.asked_at:,}, "
        f"enters at {told.open.enters_at:,}: set gan.swap_after_events lower, as in --set gan.swap_after_events="
        f"{max((events - told.open.asked_at) // 2, 1)}."
    )


def _saved(folder: Path, settings: Settings) -> Pipeline:
    loaded = open_store(folder, settings, tell)[1].newest()
    if loaded is None:
        found = min(path.name for path in folder.glob(CHECKPOINTS))
        raise SettingsError(
            f"{str(folder)!r}: {found!r} is no checkpoint's name; {file_name(1)!r} and the like are expected. "
            "Give it back the name that the service gave it, or name another folder."
        )
    pipeline: Pipeline = loaded.state["pipeline"]
    return _with_gan(pipeline, folder)


def _with_gan(pipeline: Pipeline, source: Path) -> Pipeline:
    if pipeline.retrain is None:
        raise SettingsError(f"{str(source)!r}: no arm learns generated rows. Name one with the strategy gan.")
    return pipeline


def _replayed(log: Path, settings: Settings, quiet: bool) -> Pipeline:
    pipeline = _with_gan(make_pipeline(settings), log)  # a replay may take hours
    reader = read_events([log], make_codec(settings))
    session = Session(pipeline, settings, log=make_log(settings.log, sys.stderr))
    try:
        with stop_on_signals() as stop, progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
            drive(reader, session, stop, on_turn=show)
    finally:
        session.fits.close()
    return pipeline

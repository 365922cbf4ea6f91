"""`replay`: an event log or a labelled table through the whole pipeline, at full speed or a multiple of real time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_balance.commands.options import (
    Arms,
    CheckpointDir,
    Config,
    Model,
    ReportTo,
    Seed,
    Set,
    Strategy,
    TargetShare,
    gather,
    lineup,
    listed,
)
from stream_balance.commands.output import dead_letter_file, tell, write_report
from stream_balance.commands.progress import progress_bar
from stream_balance.commands.signals import stop_on_signals
from stream_balance.commands.table import TableFlags, replay_table
from stream_balance.commands.targets import check_apart
from stream_balance.commands.unread import check_events
from stream_balance.edge.bad_share import BadShare
from stream_balance.edge.carried import followed
from stream_balance.edge.checkpoint.fit_journal import FitJournal
from stream_balance.edge.logfile import read_events
from stream_balance.edge.table import read_rows
from stream_balance.errors import SettingsError
from stream_balance.reading import SavedReading
from stream_balance.saving import Saving, saving
from stream_balance.service import Session, drive, event_pace, make_codec, make_pipeline
from stream_balance.settings import Settings
from stream_balance.story import tell_story


def replay_events(
    paths: list[Path],
    settings: Settings,
    stop: threading.Event,
    *,
    speed: float | None = None,
    mature_all: bool = False,
    dead_letters: Path | None = None,
    halt_on_bad: bool = False,
    quiet: bool = True,
    saved: Saving | None = None,
    journal: FitJournal | None = None,
) -> dict[str, Any]:
    """Replay event logs; return the report as a document. What cannot be read is counted and kept in `dead_letters`;
    with `saved` it goes on from there, and saves on the way and at the end. `journal`: what became of fits.
    """
    pipeline = (saved.pipeline if saved is not None else None) or make_pipeline(settings)
    with dead_letter_file(dead_letters) as kept:
        reader = read_events(paths, make_codec(settings))
        bad_share = BadShare(settings.bad) if halt_on_bad else None
        session = Session(
            pipeline,
            settings,
            dead_letters=kept,
            bad_share=bad_share,
            journal=saved.journal if saved is not None else journal,
        )
        pace = event_pace(speed, stop) if speed is not None else None
        with progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
            if saved is None:
                drive(reader, session, stop, pace=pace, on_turn=show)
            else:
                flush = kept.sync if kept is not None else lambda: None
                reading = SavedReading(reader, saved, pipeline, lambda record: record.data, flush=flush)
                drive(reading, session, stop, pace=pace, on_turn=show)
                reading.finish()
        if not stop.is_set():
            check_events(pipeline, reader)
        if mature_all:
            pipeline.run_out()
        return session.end()


def replay(
    log: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Event log(s), or one table with --rows.")],
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    strategy: Strategy = None,
    model: Model = None,
    target_share: TargetShare = None,
    arms: Arms = None,
    one_vs_rest: Annotated[bool, typer.Option("--one-vs-rest", help="Wrap a binary model for more classes.")] = False,
    report_to: ReportTo = None,
    speed: Annotated[
        float | None, typer.Option(min=1e-6, help="Times real time, by event time.", show_default="as fast as it can")
    ] = None,
    freeze_after: Annotated[
        int | None,
        typer.Option(min=0, metavar="EVENTS", help="Stop learning there; measure only what is scored after."),
    ] = None,
    mature_all: Annotated[
        bool, typer.Option("--mature-all", help="At the end let event time run on until nothing is held.")
    ] = False,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep bad records here.", show_default=False)
    ] = None,
    halt_on_bad: Annotated[
        bool, typer.Option("--halt-on-bad", help="End when more of the latest records are bad than bad.share_max.")
    ] = False,
    checkpoint_dir: CheckpointDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --checkpoint-dir.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Do with fits as this checkpoint folder's service did.",
            show_default="that in LOG, if any",
        ),
    ] = None,
    to_kafka: Annotated[
        bool, typer.Option("--to-kafka", help="Publish the log to the topics (as `produce` does) instead of learning.")
    ] = False,
    bootstrap: Annotated[str | None, typer.Option(help="Broker address (--to-kafka).", show_default=False)] = None,
    event: Annotated[
        str | None,
        typer.Option(
            "--event", metavar="ID", help="Tell the story of one search (its event_id) or impression (event_id/index)."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="LOG is a labelled table (CSV, .gz, .zst, Parquet).")] = False,
    label: Annotated[str | None, typer.Option(help="Label column (--rows).", show_default=False)] = None,
    positive: Annotated[str | None, typer.Option(help="The positive value (--rows).", show_default=False)] = None,
    classes: Annotated[
        str | None, typer.Option(help="Three or more classes, comma-separated, the first means none (--rows).")
    ] = None,
    time_column: Annotated[str | None, typer.Option("--time", help="Time column (--rows).", show_default=False)] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out (--rows); may be repeated.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="COLUMN=numeric|nominal", help="Given, not inferred (--rows).")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Of a CSV (--rows).")] = ",",
    label_delay_rows: Annotated[int, typer.Option(min=0, help="Labels come so many rows later (--rows).")] = 0,
) -> None:
    """Replay an event log, or any labelled table, and report what a live service would have measured.

    Same log, settings and seed give the same report and the same state digest.

    Examples:

    stream-balance replay shop.jsonl.zst --report report.json

    stream-balance replay searches.jsonl purchases.jsonl --speed 60

    stream-balance replay shop.jsonl.zst --checkpoint-dir state --resume

    stream-balance replay night/ --to-kafka --speed 60

    stream-balance replay night/ --journal state

    stream-balance replay shop.jsonl.zst --event s-1200/3

    stream-balance replay table.csv --rows --label bought --positive yes --drop id
    """
    settings = gather(
        config, assignments, seed=seed, balance__strategy=strategy, balance__target_share=target_share,
        arms__pairs=listed(arms),
        model__name=model, model__one_vs_rest=one_vs_rest or None, freeze_after_events=freeze_after,
    )  # fmt: skip
    check_apart([*log, config, journal, checkpoint_dir], {"--report": report_to, "--dead-letters": dead_letters})
    if to_kafka:
        if rows:
            raise SettingsError("--to-kafka takes a log of events; --rows is a table.")
        from stream_balance.commands.produce import publish_log  # noqa: PLC0415  # loads the Kafka library

        publish_log(log, gather(config, assignments, kafka__bootstrap=bootstrap), speed=speed, quiet=quiet)
        return
    if event is not None:
        with stop_on_signals() as stop:
            for line in tell_story(log, settings, event, stop):
                typer.echo(line)
        return
    if resume and checkpoint_dir is None:
        raise SettingsError("--resume needs --checkpoint-dir DIR: where the checkpoints are.")
    flags = None
    if not rows:
        _refuse_table_flags(
            label=label, positive=positive, classes=classes, time=time_column, drop=drop, type=types,
            delimiter=None if delimiter == "," else delimiter, label_delay_rows=label_delay_rows,
        )  # fmt: skip
    if rows:
        if label is None:
            raise SettingsError("--rows needs --label COLUMN: the column that holds the outcome.")
        if len(log) != 1:
            raise SettingsError(f"--rows takes one table, {len(log)} were given.")
        flags = TableFlags(label, positive, classes, time_column, tuple(drop or ()), tuple(types or ()), delimiter)
    # How a table is read is part of what its state means.
    more = {"table": {"delay_rows": label_delay_rows, **flags.settings().model_dump(mode="json")}} if flags else None
    kind = "table" if flags else "log"
    follow = followed(log, journal)
    with (
        stop_on_signals() as stop,
        saving(settings, checkpoint_dir, kind, tell, more=more, may_resume=resume, follow=follow) as saved,
    ):  # fmt: skip
        if flags:
            reader = read_rows(log[0], flags.settings())
            with progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
                report = replay_table(
                    reader, settings, stop, label_delay_rows=label_delay_rows, mature_all=mature_all,
                    dead_letters=dead_letters, on_turn=show, saved=saved,
                )  # fmt: skip
        else:
            report = replay_events(
                log, settings, stop, speed=speed, mature_all=mature_all, dead_letters=dead_letters,
                halt_on_bad=halt_on_bad, quiet=quiet, saved=saved, journal=FitJournal(None, follow),
            )  # fmt: skip
        report["stopped"] = stop.is_set()
    name = ", ".join(str(path) for path in log)
    if report["stopped"]:
        tell("stopped before the end: the report and its digest are of what was read until then.")
    write_report(report, report_to, f"{name}: {lineup(settings)}")


def _refuse_table_flags(**given: object) -> None:
    """Raise SettingsError if a flag is given that means something for tables only."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        one = len(names) == 1
        raise SettingsError(
            f"{', '.join(names)} {'goes' if one else 'go'} with --rows: LOG is read as a log of events. "
            f"Add --rows for a labelled table, or leave {'it' if one else 'them'} out."
        )

"""`compare`: every strategy, or arms of your own, side by side in one pass over a log or a table."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_balance.commands.compared import document, ranked, render
from stream_balance.commands.options import MODEL_HELP, Config, Seed, Set, TargetShare, gather, listed
from stream_balance.commands.output import as_json, dead_letter_file, tell, write
from stream_balance.commands.progress import progress_bar
from stream_balance.commands.signals import stop_on_signals
from stream_balance.commands.table import TableFlags, refuse_tiers
from stream_balance.commands.targets import STANDARD_OUTPUT, check_apart, file_or_stdout
from stream_balance.commands.unread import bad_records, check_events, check_rows
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.lineup import AUTO, DEFAULT_MODEL, NONE, RIVER_LOGISTIC, Pair
from stream_balance.core.pipeline import row_as_search
from stream_balance.core.race import Race
from stream_balance.core.target import FIXED
from stream_balance.edge.compare_page import page
from stream_balance.edge.console import one_class_warning
from stream_balance.edge.logfile import read_events
from stream_balance.edge.table import read_rows
from stream_balance.errors import SettingsError
from stream_balance.service import Session, drive, make_codec
from stream_balance.settings import Settings

NEEDS_A_SERVICE = {"gan"}  # trained in a child process while the service runs
TABLE_WIDTH = 120  # where no terminal says how wide it is
Runner = tuple[str, Settings]


def runners(settings: Settings) -> list[Runner]:
    """What is compared: the settings' pairs and their mixture, or every strategy with the model and `auto`; `none` is
    always among them, for each model, and River's logistic regression. The first is a `none`.
    """
    alone = [Pair.parse(text) for text in settings.arms.pairs] or [
        Pair(settings.model.name or DEFAULT_MODEL, name) for name in STRATEGIES if name not in NEEDS_A_SERVICE
    ]
    if taught := sorted({pair.strategy for pair in alone} & NEEDS_A_SERVICE):
        raise SettingsError(
            f"arms.pairs (--arms): {taught[0]!r} needs trainings that only `run` and `replay` ask for. Leave it out."
        )
    wanted = list(dict.fromkeys([*dict.fromkeys(pair.plain() for pair in alone), *alone, RIVER_LOGISTIC]))
    found = [(pair.name, _with(settings, (pair.name,))) for pair in wanted]
    if not settings.arms.pairs:
        found.append((AUTO, _with(settings, (), AUTO)))
    elif len(alone) > 1:
        found.append(("mixture", _with(settings, tuple(pair.name for pair in alone))))
    return found


def _with(settings: Settings, pairs: tuple[str, ...], strategy: str = NONE) -> Settings:
    """Without references: those are runners of their own here. A model of two classes is wrapped for more, for River's
    logistic regression is always among them.
    """
    return settings.model_copy(
        update={
            "arms": settings.arms.model_copy(update={"pairs": pairs, "references": False}),
            "balance": settings.balance.model_copy(update={"strategy": strategy}),
            "model": settings.model.model_copy(update={"name": None, "one_vs_rest": True}),
            "freeze_after_events": None,
        }
    )


def held_fixed(settings: Settings) -> Settings:
    """Without an objective: it would follow what balancing brings over `none`, and here that is another runner."""
    target = settings.target
    if target.objective == FIXED:
        return settings
    tell(
        f"target.objective is {target.objective!r}, but a comparison holds target shares fixed: each arm is measured "
        "at the share where the objective would begin. `replay` moves it."
    )
    return settings.model_copy(update={"target": target.model_copy(update={"objective": FIXED})})


def race_events(
    paths: list[Path], settings: Settings, entered: list[Runner], stop: threading.Event, *,
    mature_all: bool, dead_letters: Path | None, quiet: bool,
) -> Race:  # fmt: skip
    """All runners over event logs."""
    cores = [(name, each.core()) for name, each in entered]
    race = Race(cores, settings.seed, ("none", *settings.wire.classes), time.process_time)
    with dead_letter_file(dead_letters) as kept:
        reader = read_events(paths, make_codec(settings))
        session = Session(race, settings, dead_letters=kept)
        try:
            with progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
                drive(reader, session, stop, on_turn=show)
        finally:
            session.fits.close()
        if not stop.is_set():
            check_events(race, reader)
        if mature_all:
            race.run_out()
    return race


def race_rows(
    path: Path, flags: TableFlags, settings: Settings, entered: list[Runner], stop: threading.Event, *,
    delay_rows: int, mature_all: bool, quiet: bool,
) -> Race:  # fmt: skip
    """All runners over a labelled table."""
    features = settings.features.model_copy(update={"builtin": False, "state": False})
    cores = [(name, each.model_copy(update={"features": features}).core()) for name, each in entered]
    reader = read_rows(path, flags.settings())
    race = Race(cores, settings.seed, reader.class_names, time.process_time, delay_rows=delay_rows)
    refuse_tiers(settings, race.panels)
    with progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
        for count, row in enumerate(reader, 1):
            if row.bad is not None:
                race.count_bad(row.bad.reason)
            else:
                race.push_row(row_as_search(row.index, row.ts_us, row.features), row.label)
            if count % 256 == 0:
                show(count)
            if stop.is_set():
                break
    if not stop.is_set():
        check_rows(race, reader)
    if mature_all:
        race.run_out()
    return race


def compare(
    log: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Event log(s), or one table with --rows.")],
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP, show_default="logistic")] = None,
    target_share: TargetShare = None,
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL:STRATEGY,...", help="Compare these and their mixture.", show_default="every strategy"
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-", callback=file_or_stdout, help="Write one page with plots; - is standard output."
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", callback=file_or_stdout, help="Write all figures; - is standard output."),
    ] = None,
    mature_all: Annotated[
        bool, typer.Option("--mature-all", help="At the end let event time run on until nothing is held.")
    ] = False,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep bad records here (logs of events).", show_default=False)
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="LOG is a labelled table: CSV (plain, gzip, zstd) or Parquet.")
    ] = False,
    label: Annotated[str | None, typer.Option(help="Column with the outcome (--rows).", show_default=False)] = None,
    positive: Annotated[str | None, typer.Option(help="Its value for class 1 (--rows).", show_default=False)] = None,
    classes: Annotated[
        str | None, typer.Option(help="All its values, the first is class 0 (--rows).", show_default=False)
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", help="Column with the time (--rows).", show_default=False)
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out (--rows).", show_default=False)] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="Type of a column (--rows).", show_default=False),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between the cells (--rows).")] = ",",
    label_delay_rows: Annotated[int, typer.Option(min=0, help="Rows until a label is known (--rows).")] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Compare strategies on one log: every strategy with the model and `auto`, or `--arms`, beside `none` and River's
    logistic regression, in one pass.

    Each row of the result is what `replay` with that strategy gives. Errors are the jackknife's over 40 stretches.
    "against none" is over the same model without any balancing; of arms that speak of the tail only, in the tail.
    SIGINT and SIGTERM end it early, and it says so.

    Examples:

    stream-balance compare shop.jsonl.zst --html compare.html

    stream-balance compare shop.jsonl.zst --arms logistic:smote,linear:none

    stream-balance compare table.csv --rows --label bought --json compare.json
    """
    settings = gather(
        config, assignments, seed=seed, model__name=model, balance__target_share=target_share, arms__pairs=listed(arms)
    )
    check_apart([*log, config], {"--html": html, "--json": json, "--dead-letters": dead_letters})
    settings = held_fixed(settings)
    entered = runners(settings)
    with stop_on_signals() as stop:
        if rows:
            if label is None or len(log) != 1:
                raise SettingsError("--rows needs --label COLUMN, the column that holds the outcome, and one table.")
            flags = TableFlags(label, positive, classes, time_column, tuple(drop or ()), tuple(types or ()), delimiter)
            race = race_rows(
                log[0], flags, settings, entered, stop, delay_rows=label_delay_rows, mature_all=mature_all, quiet=quiet
            )
        elif label is not None:
            raise SettingsError("--label is of a table. Add --rows, or leave it out for a log of events.")
        else:
            race = race_events(
                log, settings, entered, stop, mature_all=mature_all, dead_letters=dead_letters, quiet=quiet
            )
        stopped = stop.is_set()
    found = document(race, settings, ", ".join(str(path) for path in log), stopped=stopped)
    in_the_way = STANDARD_OUTPUT in (html, json)
    console = Console(stderr=in_the_way)
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH, stderr=in_the_way)
    console.print(render(found))
    if stopped:
        tell("stopped before the end: the figures are over what was read until then.")
    if bad := bad_records(race):
        tell(f"left out as bad: {bad}.")
    if warning := one_class_warning({"metrics": found["runners"][0]["metrics"]}):
        tell(warning)
    if json is not None:
        write("--json", json, as_json(found))
    if html is not None:
        write("--html", html, page(found, ranked(found)).encode())

"""`produce`: publishes an event log to the two topics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.commands.output import STDERR
from stream_balance.commands.progress import progress_bar
from stream_balance.commands.signals import stop_on_signals
from stream_balance.core.records import Search
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka.produce import Outgoing, Produced, create_log_topics
from stream_balance.edge.kafka.produce import produce as publish
from stream_balance.edge.logfile import LogReader, LogRecord, read_events
from stream_balance.errors import WorldError
from stream_balance.settings import Settings


def outgoing(record: LogRecord) -> Outgoing:
    """Keyed by user; what cannot be decoded goes out as it is, with its line number as key, if all of it was read."""
    timestamp_ms = None if record.record_time_us is None else record.record_time_us // 1000
    if record.event is None:
        return Outgoing(record.data, None, str(record.line_number).encode(), timestamp_ms, record.cut_from)
    kind = "search" if isinstance(record.event, Search) else "purchase"
    return Outgoing(record.data, kind, record.event.user_id.encode(), timestamp_ms)  # type: ignore[arg-type]  # a literal


def _until(stop: threading.Event, reader: LogReader) -> Iterator[Outgoing]:
    for record in reader:
        if stop.is_set():
            return
        yield outgoing(record)


def produce(
    log: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Event log(s).")],
    config: Config = None,
    assignments: Set = None,
    bootstrap: Annotated[str | None, typer.Option(help="Broker address.", show_default="127.0.0.1:9092")] = None,
    speed: Annotated[
        float | None, typer.Option(min=1e-6, help="Times real time.", show_default="as fast as it can")
    ] = None,
    create_topics: Annotated[bool, typer.Option("--create-topics", help="Create the two topics first.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic, with --create-topics.")] = 4,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Publish an event log to the search and purchase topics, keyed by user, record times as Kafka timestamps.

    Example: stream-balance produce shop.jsonl.gz --create-topics --partitions 4 --speed 60
    """
    settings = gather(config, assignments, kafka__bootstrap=bootstrap)
    if create_topics:
        create_log_topics(settings.kafka, partitions)
    publish_log(log, settings, speed=speed, quiet=quiet)


def publish_log(log: list[Path], settings: Settings, *, speed: float | None, quiet: bool) -> None:
    """Publish logs, or a recording's folder. Raises WorldError if not every record was sent."""
    reader = read_events(log, Codec(settings.wire))
    with stop_on_signals() as stop, progress_bar(reader.bytes_total, lambda: reader.bytes_read, quiet) as show:
        produced = publish(settings.kafka, _until(stop, reader), speed=speed, on_progress=show)
    _tell(produced)


def _tell(produced: Produced) -> None:
    """Say what was sent; raise WorldError if something was not."""
    STDERR.print(f"{produced.sent:,} records sent", highlight=False)
    if produced.failed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(produced.failed.items()))
        raise WorldError(
            "\n".join([f"{sum(produced.failed.values()):,} records not sent: {reasons}", *produced.examples])
        )

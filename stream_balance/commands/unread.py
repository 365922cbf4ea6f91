"""Unread: a file of which nothing could be read is another than was meant. In: what became of it. Out: an error."""

from __future__ import annotations

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.logfile import LogReader
from stream_balance.edge.table import TableReader
from stream_balance.errors import SettingsError


def check_events(pipeline: Pipeline, reader: LogReader) -> None:
    """Raises SettingsError if a log held bad records alone."""
    if reasons := _reasons(pipeline):
        raise SettingsError(
            f"{reader.names} has no event in {reasons}.{reader.disguise} Expected JSON lines, one event "
            "each. For a labelled table add --rows."
        )


def check_rows(pipeline: Pipeline, reader: TableReader) -> None:
    """Raises SettingsError if a table held bad rows alone."""
    first = reader.first_bad
    if (reasons := _reasons(pipeline)) and first is not None:
        flags = "--label, --positive, --classes" + (", --time" if reader.settings.time else "")
        raise SettingsError(
            f"{str(reader.path)!r} has no row that could be used in {reasons}. The first, line {first.line_number}: "
            f"{first.bad}. Look at {flags} and --type."
        )


def bad_records(pipeline: Pipeline) -> str:
    """How many there were, by reason; nothing of none."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(pipeline.bad.items()))
    return f"{sum(pipeline.bad.values()):,} records: {reasons}" if reasons else ""


def _reasons(pipeline: Pipeline) -> str:
    return "" if any(pipeline.events.values()) else bad_records(pipeline)

"""`replay --rows`: a labelled table as a stream, each row scored before its label is learned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from stream_balance.commands.output import dead_letter_file
from stream_balance.commands.unread import check_rows
from stream_balance.core.panel import Panel
from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.edge.table import ColumnType, LabelledRow, TableReader, TableSettings
from stream_balance.errors import SettingsError
from stream_balance.reading import SavedReading
from stream_balance.saving import Saving
from stream_balance.service import Session
from stream_balance.settings import Settings


@dataclass(frozen=True, slots=True)
class TableFlags:
    """What the command line says of the table."""

    label: str
    positive: str | None = None
    classes: str | None = None
    time: str | None = None
    drop: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    delimiter: str = ","

    def settings(self) -> TableSettings:
        """Checked. Raises SettingsError naming the flag."""
        types = {}
        for text in self.types:
            column, sign, kind = text.rpartition("=")
            if not sign or kind not in get_args(ColumnType):
                raise SettingsError(f"--type {text!r}: expected COLUMN={' or COLUMN='.join(get_args(ColumnType))}.")
            types[column] = kind
        try:
            return TableSettings.model_validate(
                {
                    "label": self.label, "positive": self.positive, "time": self.time, "drop": self.drop,
                    "classes": tuple(self.classes.split(",")) if self.classes else (),
                    "delimiter": "\t" if self.delimiter == "\\t" else self.delimiter, "types": types,
                }
            )  # fmt: skip
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingsError(f"--{first['loc'][0] if first['loc'] else 'rows'}: {first['msg']}.") from None


def refuse_tiers(settings: Settings, panels: Iterable[Panel]) -> None:
    """Raise SettingsError for what means nothing where rows are all of the head: balancing tiers apart, and arms that
    would never say a word.
    """
    if settings.balance.by_tier:
        raise SettingsError(
            "balance.by_tier balances popular and rare items apart, and a table has no items. Leave it out "
            "(--set balance.by_tier=false), or give a log of events."
        )
    arms = [(pair.model, arm) for panel in panels for pair, arm in zip(panel.pairs, panel.members, strict=True)]
    if models := sorted({model for model, arm in arms if not arm.speaks_everywhere}):
        raise SettingsError(
            f"arms of {', '.join(map(repr, models))} speak of tail items only, and a table's rows are all of the head, "
            "where they would serve the base rate. Leave them out, or give a log of events."
        )


def replay_table(
    reader: TableReader,
    settings: Settings,
    stop: threading.Event,
    *,
    label_delay_rows: int = 0,
    mature_all: bool = False,
    dead_letters: Path | None = None,
    on_turn: Callable[[int], None] | None = None,
    saved: Saving | None = None,
) -> dict[str, Any]:
    """Replay a labelled table; return the report as a document. With `saved` it goes on from there, and saves."""
    features = settings.features.model_copy(update={"builtin": False, "state": False})
    settings = settings.model_copy(update={"features": features})
    pipeline = saved.pipeline if saved is not None else None
    if pipeline is None:
        pipeline = Pipeline(settings.core(), settings.seed, reader.class_names, delay_rows=label_delay_rows)
    refuse_tiers(settings, [pipeline.panel])
    with dead_letter_file(dead_letters) as kept:
        session = Session(pipeline, settings, dead_letters=kept, journal=saved.journal if saved is not None else None)
        flush = kept.sync if kept is not None else lambda: None
        reading = SavedReading(reader, saved, pipeline, _content, flush=flush) if saved is not None else None
        for count, row in enumerate(reader if reading is None else reading, 1):
            if row.bad is not None:
                session.keep_bad(row, row.bad)
            else:
                pipeline.push_row(row_as_search(row.index, row.ts_us, row.features), row.label)
            if on_turn is not None and count % 256 == 0:
                on_turn(count)
            if stop.is_set():
                break
        if not stop.is_set():
            check_rows(pipeline, reader)
        if reading is not None:
            reading.finish()
        if mature_all:
            pipeline.run_out()
        return session.end()


def _content(row: LabelledRow) -> bytes:
    return repr((row.index, row.ts_us, row.label, row.features, row.data)).encode()

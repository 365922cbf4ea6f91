"""Table: a labelled table as a stream of rows. In: CSV (plain, gzip, zstd) or Parquet. Out: LabelledRow, good and bad.

**Types.** From the first `infer_rows` rows: a column is numeric if every value that is not absent is a finite number,
else nominal (so True/False is nominal); a column without a value there is decided by its first one. In a numeric column
empty, NaN, NA, N/A and null are absent, in a nominal one only empty is. A later value that is no number makes a bad
record; the rows after it still come. Parquet's lists of numbers are embeddings.

**Label.** With `positive` the rest is class 0; with `classes` each is named, the first is class 0; without either two
well-known pairs are understood (0/1, no/yes, false/true, n/y), whatever their case.

**Time.** ISO 8601 (without an offset: UTC) or a number: below 1e11 seconds, from there on milliseconds since 1970.
Without a time column a row's number is its second, counted from 2000-01-01.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, PositiveInt, field_validator

from stream_balance.core.records import FeatureValue, RoomSettings
from stream_balance.edge.codec import parse_time_us
from stream_balance.edge.table_source import Cell, RawRow, TableSource
from stream_balance.edge.wire import WireSettings, found
from stream_balance.errors import BadRecord, SettingsError, did_you_mean

ROW_TIME_START_US = 946_684_800_000_000  # 2000-01-01
ABSENT_NUMBERS = frozenset(("", "nan", "na", "n/a", "null"))
PAIRS = (("0", "1"), ("no", "yes"), ("false", "true"), ("n", "y"))
_SECONDS_BELOW = 1e11
_DELIMITERS = (";", "\t", ",", "|")
_SHOWN_MAX = 40  # names in a message

NUMBER_MAX = WireSettings().number_max  # beyond it arithmetic overflows

ColumnType = Literal["numeric", "nominal"]


class TableSettings(RoomSettings):
    """How a table is read."""

    label: str  # column of the outcome
    positive: str | None = None  # its value that is class 1
    classes: tuple[str, ...] = ()  # or its values in order of class id
    time: str | None = None  # column of the time; never a feature
    drop: tuple[str, ...] = ()  # columns left out
    delimiter: str = ","
    types: dict[str, ColumnType] = Field(default_factory=dict)  # given, not inferred
    infer_rows: PositiveInt = 1000

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, text: str) -> str:
        text = "\t" if text in ("\\t", "tab") else text
        if len(text) != 1:
            raise ValueError("is one character, for example ';'")
        return text


@dataclass(slots=True)
class LabelledRow:
    """One row. Absent features are left out. Where `bad` says why, the row has no features and no meaning."""

    index: int  # from 0, bad rows counted
    features: dict[str, FeatureValue]
    label: int
    ts_us: int
    path: Path
    line_number: int
    bad: BadRecord | None = None
    data: bytes = b""  # of a bad row, as CSV


class _Labels(NamedTuple):
    """Values of the label column -> class id; what is not listed is class 0 if `rest_is_none`, else unknown."""

    ids: dict[str, int]
    class_names: tuple[str, ...]
    rest_is_none: bool = False
    ignore_case: bool = False


def read_rows(path: Path, settings: TableSettings) -> TableReader:
    """The rows of a table, in its order. Raises SettingsError if columns or labels are not what the settings say."""
    return TableReader(path, settings)


class TableReader:
    """Iterates over LabelledRow once. `class_names`, `columns` (features) and `bytes_total` are there after birth;
    `first_bad` is the first bad row met.

    Raises SettingsError at birth, or at the end if there were good rows, and only others than the positive value among
    them; WorldError where the file is damaged.
    """

    def __init__(self, path: Path, settings: TableSettings) -> None:
        self.path = path
        self.settings = settings
        self.first_bad: LabelledRow | None = None
        self._source = TableSource(path, settings.delimiter)
        self.bytes_total = self._source.bytes_total
        header = self._source.header
        named = [settings.label, *([settings.time] if settings.time else []), *settings.drop, *settings.types]
        for name in named:
            _check_column(path, name, header, settings.delimiter)
        self._label_at = header.index(settings.label)
        self._time_at = None if settings.time is None else header.index(settings.time)
        left_out = {settings.label, settings.time, *settings.drop}
        features = [(index, name) for index, name in enumerate(header) if name not in left_out]
        self.columns = tuple(name for _, name in features)
        rows = self._source.rows()
        first = list(islice(rows, settings.infer_rows))
        good = [row.cells for row in first if row.bad is None]
        if not good:
            raise SettingsError(f"{str(path)!r} has no rows below its header that can be read.")
        self._labels = _read_labels(path, settings, [row[self._label_at] for row in good])
        self.class_names = self._labels.class_names
        self._plan: list[tuple[int, str, ColumnType | None]] = [
            (index, name, settings.types.get(name) or _infer([row[index] for row in good])) for index, name in features
        ]
        self._positive = None if settings.positive is None else _label_text(settings.positive)
        self._values = sorted({_label_text(row[self._label_at]) for row in good} - {""})
        self._rows = self._read(chain(first, rows))

    @property
    def bytes_read(self) -> int:
        return self._source.bytes_read

    def __iter__(self) -> Iterator[LabelledRow]:
        return self

    def __next__(self) -> LabelledRow:
        return next(self._rows)

    def _read(self, rows: Iterator[RawRow]) -> Iterator[LabelledRow]:
        seen = self._positive is None
        good, unseen = False, ""  # why a positive row was not seen
        for index, raw in enumerate(rows):
            bad = raw.bad
            if bad is None:
                try:
                    features, label = self._to_features(raw.cells), self._to_label(raw.cells[self._label_at])
                    ts_us = ROW_TIME_START_US + index * 1_000_000
                    if self._time_at is not None:
                        ts_us = _time_us(raw.cells[self._time_at], self._source.header[self._time_at])
                    good, seen = True, seen or label == 1
                    yield LabelledRow(index, features, label, ts_us, self.path, raw.line_number)
                    continue
                except BadRecord as caught:
                    bad = caught.to_keep()
                    if not unseen and _label_text(raw.cells[self._label_at]) == self._positive:
                        unseen = f"line {raw.line_number}: {bad}"
            row = LabelledRow(index, {}, 0, 0, self.path, raw.line_number, bad, self._source.encode(raw.cells))
            self.first_bad = self.first_bad or row
            yield row
        # A table of one class is no mistake (the report will say so), nor is it said here that there is no good row.
        if good and not seen and len(self._values) > 1:
            self._refuse(unseen)

    def _refuse(self, unseen: str) -> None:
        """No good row is positive: none is, or those that are cannot be read, the first because of `unseen`."""
        told = f"{str(self.path)!r}, label column {self.settings.label!r} has {self._positive!r} in no row"
        if unseen:
            flags = "--type and --time" if self.settings.time else "--type"
            raise SettingsError(f"{told} that can be read; the first one that has it is {unseen}. Look at {flags}.")
        raise SettingsError(
            f"{told}; its first rows have {_listed(self._values)}. Say the positive value with --positive."
        )

    def _to_features(self, cells: Sequence[Cell]) -> dict[str, FeatureValue]:
        features: dict[str, FeatureValue] = {}
        for place, (index, name, planned) in enumerate(self._plan):
            cell = cells[index]
            if cell is None or cell == "":
                continue
            kind = planned or self._decide(place, cell)
            if kind == "nominal":
                features[name] = cell if cell.__class__ is str else str(cell)
            elif kind == "numeric":
                number = _number(cell, name)
                if number is not None:
                    features[name] = number
        return features

    def _decide(self, place: int, cell: Cell) -> ColumnType | None:
        """The type of a column that had no value yet; None if this is none either."""
        index, name, _ = self._plan[place]
        kind = _infer([cell])
        self._plan[place] = (index, name, kind)
        return kind

    def _to_label(self, cell: Cell) -> int:
        text = _label_text(cell)
        if text == "":
            raise BadRecord("missing_field", "label is empty")
        labels = self._labels
        label = labels.ids.get(text.lower() if labels.ignore_case else text)
        if label is None and not labels.rest_is_none:
            raise BadRecord("unknown_label", f"label is {found(text)}, expected one of: {_listed(labels.ids)}")
        return label or 0


def _check_column(path: Path, name: str, header: list[str], delimiter: str) -> None:
    if name in header:
        return
    if len(header) == 1:
        for other in _DELIMITERS:
            if other != delimiter and other in header[0]:
                told = "'\\t'" if other == "\t" else repr(other)
                raise SettingsError(f"{str(path)!r} has one column only, {found(header[0])}. Try --delimiter {told}.")
    hint = did_you_mean(name, header)
    raise SettingsError(f"{str(path)!r} has no column {name!r}.{hint} Its columns: {_listed(header)}.")


def _read_labels(path: Path, settings: TableSettings, cells: Sequence[Cell]) -> _Labels:
    """What the label's values mean, from the settings and the values of the first rows."""
    values = sorted({_label_text(cell) for cell in cells} - {""})
    where = f"{str(path)!r}, label column {settings.label!r}"
    if settings.classes:
        if settings.positive is not None:
            raise SettingsError("--positive and --classes say the same thing twice. Give one of them.")
        if len(settings.classes) < 2 or len(set(settings.classes)) < len(settings.classes):
            raise SettingsError("--classes needs two or more different values, the first means class 0.")
        return _Labels({_label_text(name): index for index, name in enumerate(settings.classes)}, settings.classes)
    if settings.positive is not None:
        positive = _label_text(settings.positive)
        near = [value for value in values if value != positive and value.lower() == positive.lower()]
        if positive not in values and near:
            raise SettingsError(f"{where} has no {positive!r}. Did you mean --positive {near[0]!r}?")
        others = [value for value in values if value != positive]
        return _Labels(
            {positive: 1}, (others[0] if len(others) == 1 else f"not {positive}", positive), rest_is_none=True
        )
    for pair in PAIRS:
        if values and {value.lower() for value in values} <= set(pair):
            return _Labels({pair[0]: 0, pair[1]: 1}, pair, ignore_case=True)
    told = "--positive VALUE" if len(values) <= 2 else "--positive VALUE, or --classes NONE,A,B for several classes"
    raise SettingsError(f"{where} has the values {_listed(values)}. Say which one is positive: {told}.")


def _infer(cells: Sequence[Cell]) -> ColumnType | None:
    """None where there is no value yet."""
    kind: ColumnType | None = None
    for cell in cells:
        if isinstance(cell, str) and cell.strip().lower() in ABSENT_NUMBERS:
            continue
        if cell is None:
            continue
        try:
            _number(cell, "")
        except BadRecord:
            return "nominal"
        kind = "numeric"
    return kind


def _number(cell: Cell, name: str) -> FeatureValue | None:
    """A finite number, a list of them, or None where the cell means absent."""
    if isinstance(cell, list | tuple):
        if all(isinstance(part, int | float) and -NUMBER_MAX <= part <= NUMBER_MAX for part in cell):
            return [float(part) for part in cell]
        raise BadRecord("wrong_type", f"{name} is a list with other things than numbers of at most {NUMBER_MAX:g}")
    try:
        if cell.__class__ is bool or "_" in (cell if cell.__class__ is str else ""):
            raise ValueError  # True and 1_000 are numbers to Python only
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        if isinstance(cell, str) and cell.strip().lower() in ABSENT_NUMBERS:
            return None
        raise BadRecord("wrong_type", f"{name} is {found(cell)}, expected a number") from None
    if math.isnan(number):
        return None
    if math.isfinite(number):
        if not -NUMBER_MAX <= number <= NUMBER_MAX:
            raise BadRecord("out_of_range", f"{name} is {found(cell)}, expected at most {NUMBER_MAX:g} in size")
        return number
    raise BadRecord("not_finite", f"{name} is {found(cell)}, expected a finite number")


def _label_text(cell: Cell) -> str:
    """1.0 and 1 are one value: a whole number may have become a float on its way."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    text = str(cell).strip()
    whole = text.removesuffix(".0")
    return whole if whole.lstrip("-").isdigit() else text


def _time_us(cell: Cell, name: str) -> int:
    if isinstance(cell, datetime):
        cell = (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    elif isinstance(cell, date):
        cell = f"{cell.isoformat()}T00:00:00Z"
    if isinstance(cell, str):
        try:
            cell = float(cell) if "." in cell else int(cell)
        except ValueError:
            return parse_time_us(_with_offset(cell), name)
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) < _SECONDS_BELOW:
        return round(cell * 1_000_000)
    return parse_time_us(cell, name)


def _with_offset(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _listed(names: Sequence[str] | dict[str, int]) -> str:
    shown = [repr(name) for name in list(names)[:_SHOWN_MAX]]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else "")

"""Tables: any labelled table is a stream of rows; what is wrong is told before the start or counted on the way."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from stream_balance.edge.table import ROW_TIME_START_US, LabelledRow, TableSettings, read_rows
from stream_balance.errors import SettingsError, WorldError

CSV = 'id,age,job,"last, contact",y\n1,30,clerk,,no\n2,,"sales, north",2.5,yes\n3,41,,-1e3,no\n'


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def read(path: Path, label: str = "y", **given: Any) -> list[LabelledRow]:
    return list(read_rows(path, TableSettings(label=label, **given)))


def simple(rows: list[LabelledRow]) -> list[tuple[object, int]]:
    return [(row.features, row.label) for row in rows]


def test_types_are_inferred_and_what_is_empty_is_absent(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "t.csv", CSV), drop=("id",))
    assert simple(rows) == [
        ({"age": 30.0, "job": "clerk"}, 0),
        ({"job": "sales, north", "last, contact": 2.5}, 1),
        ({"age": 41.0, "last, contact": -1000.0}, 0),
    ]
    assert [row.ts_us - ROW_TIME_START_US for row in rows] == [0, 1_000_000, 2_000_000]


def test_the_packing_does_not_matter(tmp_path: Path) -> None:
    plain = write(tmp_path / "t.csv", "\ufeff" + CSV.replace("\n", "\r\n"))
    (tmp_path / "gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "zst").write_bytes(zstandard.ZstdCompressor().compress(CSV.encode()))
    assert simple(read(plain)) == simple(read(tmp_path / "gz")) == simple(read(tmp_path / "zst"))


def test_parquet_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    rng = random.Random(1)
    names = ["n", "text", "flag", "label"]
    cells = [
        [rng.choice([None, 1.5, -2.0]), rng.choice(["a", "b"]), rng.random() < 0.5, rng.random() < 0.1]
        for _ in range(2500)
    ]
    cells[0][3], cells[1][3] = True, False
    columns = dict(zip(names, map(list, zip(*cells, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in cells]
    plain = write(tmp_path / "t.csv", "\n".join([",".join(names), *lines]))
    assert simple(read(tmp_path / "t.parquet", "label")) == simple(read(plain, "label"))
    reader = read_rows(tmp_path / "t.parquet", TableSettings(label="label"))
    assert (reader.class_names, sum(1 for _ in reader)) == (("false", "true"), 2500)
    assert reader.bytes_read == reader.bytes_total


def test_lists_and_times_of_parquet(tmp_path: Path) -> None:
    when = pa.array([1_772_366_400_000_123, None], pa.timestamp("us", "UTC"))
    table = pa.table({"e": [[1.0, 2.0], [3.0, None]], "t": when, "y": [1, 0]})
    pq.write_table(table, tmp_path / "t")
    first, second = read(tmp_path / "t", time="t", types={"e": "numeric"})
    assert (first.features, first.ts_us) == ({"e": [1.0, 2.0]}, 1_772_366_400_000_123)
    assert second.bad is not None


def test_a_value_that_is_no_number_is_a_bad_record_and_the_rows_after_it_come(tmp_path: Path) -> None:
    body = "".join(f"{i},0\n" for i in range(1000))
    body += "many,1\ninf,1\n1e200,1\nNA,1\n1_0,1\n7,\n8,maybe\n9\n9,1,1\n10,1\n"
    rows = read(write(tmp_path / "t", "x,y\n" + body))
    assert [row.bad and row.bad.reason for row in rows[1000:]] == [
        "wrong_type", "not_finite", "out_of_range", None, "wrong_type", "missing_field",
        "unknown_label", "missing_field", "wrong_type", None,
    ]  # fmt: skip
    assert str(rows[1000].bad) == "x is 'many', expected a number"
    assert (rows[1000].data, rows[1000].line_number) == (b"many,1", 1002)
    assert simple(rows[1003:1004] + rows[-1:]) == [({}, 1), ({"x": 10.0}, 1)]


def test_bytes_that_are_not_utf8_are_a_bad_record(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes("job,y\ncafé,0\n".encode() + b"caf\xe9,1\nbar,1\n")
    rows = read(tmp_path / "t")
    assert [row.bad and row.bad.reason for row in rows] == [None, "not_utf8", None]
    assert rows[1].data == b"caf\xe9,1"


def test_types_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "zip,flag,y\n0123,True,0\n0456,False,1\n")
    assert read(path, types={"zip": "nominal"})[0].features == {"zip": "0123", "flag": "True"}
    assert read(path)[0].features == {"zip": 123.0, "flag": "True"}


def test_a_column_without_values_at_first_is_decided_by_its_first_value(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "a,b,y\n,,0\n,,1\n5,x,1\n")
    assert read(path, infer_rows=2)[2].features == {"a": 5.0, "b": "x"}


@pytest.mark.parametrize(
    ("values", "given", "labels", "names"),
    [
        ("no yes no", {}, [0, 1, 0], ("no", "yes")),
        ("TRUE FALSE", {}, [1, 0], ("false", "true")),
        ("1.0 0.0 1", {}, [1, 0, 1], ("0", "1")),
        ("N N y", {}, [0, 0, 1], ("n", "y")),
        ("bad good", {"positive": "bad"}, [1, 0], ("good", "bad")),
        ("a b c", {"positive": "b"}, [0, 1, 0], ("not b", "b")),
        ("c a b", {"classes": ("a", "b", "c")}, [2, 0, 1], ("a", "b", "c")),
    ],
)
def test_the_label_is_understood_or_said(
    tmp_path: Path, values: str, given: dict[str, Any], labels: list[int], names: tuple[str, ...]
) -> None:
    path = write(tmp_path / "t", "x,y\n" + "".join(f"1,{value}\n" for value in values.split()))
    assert [row.label for row in read(path, **given)] == labels
    assert read_rows(path, TableSettings(label="y", **given)).class_names == names


@pytest.mark.parametrize(
    ("text", "given", "told"),
    [
        (CSV, {"label": "Y"}, r"no column 'Y'. Did you mean 'y'\? Its columns: 'id', 'age'"),
        (CSV, {"label": "outcome"}, "no column 'outcome'.*Its columns"),
        (CSV, {"time": "when"}, "no column 'when'"),
        (CSV, {"drop": ("ID",)}, "no column 'ID'"),
        (CSV, {"positive": "Yes"}, "Did you mean --positive 'yes'"),
        (CSV, {"positive": "yes", "classes": ("no", "yes")}, "twice"),
        (CSV.replace("no", "maybe"), {}, "values 'maybe', 'yes'. Say which one is positive: --positive VALUE"),
        (CSV, {"label": "age"}, "values '30', '41'"),
        ("a;y\n1;0\n", {}, "one column only, 'a;y'. Try --delimiter ';'"),
        ("a\ty\n1\t0\n", {}, r"Try --delimiter '\\t'"),
        ("", {}, "has no records"),
        ("a,y\n", {}, "no rows below its header"),
        ("y,y\n1,1\n", {}, "more than one column 'y'"),
        ("\0\1\udcff\n", {}, "not text in UTF-8"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(tmp_path: Path, text: str, given: dict[str, Any], told: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=told):
        read(path, **({"label": "y"} | given))


@pytest.mark.parametrize(
    ("value", "expected_us"),
    [
        ("2026-03-01T12:00:00Z", 1_772_366_400_000_000),
        ("2026-03-01 13:00:00.000001+01:00", 1_772_366_400_000_001),
        ("2026-03-01 12:00:00", 1_772_366_400_000_000),
        ("2026-03-01", 1_772_323_200_000_000),
        ("1772366400", 1_772_366_400_000_000),
        ("1772366400.5", 1_772_366_400_500_000),
        ("1772366400123", 1_772_366_400_123_000),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_read_in_every_usual_way(tmp_path: Path, value: str, expected_us: int | None) -> None:
    row = read(write(tmp_path / "t", f"t,x,y\n{value},1,0\n"), time="t")[0]
    if expected_us is None:
        assert row.bad is not None
        assert row.bad.reason == "bad_time"
    else:
        assert (row.ts_us, row.features) == (expected_us, {"x": 1.0})


@pytest.mark.parametrize(
    ("rows", "given", "told"),
    [
        # positive rows are there, and bad
        ("a,no\n1,no\nb,yes\n2,no\n", {}, "'yes' in no row that can be read; the first one that has it is line 4: x"),
        ("3,yes\n", {"time": "x"}, None),
        ("3,no\nsoon,yes\n", {"time": "x"}, "is line 3: .*'soon'.*Look at --type and --time"),
        # all are bad: what is to be said of that is not said of the positive value
        ("a,no\nb,yes\n", {}, None),
        # and one of them is no reason to be silent about a value that is nowhere
        ("a,no\n1,maybe\n", {}, "'yes' in no row; its first rows have 'maybe', 'no'"),
    ],
)
def test_positive_rows_that_are_bad_are_not_said_to_be_missing(
    tmp_path: Path, rows: str, given: dict[str, Any], told: str | None
) -> None:
    types = {} if given else {"x": "numeric"}
    path = write(tmp_path / "t", f"x,y\n{rows}")
    reader = read_rows(path, TableSettings.model_validate({"label": "y", "positive": "yes", "types": types, **given}))
    if told is None:
        assert len(list(reader)) == rows.count("\n")
    else:
        with pytest.raises(SettingsError, match=told):
            list(reader)


def test_the_first_bad_row_is_known(tmp_path: Path) -> None:
    reader = read_rows(write(tmp_path / "t", "x,y\n1,no\n2\n3,\n4,yes\n"), TableSettings(label="y"))
    assert reader.first_bad is None
    assert sum(row.bad is not None for row in reader) == 2
    assert reader.first_bad is not None
    assert reader.first_bad.line_number == 3


def test_a_truncated_gzip_gives_its_whole_rows_and_then_says_so(tmp_path: Path) -> None:
    rng = random.Random(2)
    packed = gzip.compress(("x,y\n" + "".join(f"{rng.random()},{i % 2}\n" for i in range(5000))).encode())
    (tmp_path / "t").write_bytes(packed[: len(packed) // 2])
    rows = []
    with pytest.raises(WorldError, match="read up to line"):
        rows.extend(iter(read_rows(tmp_path / "t", TableSettings(label="y"))))
    assert len(rows) > 1500


def test_a_damaged_parquet_is_the_worlds_fault(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(WorldError, match="damaged Parquet"):
        read(tmp_path / "t")


def test_a_delimiter_is_one_character() -> None:
    assert TableSettings(label="y", delimiter="\\t").delimiter == "\t"
    with pytest.raises(ValidationError, match="one character"):
        TableSettings(label="y", delimiter=";;")


def test_a_type_that_is_decided_late_stays_decided(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "a,b,y\n,,0\nNA,NA,1\n5,x,1\nsix,7,0\n")
    rows = read(path, infer_rows=1)
    assert [row.features for row in rows] == [{}, {}, {"a": 5.0, "b": "x"}, {}]
    assert str(rows[3].bad) == "a is 'six', expected a number"

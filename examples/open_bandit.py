"""Open Bandit Dataset to an event log: each shown item becomes a search event, each click an outcome one second later.

Usage: python examples/open_bandit.py obd_bts_all.csv.gz obd_bts_all_item_context.csv.gz -o open_bandit.jsonl.gz

Rows with the same time and the same user features are one search. The same files give the same bytes; events come in
order of time. See README.md in this folder for what becomes of each column.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import heapq
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO

from stream_balance.core.records import FeatureValue, Purchase, Search
from stream_balance.edge.codec import Codec, WireSettings, parse_time_us

CLICK_AFTER_US = 1_000_000
AFFINITY = "user-item_affinity_"
USER = "user_feature_"

Row = Mapping[str, str]


def read_table(path: Path) -> Iterator[Row]:
    """Rows of a CSV, gzip or plain."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt", newline="") if packed else path.open(newline="") as text:
        yield from csv.DictReader(text)


def read_items(path: Path) -> dict[str, dict[str, FeatureValue]]:
    """Item id -> its features; what reads as a number is one, the hashed ones stay text."""
    items: dict[str, dict[str, FeatureValue]] = {}
    for row in read_table(path):
        items[row["item_id"]] = {name: _value(text) for name, text in row.items() if name.startswith("item_feature_")}
    return items


def _value(text: str) -> FeatureValue:
    try:
        return float(text)
    except ValueError:
        return text


def _user(row: Row) -> dict[str, FeatureValue]:
    return {name: text for name, text in row.items() if name.startswith(USER)}


def _user_id(row: Row) -> str:
    return "u-" + sha256("|".join(row[name] for name in sorted(_user(row))).encode()).hexdigest()[:16]


def to_search(number: int, rows: Sequence[Row], items: Mapping[str, Mapping[str, FeatureValue]]) -> Search:
    """The rows of one moment and user as one search. `number` is that of its first row."""
    features = [dict(items[row["item_id"]]) | {"affinity": float(row[AFFINITY + row["item_id"]])} for row in rows]
    n = len(rows)
    return Search(
        f"s-{number:08d}",
        parse_time_us(rows[0]["timestamp"]),
        _user_id(rows[0]),
        tuple(f"i-{row['item_id']}" for row in rows),
        tuple(int(row["position"]) for row in rows),
        (None,) * n,
        (None,) * n,
        tuple(features),
        _user(rows[0]),
    )


def convert(impressions: Path, item_context: Path) -> Iterator[bytes]:
    """The event log, line by line, in order of time. The impressions are in order of time, as published."""
    codec, items = Codec(WireSettings()), read_items(item_context)
    clicks: list[tuple[int, str, Purchase]] = []
    numbered = enumerate(read_table(impressions))
    for (_, user_id), group in groupby(numbered, key=lambda pair: (pair[1]["timestamp"], _user_id(pair[1]))):
        numbers, rows = zip(*group, strict=True)
        search = to_search(numbers[0], rows, items)
        while clicks and clicks[0][0] < search.ts_us:
            yield codec.encode_purchase(heapq.heappop(clicks)[2])
        yield codec.encode_search(search)
        for number, row in zip(numbers, rows, strict=True):
            if row["click"] == "1":
                due_us, name = search.ts_us + CLICK_AFTER_US, f"c-{number:08d}"
                click = Purchase(name, due_us, user_id, f"i-{row['item_id']}", search.event_id)
                heapq.heappush(clicks, (due_us, name, click))
    while clicks:
        yield codec.encode_purchase(heapq.heappop(clicks)[2])


@contextmanager
def open_log(path: str) -> Iterator[IO[bytes]]:
    """Where the log goes: a file, compressed if it ends in .gz, or - for standard output."""
    if path == "-":
        yield sys.stdout.buffer
    elif path.endswith(".gz"):
        # no name and no time in the header: the same log is the same bytes
        with Path(path).open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # writes bytes
    else:
        with Path(path).open("wb") as raw:
            yield raw


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("impressions", type=Path, help="for example obd_bts_all.csv.gz")
    parser.add_argument("item_context", type=Path, help="for example obd_bts_all_item_context.csv.gz")
    parser.add_argument("-o", "--output", default="-", help="JSON lines; .gz compresses; - is standard output")
    arguments = parser.parse_args()
    try:
        with open_log(arguments.output) as log:
            count = 0
            for line in convert(arguments.impressions, arguments.item_context):
                log.write(line + b"\n")
                count += 1
    except OSError as error:
        print(f"{error.filename!r}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyError as error:
        print(
            f"{error} is missing: the files are not those of the Open Bandit Dataset, or not of one set",
            file=sys.stderr,
        )
        return 2
    print(f"{count} events in {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

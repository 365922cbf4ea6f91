"""What the generators of the examples share: records in order of time, to a file. In: (seconds, record). Out: a log."""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0

Record = dict[str, Any]


def at(seconds: float) -> str:
    """Seconds since the example's beginning as ISO 8601."""
    return (START + timedelta(milliseconds=round(seconds * 1000))).isoformat(timespec="milliseconds")


def chance(logit: float) -> float:
    """The probability of a logit."""
    return 1.0 / (1.0 + math.exp(-logit))


def in_order(records: Iterable[tuple[float, Record, list[tuple[float, Record]]]]) -> Iterator[Record]:
    """Records by time: each with the later ones that follow from it."""
    later: list[tuple[float, int, Record]] = []
    number = 0
    for seconds, record, follow in records:
        while later and later[0][0] <= seconds:
            yield heapq.heappop(later)[2]
        yield record
        for due, outcome in follow:
            number += 1
            heapq.heappush(later, (due, number, outcome))
    while later:
        yield heapq.heappop(later)[2]


def write(
    doc: str | None, make: Callable[[int, random.Random], Iterable[tuple[float, Record, list[tuple[float, Record]]]]]
) -> None:
    """The command line of a generator: `--records N --seed S -o FILE` (.gz compresses, - is standard output)."""
    assert doc is not None
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--records", type=int, default=30_000, help="to be scored; outcomes come on top")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-o", "--output", default="-")
    chosen: Any = parser.parse_args()
    lines = (
        json.dumps(record).encode() + b"\n" for record in in_order(make(chosen.records, random.Random(chosen.seed)))
    )
    if chosen.output == "-":
        sys.stdout.buffer.writelines(lines)
        return
    with Path(chosen.output).open("wb") as raw:
        if chosen.output.endswith(".gz"):
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                packed.writelines(lines)
        else:
            raw.writelines(lines)

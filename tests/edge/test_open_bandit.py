"""The Open Bandit example: rows become searches, clicks become purchases, nothing is lost."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from stream_balance.core.records import Purchase, Search
from stream_balance.edge.codec import Codec, WireSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "open_bandit.py"
ROWS = [
    # time, item, position, click, user feature, affinity of item 0, of item 1
    ("2019-11-24 00:00:17.004101+00:00", 1, 2, 1, "ua", 0.0, 0.5),
    ("2019-11-24 00:00:17.004101+00:00", 0, 1, 0, "ua", 0.25, 0.5),
    ("2019-11-24 00:00:17.900000+00:00", 0, 3, 1, "ub", 2.0, 0.0),
    ("2019-11-24 00:00:18.004101+00:00", 1, 1, 0, "ua", 0.0, 0.0),
    ("2019-11-24 00:00:40+00:00", 1, 1, 0, "ua", 0.0, 0.0),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    impressions, items = tmp_path / "all.csv.gz", tmp_path / "items.csv"
    with gzip.open(impressions, "wt", newline="") as text:
        writer = csv.writer(text)
        head = "timestamp item_id position click user_feature_0 user-item_affinity_0 user-item_affinity_1"
        writer.writerow(["", *head.split(), "propensity_score"])
        writer.writerows([index, *row, 0.1] for index, row in enumerate(ROWS))
    items.write_text(",item_id,item_feature_0,item_feature_1\n0,0,-0.5,abc\n1,1,0.75,def\n")
    return impressions, items


def test_rows_become_searches_and_clicks_purchases_in_order_of_time(files: tuple[Path, Path]) -> None:
    spec = importlib.util.spec_from_file_location("open_bandit", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    codec = Codec(WireSettings())
    events = [codec.parse(line) for line in example.convert(*files)]
    assert [event.event_id for event in events] == [
        "s-00000000", "s-00000002", "s-00000003", "c-00000000", "c-00000002", "s-00000004",
    ]  # fmt: skip
    first, click = events[0], events[3]
    assert isinstance(first, Search)
    assert isinstance(click, Purchase)
    assert (first.item_ids, first.positions, first.features) == (("i-1", "i-0"), (2, 1), {"user_feature_0": "ua"})
    assert first.item_features[1] == {"item_feature_0": -0.5, "item_feature_1": "abc", "affinity": 0.25}
    assert (click.search_id, click.item_id, click.ts_us - first.ts_us) == ("s-00000000", "i-1", 1_000_000)
    assert click.user_id == first.user_id


def test_the_command_writes_the_same_bytes_twice_and_names_a_missing_file(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run(*files, "-o", tmp_path / "a.gz").returncode == 0
    assert run(*files, "-o", tmp_path / "b.gz").returncode == 0
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    gone = run(tmp_path / "gone.csv", files[1])
    assert (gone.returncode, "gone.csv" in gone.stderr, "Traceback" in gone.stderr) == (2, True, False)

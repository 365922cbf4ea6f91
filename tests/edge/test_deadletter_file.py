"""Dead letters: what was bad can be read again, and the file has an end."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.deadletter_file import DeadLetterFile, DeadLetterSettings
from stream_balance.edge.logfile import LogRecord, read_events
from stream_balance.errors import BadRecord, SettingsError

BAD = BadRecord("not_json", "record is not JSON")


def record(data: bytes, line: int = 7) -> LogRecord:
    return LogRecord(None, BAD, data, Path("shop.jsonl"), line, None)


def test_bytes_place_and_reason_are_kept(tmp_path: Path) -> None:
    with DeadLetterFile(tmp_path / "dead") as letters:
        letters.keep(record(b'{"half'), BAD)
        letters.keep(record(b"\xff\n", 8), BAD)
    first, second = map(orjson.loads, (tmp_path / "dead").read_bytes().splitlines())
    told = {"path": "shop.jsonl", "line": 7, "reason": "not_json", "message": "record is not JSON"}
    assert first == told | {"text": '{"half'}
    assert base64.b64decode(second["base64"]) == b"\xff\n"


def test_what_was_there_stays_and_a_cut_line_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "dead"
    path.write_bytes(b'{"line": 1}\n{"li')
    with DeadLetterFile(path) as letters:
        letters.keep(record(b"x"), BAD)
    lines = path.read_bytes().splitlines()
    assert lines[:2] == [b'{"line": 1}', b'{"li']
    assert orjson.loads(lines[2])["text"] == "x"


def test_beyond_its_bound_it_counts_instead(tmp_path: Path) -> None:
    path = tmp_path / "dead"
    with DeadLetterFile(path, DeadLetterSettings(bytes_max=1000)) as letters:
        for _ in range(50):
            letters.keep(record(b"x" * 50), BAD)
    assert path.stat().st_size <= 1000
    assert letters.kept == len(path.read_bytes().splitlines()) > 0
    assert letters.kept + letters.left_out == 50


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be opened"):
        DeadLetterFile(tmp_path / "gone" / "dead")


def test_the_bad_records_of_a_log_go_in_as_they_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"[]\n{\n")
    with DeadLetterFile(tmp_path / "dead") as letters:
        for read in read_events([log], Codec(WireSettings())):
            assert read.bad is not None
            letters.keep(read, read.bad)
    lines = [orjson.loads(line) for line in (tmp_path / "dead").read_bytes().splitlines()]
    assert [(line["line"], line["reason"], line["text"]) for line in lines] == [
        (1, "wrong_type", "[]"),
        (2, "not_json", "{"),
    ]

"""Mutated records through the codec and the whole pipeline: each one is an event or a bad record with a reason.

    python -m tests.fuzz_decoder --records 1000000 --seed 0

Prints what became of the records. At the first exception, the first probability that is none or the first sum that does
not add up it says which record of which seed did it, and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from stream_balance.core.balance import BalanceSettings
from stream_balance.core.join import JoinSettings
from stream_balance.core.records import Scored
from stream_balance.edge.codec import Codec
from stream_balance.edge.dead_letter import DeadLetter
from stream_balance.edge.kafka.decode import decode
from stream_balance.edge.merge import Polled
from stream_balance.edge.wire import REASONS
from stream_balance.errors import BadRecord
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings
from stream_balance.simulation.shop import Shop, ShopSettings

CHECK_EVERY = 20_000
PIECES = (
    b"NaN", b"-Infinity", b"null", b"true", b"1e999", b"-0.0", b"9" * 30, b"0" * 400, b'"', b"{", b"}", b"[", b"]",
    b":", b",", b"\xff", b"\x00", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b'"items":', b'"item_id":', b'"ts":',
    b"[" * 300, b'{"a":' * 99, b'"schema":2,', b'"type":"purchase",', b"\n", b"\xef\xbb\xbf", "\u202e".encode(),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 0.1, 1e308, -1e-320, "", "x", "x" * 600, [], {}, [[]],
    [1, "a"], [0.5] * 1100, {"a": {}}, {"": 1}, "2099-01-01T00:00:00Z", "2001-01-01T00:00:00+14:00", 1_772_352_000_000,
    "\u0000",
)  # fmt: skip


class KafkaRecord(NamedTuple):
    """A record as the client gives it, the least of it."""

    value: bytes | None
    timestamp: int
    offset: int
    topic: str = "search-events"
    partition: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def _bytes_changed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + rng.randrange(8)] = rng.choice(PIECES)
        elif how == 2:
            del changed[at : at + rng.randrange(1, 40)]
        elif how == 3:
            start = rng.randrange(len(other) + 1)
            changed[at:at] = other[start : start + rng.randrange(1, 80)]
        else:
            del changed[at:]
    return bytes(changed)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield value, key
        yield from _places(each)


def _fields_changed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Still JSON, but other fields, kinds, lengths."""
    try:
        fields = orjson.loads(data)
        taken = [container[key] for container, key in _places(orjson.loads(other))]
    except (orjson.JSONDecodeError, RecursionError):
        return data
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(fields))
        if not places:
            break
        container, key = rng.choice(places)
        how = rng.randrange(5)
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, dict):
            container[rng.choice(("items", "item_id", "label", "quantity", "type", "schema", "truth", "x"))] = (
                container[key]
            )
        elif how == 2 and isinstance(container, list):
            container += [container[key]] * rng.choice((1, 3, 600))
        else:
            value = rng.choice(VALUES) if how == 3 or not taken else rng.choice(taken)
            container[key] = json.loads(json.dumps(value))  # a copy: nothing may hold itself
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:  # nested too deeply
        return data


def mutants(seed: int, settings: ShopSettings) -> Iterator[KafkaRecord]:
    """The shop's records, nine in ten of them mutated, with the time that they had before."""
    rng = random.Random(f"{seed} mutants")
    before, codec = b"{}", Codec(Settings().wire)
    for offset, line in enumerate(Shop(settings, seed).events()):
        how = rng.randrange(20)
        if how < 2:
            value: bytes | None = line
        elif how < 11:
            value = _bytes_changed(line, before, rng)
        elif how < 19:
            value = _fields_changed(line, before, rng)
        else:
            value = rng.choice(
                (None, b"", b" ", rng.randbytes(rng.randrange(60)), line + line, before[:-1] + b"," + line[1:])
            )
        yield KafkaRecord(value, _time_ms(line, codec), offset)
        before = line


def _time_ms(line: bytes, codec: Codec) -> int:
    """The time of a good record; -1, none at all, of one that the shop broke."""
    try:
        return codec.decode(line).ts_us // 1000 if b"2099" not in line else -1
    except BadRecord:
        return -1


class Letters:
    """Dead letters as they would be written: what cannot be encoded fails here."""

    def __init__(self) -> None:
        self.kept = 0

    def keep(self, record: Polled, bad: BadRecord) -> None:
        str(bad).encode()
        orjson.dumps(DeadLetter(record.where, record.value, bad.reason, str(bad)).fields())
        self.kept += 1


class Fuzz:
    """A session that takes mutants. `check` raises AssertionError when something has been lost or counted twice."""

    def __init__(self, settings: Settings) -> None:
        self.codec = Codec(settings.wire)
        self.letters = Letters()
        self.session = Session(make_pipeline(settings), settings, dead_letters=self.letters, publish=self._check_scored)
        self.taken = 0

    def take(self, record: KafkaRecord) -> None:
        """One record. Raises whatever should not be raised."""
        polled = decode(record, self.codec)
        assert (polled.event is None) != (polled.bad is None)
        self.session.take(polled, polled.value)
        self.taken += 1

    @staticmethod
    def _check_scored(scored: Scored) -> None:
        probability = scored.probability
        assert ((probability >= 0.0) & (probability <= 1.0)).all(), f"probabilities {probability}"

    def check(self) -> None:
        pipeline = self.session.pipeline
        report = self.session.report(digest=False)
        bad, examples = report["events"]["bad"], report["examples"]
        assert set(bad) <= {*REASONS, "empty"}, f"unknown reasons in {sorted(bad)}"
        assert sum(bad.values()) == self.letters.kept
        assert sum(pipeline.events.values()) + sum(bad.values()) == self.taken, (
            f"{report['events']}, {self.taken} taken"
        )
        assert examples["in"] == examples["held"] + examples["matured"] + sum(examples["dropped"].values()), (
            f"{examples}"
        )


def fuzz_settings() -> Settings:
    """Searches of few items, so that most of the time goes into records; a short window, so that labels come due."""
    return Settings(
        balance=BalanceSettings(strategy="smote_under"),
        shop=ShopSettings(shown_min=1, shown_max=3, positive_share=0.2),
        join=JoinSettings(window_s=600.0),
    )


def main(out: Callable[[str], object] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings, began = fuzz_settings(), time.monotonic()
    fuzz = Fuzz(settings)
    for record in mutants(options.seed, settings.shop):
        try:
            fuzz.take(record)
            if fuzz.taken % CHECK_EVERY == 0:
                fuzz.check()
        except Exception as error:  # whatever it is, say which record did it
            out(f"seed {options.seed}, record {record.offset}: {type(error).__name__}: {error}\n{record.value!r}")
            out("".join(traceback.format_exception(error)))
            return 1
        if fuzz.taken >= options.records:
            break
    fuzz.check()
    pipeline, took_s = fuzz.session.pipeline, time.monotonic() - began
    pipeline.run_out()
    fuzz.check()
    out(f"seed {options.seed}: {fuzz.taken:,} records in {took_s:.0f} s, no exception but BadRecord")
    out(f"events {pipeline.events}, bad {dict(sorted(pipeline.bad.items()))}")
    out(f"examples {fuzz.session.report(digest=False)['examples']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

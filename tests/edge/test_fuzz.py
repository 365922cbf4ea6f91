"""Mutated records through the codec and the pipeline, a quick look; `python -m tests.fuzz_decoder` is the long one."""

from __future__ import annotations

import random
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_balance.core.records import Search
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.simulation.shop import generate
from tests import fuzz_decoder
from tests.fuzz_decoder import VALUES, Fuzz, KafkaRecord, fuzz_settings, mutants

LINES = list(generate(60, seed=5, settings=fuzz_settings().shop))
# A change: which record, which place in it, what is put there.
CHANGES = st.lists(
    st.tuples(st.integers(0, 59), st.integers(0, 40), st.sampled_from(VALUES) | st.floats()), max_size=12
)


@settings(max_examples=25, deadline=None)
@given(CHANGES)
def test_whatever_stands_in_a_field_every_record_is_counted_once(changes: list[tuple[int, int, object]]) -> None:
    lines = list(LINES)
    for number, at, value in changes:
        fields = orjson.loads(lines[number])
        places = [
            *((fields, key) for key in fields),
            *((item, key) for item in fields.get("items", ()) for key in item),
        ]
        container, key = places[at % len(places)]
        container[key] = value
        lines[number] = orjson.dumps(fields)
    fuzz = Fuzz(fuzz_settings())
    for offset, line in enumerate(lines):
        fuzz.take(KafkaRecord(line, -1, offset))
    fuzz.check()
    fuzz.session.pipeline.run_out()
    fuzz.check()


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_records_are_events_or_bad_records(seed: int) -> None:
    fuzz = Fuzz(fuzz_settings())
    for _, record in zip(range(1500), mutants(seed, fuzz_settings().shop), strict=False):
        fuzz.take(record)
    fuzz.check()
    assert len(fuzz.session.pipeline.bad) > 8
    assert fuzz.session.pipeline.events["search"] > 200


def test_the_command_says_what_became_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz_decoder", "--records", "300", "--seed", "9"])
    told: list[str] = []
    assert fuzz_decoder.main(told.append) == 0
    assert told[0].startswith("seed 9: 300 records")


def test_numbers_as_large_as_are_allowed_leave_the_probabilities_whole() -> None:
    rng, fuzz = random.Random(3), Fuzz(fuzz_settings())
    largest = WireSettings().number_max
    codec = Codec(WireSettings())
    for offset, line in enumerate(LINES * 5):
        fields = orjson.loads(line)
        for item in fields.get("items", ()):
            item["price"] = rng.choice((-largest, 1.0, largest))
            item["features"]["rating"] = rng.choice((-largest, 0.0, largest))
        fields["event_id"] += f"-{offset}"
        changed = orjson.dumps(fields)
        fuzz.take(KafkaRecord(changed, -1, offset))
    assert isinstance(codec.decode(changed), Search)
    fuzz.session.pipeline.run_out()
    fuzz.check()

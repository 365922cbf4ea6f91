"""What is left in frames and tracebacks holds no records: a full collection would set them aside (see `pauses`)."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from types import FrameType
from typing import Any
from unittest.mock import patch

import pytest

from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.decode import decode
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import Polled
from tests.simulation.broker import Consumer, Kept, SimulatedBroker
from tests.simulation.fate import Fate
from tests.simulation.world import logs_of


class Batch(list[Kept]):
    """A list that can be referred to weakly."""


@pytest.mark.parametrize("data", [b"{broken", b'{"schema": 9}', b""])
def test_a_bad_record_does_not_hold_the_batch_that_it_came_in(data: bytes) -> None:
    codec = Codec(WireSettings())

    def decoded() -> tuple[Polled, weakref.ref[Batch]]:
        batch = Batch([Kept("s", 0, 0, 0, None, data)])
        (polled,) = [decode(record, codec) for record in batch]
        return polled, weakref.ref(batch)

    gc.disable()
    try:
        polled, batch = decoded()
        assert polled.bad is not None
        assert batch() is None
        dead = weakref.ref(polled.bad)
        del polled
        assert dead() is None, "it is in a ring with itself"
    finally:
        gc.enable()


class Keeping(Consumer):
    """Keeps the frames of each fetch, as the client does that of each time-out."""

    frames: list[FrameType]

    def poll(self, timeout_ms: float, max_records: int) -> dict[Any, list[Kept]]:
        self.frames.append(sys._getframe())
        return super().poll(timeout_ms, max_records)


def test_frames_that_the_client_keeps_hold_no_records_of_ours() -> None:
    Keeping.frames = []
    fate = Fate(3)
    broker = SimulatedBroker(fate, logs_of(random.Random(3), 40, growing=False))
    settings = KafkaSettings()
    taken = 0
    with broker.install(), patch.object(client, "new_consumer", lambda _settings, group_id=None: Keeping(broker)):
        source = KafkaSource(settings, Codec(WireSettings()), now_s=fate.now_s, sleep=fate.sleep)
        source.open()
        for _ in range(200):
            taken += len(source.poll(10, 0.1))
    assert taken > 40
    ours = 0
    for kept in Keeping.frames:
        frame: FrameType | None = kept.f_back
        while frame is not None and "stream_balance" in frame.f_globals["__name__"]:
            held = [name for name, value in frame.f_locals.items() if isinstance(value, list | dict) and value]
            assert not held, f"{frame.f_code.co_qualname} keeps {held}"
            frame, ours = frame.f_back, ours + 1
    assert ours > 3

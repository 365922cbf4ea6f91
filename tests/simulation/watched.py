"""Watched: a session, a stop flag and a writer that let a simulated world go on, and hold what is taken against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from stream_balance.edge.checkpoint.writer import InlineWriter, Outcome
from stream_balance.service import Session
from tests.simulation.fate import Fate
from tests.simulation.world import Place

TURNS_MAX = 4_000


class LateWriter:
    """Writes at once, for the state is no other then, and tells a while later; a write may also fail, or die."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._inline = InlineWriter(fate.now_s)
        self._polls = 0

    def start(self, write: Callable[[], int]) -> None:
        self._polls = self._fate.rng.choice((0, 0, 1, 5, 30))
        self._inline.start(write)

    def poll(self) -> Outcome | None:
        if self._polls > 0:
            self._polls -= 1
            return None
        outcome = self._inline.poll()
        if outcome is not None and self._fate.crash is not None and self._fate.rng.random() < 0.03:
            return Outcome(error="the writing process ended with -9")
        return outcome

    def kill(self) -> None:
        self._polls = 0
        self._inline.kill()


class Recording(Session):
    """A session that writes down the order in which records are taken, and holds it against that of the lives before:
    what was taken may have left, so it is taken again in the same order. Bad records have no place in it.
    """

    order: list[Place]
    known: list[Place]  # the longest order of good records so far
    decided: Callable[[], tuple[int, int]]  # decisions that times did not force, entries of the journal
    seen = (0, 0)

    def take(self, record: Any, content: bytes) -> None:
        unforced, entries = self.decided()
        if unforced > self.seen[0]:
            assert entries > self.seen[1], "a record is taken before the decision on its order is in the journal"
            self.seen = unforced, entries
        place = (record.topic, record.partition, record.offset)
        if record.event is not None:
            index = len(set(self.order) & set(self.known))
            if index == len(self.known):
                self.known.append(place)
            assert self.known[index] == place, f"event {index} was {self.known[index]} before, is {place} now"
        self.order.append(place)
        super().take(record, content)


class World(Protocol):
    """What goes on between two turns of the loop."""

    fate: Fate

    def check_turn(self) -> None: ...

    def disturb(self) -> None: ...

    def is_read(self) -> bool: ...


class Turns:
    """The loop's stop flag: asked once a turn, it lets the world go on; set when all is read, or by chance before."""

    def __init__(self, world: World, stop_at: int | None) -> None:
        self._world = world
        self._stop_at = stop_at
        self._turns = 0

    def is_set(self) -> bool:
        self._turns += 1
        assert self._turns < TURNS_MAX, "the service does not come to an end"
        self._world.fate.ticks += 1
        self._world.check_turn()
        self._world.disturb()
        if self._stop_at is not None and self._turns >= self._stop_at:
            return True
        return self._world.is_read()

"""Turns at the live state: nobody starves, nobody waits long, the loop stands aside for who has knocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stream_balance.edge.turn import Busy, Turn


def test_a_guest_gets_its_turn_although_the_loop_never_rests() -> None:
    turn, stop, inside = Turn(), threading.Event(), []

    def loop() -> None:
        while not stop.is_set():
            with turn:
                inside.append(1)
                inside.pop()

    async def visit() -> int:
        visits = 0
        for _ in range(50):
            async with turn.guest(30.0):
                assert not inside, "alone"
                visits += 1
        return visits

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        assert asyncio.run(visit()) == 50
    finally:
        stop.set()
        thread.join()


def test_the_loop_gets_its_turn_although_guests_never_cease() -> None:
    turn, stop, turns = Turn(), threading.Event(), []

    def loop() -> None:
        while not stop.is_set():
            with turn:
                turns.append(1)

    async def visit() -> None:
        while len(turns) < 50:
            async with turn.guest(30.0):
                await asyncio.sleep(0)

    async def crowd() -> None:
        await asyncio.gather(*(visit() for _ in range(8)))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        asyncio.run(asyncio.wait_for(crowd(), 60.0))
    finally:
        stop.set()
        thread.join()
    assert len(turns) >= 50


def test_a_guest_that_is_called_too_late_hands_the_room_on() -> None:
    turn = Turn()

    async def visit(wait_s: float) -> None:
        async with turn.guest(wait_s):
            pass

    async def called_in_vain() -> None:
        with turn:
            late, patient = asyncio.create_task(visit(30.0)), asyncio.create_task(visit(30.0))
            await asyncio.sleep(0)
        late.cancel()  # the room is already its own
        await patient
        with pytest.raises(asyncio.CancelledError):
            await late
        await visit(0.0)

    asyncio.run(called_in_vain())
    with turn:
        pass


def test_a_guest_whose_event_loop_has_ended_is_passed_over() -> None:
    turn = Turn()
    ended = asyncio.new_event_loop()
    with turn:
        turn._guests.append(ended.create_future())
        ended.close()
    been = []

    async def visit() -> None:
        async with turn.guest(0.0):
            been.append("inside")

    asyncio.run(visit())
    assert been == ["inside"]


def test_a_guest_is_turned_away_and_leaves_the_door_open() -> None:
    turn = Turn()

    async def visit() -> None:
        async with turn.guest(0.01):
            pass

    with turn, pytest.raises(Busy):
        asyncio.run(visit())
    asyncio.run(visit())


def test_a_guest_comes_in_where_the_loop_makes_an_offer() -> None:
    turn, entered = Turn(), threading.Event()

    async def visit() -> None:
        async with turn.guest(30.0):
            entered.set()

    visitor = threading.Thread(target=lambda: asyncio.run(visit()))
    with turn:
        visitor.start()
        while not entered.is_set():
            turn.offer()
    visitor.join()
    with turn:  # nobody has kept the room
        assert not turn._guests


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def later(action: threading.Thread) -> Iterator[None]:
    action.start()
    try:
        yield
    finally:
        action.join()


def test_the_loop_stands_aside_until_who_knocked_has_gone() -> None:
    turn, order = Turn(aside_s=30.0), []

    def answered() -> None:
        order.append("answered")
        turn.gone()

    turn.knock()
    with later(threading.Thread(target=answered)), turn:
        order.append("inside")
    assert order == ["answered", "inside"]


def test_the_loop_stands_aside_for_all_who_have_knocked_inside_its_turn_too() -> None:
    turn, order = Turn(aside_s=30.0), []

    def answered() -> None:
        turn.gone()
        order.append("both gone")
        turn.gone()

    with turn:
        turn.knock()
        turn.knock()
        with later(threading.Thread(target=answered)):
            turn.offer()
            order.append("inside")
    assert order == ["both gone", "inside"]


def test_who_never_leaves_does_not_stop_the_loop_and_what_it_lost_it_works_for() -> None:
    clock = Clock()
    turn = Turn(aside_s=0.001, clock=clock)
    asides = []
    stand_aside = turn._go

    class Counted:
        """The lock the loop waits at, and how often: each wait takes 4 seconds of the clock."""

        def acquire(self, timeout: float = -1.0) -> bool:
            asides.append(clock.now_s)
            clock.now_s += 4.0
            return stand_aside.acquire(timeout=timeout)

    turn._go = Counted()  # type: ignore[assignment]
    turn.knock()
    for _ in range(9):
        with turn:
            clock.now_s += 1.0
    assert asides == [0.0, 8.0, 16.0]  # four seconds aside, four at work


def test_a_loop_outside_its_turn_makes_room_as_well() -> None:
    turn, order = Turn(aside_s=30.0), []

    def answered() -> None:
        order.append("answered")
        turn.gone()

    turn.offer()
    turn.knock()
    with later(threading.Thread(target=answered)):
        turn.offer()
    order.append("on")
    assert order == ["answered", "on"]

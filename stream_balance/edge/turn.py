"""Turn: the loop and its guests take turns at the live state. In: who wants in. Out: one at a time, nobody starved.

The loop enters for each record and is the only one that changes anything; a guest reads for about a millisecond. Who
leaves hands the room over: the loop to the guest that has waited longest, a guest to the loop if it stands outside, so
a busy loop cannot win every race, nor many guests. A guest never blocks its own thread: other requests, and /health,
go on.

Two things keep a guest's wait short. Wherever the state is whole the loop makes an offer, also in the middle of a
record that teaches much. And it stands aside, with the interpreter, for one who has knocked, from the first byte of a
request to the last of its answer: at most `aside_s` at a time and half of its time at most, so that learning goes on
whatever is asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter


class Busy(Exception):  # noqa: N818  # an answer, not a failure
    """The turn did not come in time."""


class Turn:
    """`with turn:` for the loop, one thread; `async with turn.guest(wait_s):` for guests, of any event loop.

    Costs the loop about half a microsecond.

    >>> turn = Turn()
    >>> with turn:
    ...     "inside"
    'inside'
    """

    __slots__ = (
        "_aside", "_aside_s", "_clock", "_go", "_guests", "_host_waits", "_inside", "_its_turn", "_knocks", "_mutex",
        "_owed_until", "_taken",
    )  # fmt: skip

    def __init__(self, aside_s: float = 0.0, clock: Callable[[], float] = perf_counter) -> None:
        self._mutex = threading.Lock()  # over all that two threads change; held for an instant
        self._inside = False  # the loop is
        self._knocks = 0
        self._aside = False  # the loop stands aside
        self._go = threading.Lock()  # taken but for the moment in which the last who knocked lets the loop go on
        self._go.acquire()
        self._aside_s = aside_s
        self._clock = clock
        self._owed_until = 0.0  # until then the loop works for the time that it stood aside
        self._taken = False
        self._guests: deque[asyncio.Future[None]] = deque()
        self._host_waits = False
        self._its_turn = threading.Lock()  # taken but for the moment in which a guest lets the loop in
        self._its_turn.acquire()

    def __enter__(self) -> None:
        if self._is_knocked():
            self._stand_aside()
        self._inside = True
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            self._host_waits = True
        self._its_turn.acquire()

    def offer(self) -> None:
        """The loop: the state is whole here, whoever waits may come in. Outside its turn it only stands aside."""
        if self._inside and (self._guests or self._is_knocked()):
            self.__exit__()
            self.__enter__()
        elif self._is_knocked():
            self._stand_aside()

    def knock(self) -> None:
        """A request to score has begun to arrive."""
        with self._mutex:
            self._knocks += 1

    def gone(self) -> None:
        """It has been answered, or given up. Once for each knock."""
        with self._mutex:
            self._knocks -= 1
            if self._knocks == 0 and self._aside:
                self._aside = False
                self._go.release()

    def _is_knocked(self) -> bool:
        return self._knocks > 0 and self._clock() >= self._owed_until

    def _stand_aside(self) -> None:
        began = self._clock()
        with self._mutex:
            if not self._knocks:
                return
            self._aside = True
        if not self._go.acquire(timeout=self._aside_s):
            with self._mutex:
                if not self._aside:  # let go at the last moment
                    self._go.acquire()
                self._aside = False
        now = self._clock()
        self._owed_until = now + (now - began)

    def __exit__(self, *_: object) -> None:
        self._inside = False
        with self._mutex:
            if self._guests:
                self._hand_to_a_guest()
            else:
                self._taken = False

    @asynccontextmanager
    async def guest(self, wait_s: float) -> AsyncIterator[None]:
        """A turn within `wait_s`. Raises Busy."""
        called: asyncio.Future[None] | None = None
        with self._mutex:
            if self._taken:
                called = asyncio.get_running_loop().create_future()
                self._guests.append(called)
            else:
                self._taken = True
        if called is not None:
            await self._wait(called, wait_s)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, called: asyncio.Future[None], wait_s: float) -> None:
        try:
            await asyncio.wait((called,), timeout=wait_s)
            if not called.done():
                raise Busy
        except BaseException:
            with self._mutex:
                waits = called in self._guests
                if waits:
                    self._guests.remove(called)
            if not waits:  # called just now: the room is ours, and we do not want it any more
                self._leave()
            raise

    def _leave(self) -> None:
        with self._mutex:
            if self._host_waits:
                self._host_waits = False
                self._its_turn.release()
            else:
                self._hand_to_a_guest()

    def _hand_to_a_guest(self) -> None:
        """The room to the first guest that still lives, or to nobody. Under the mutex, with the room taken."""
        while self._guests:
            called = self._guests.popleft()
            try:
                called.get_loop().call_soon_threadsafe(_call, called)
            except RuntimeError:  # its event loop has ended
                continue
            return
        self._taken = False


def _call(called: asyncio.Future[None]) -> None:
    if not called.done():
        called.set_result(None)

"""Turn: the loop and its guests take turns at the live state. In: who wants in. Out: one at a time, nobody starved.

The loop enters for each record and is the only one that changes anything; a guest reads for about a millisecond. Who
leaves hands the room over: the loop to the guest that has waited longest, a guest to the loop if it stands outside, so
a busy loop cannot win every race, nor many guests. A guest never blocks its own thread: other requests, and /health,
go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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

    __slots__ = ("_guests", "_host_waits", "_its_turn", "_mutex", "_taken")

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # over the other four; held for an instant
        self._taken = False
        self._guests: deque[asyncio.Future[None]] = deque()
        self._host_waits = False
        self._its_turn = threading.Lock()  # taken but for the moment in which a guest lets the loop in
        self._its_turn.acquire()

    def __enter__(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            self._host_waits = True
        self._its_turn.acquire()

    def __exit__(self, *_: object) -> None:
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

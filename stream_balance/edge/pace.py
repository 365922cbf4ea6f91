"""Pace: holds a recorded stream back to a multiple of real time. The clock and the waiting are handed in."""

from __future__ import annotations

from collections.abc import Callable

from stream_balance.errors import SettingsError


class Pace:
    """Lets recorded time pass `speed` times as fast as real time, from the first on; what is behind goes at once."""

    def __init__(self, speed: float, now_s: Callable[[], float], sleep: Callable[[float], object]) -> None:
        if not speed > 0:
            raise SettingsError(f"--speed is {speed}, expected a number above 0.")
        self._speed = speed
        self._now_s = now_s
        self._sleep = sleep
        self._origin: tuple[float, float] | None = None  # recorded, real

    def wait_for(self, recorded_s: float) -> None:
        """Return when `recorded_s` is due."""
        if self._origin is None:
            self._origin = (recorded_s, self._now_s())
        due_s = self._origin[1] + (recorded_s - self._origin[0]) / self._speed
        left_s = due_s - self._now_s()
        if left_s > 0:
            self._sleep(left_s)

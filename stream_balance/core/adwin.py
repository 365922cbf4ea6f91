"""ADWIN: River's change detector by its compiled part alone. In: values. Out: whether their mean changed.

`river.drift` loads River's data sets, and SciPy and scikit-learn with them, which takes a second or more of a processor
at each start of a process that needs nothing else of them. `tests/core/test_adwin.py` holds this class to River's.
"""

from __future__ import annotations


class Adwin:
    """Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007, figure 3.

    `delta`: chance of a false alarm at each check; `clock`: values between two checks. What else can be set is as in
    `river.drift.ADWIN`, which this equals to the bit.

    >>> detector = Adwin(delta=0.002, clock=32)
    >>> for row, value in enumerate([0.0] * 500 + [1.0] * 40):
    ...     detector.update(value)
    ...     if detector.drift_detected:
    ...         print(row, detector.width, detector.estimation)
    511 256.0 0.046875
    """

    def __init__(self, delta: float, clock: int) -> None:
        self._delta, self._clock = delta, clock
        self._restart()

    def _restart(self) -> None:
        from river._river_rust.drift import AdaptiveWindowing  # noqa: PLC0415  # only where something is watched

        self._windowing = AdaptiveWindowing(
            delta=self._delta, clock=self._clock, max_buckets=5, min_window_length=5, grace_period=10
        )
        self.drift_detected = False

    def update(self, value: float) -> None:
        """Watch one more value. After an alarm River begins anew, without what it kept."""
        if self.drift_detected:
            self._restart()
        self.drift_detected = self._windowing.update(value)

    @property
    def width(self) -> float:
        """How many values it holds for current."""
        return self._windowing.get_width()

    @property
    def total(self) -> float:
        """Their sum."""
        return self._windowing.get_total()

    @property
    def variance(self) -> float:
        """Their variance."""
        return self._windowing.get_variance()

    @property
    def estimation(self) -> float:
        """Their mean; 0 of none."""
        return self.total / self.width if self.width else 0.0

    @property
    def n_detections(self) -> int:
        """Alarms since it began anew."""
        return self._windowing.get_n_detections()

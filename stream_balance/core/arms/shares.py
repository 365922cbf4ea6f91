"""Shares: the class shares of late, faded row by row. In: labels of real rows. Out: shares that sum to 1."""

from __future__ import annotations

DECAY = 0.999  # per row


class DecayedShares:
    """Shares of C classes; each starts as one row of each class, so that none is 0.

    >>> shares = DecayedShares(2)
    >>> for label in (0, 0): shares.observe(label)
    >>> [round(share, 2) for share in shares.values()]
    [0.75, 0.25]
    """

    __slots__ = ("_decay", "_mass")

    def __init__(self, classes: int, decay: float = DECAY) -> None:
        self._decay = decay
        self._mass = [1.0] * classes

    def observe(self, label: int) -> None:
        """Count a row."""
        decay, mass = self._decay, self._mass
        for i, each in enumerate(mass):
            mass[i] = each * decay
        mass[label] += 1.0

    def values(self) -> list[float]:
        """They sum to 1."""
        total = sum(self._mass)
        return [max(mass / total, 1e-9) for mass in self._mass]

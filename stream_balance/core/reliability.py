"""Reliability: promised against seen. In: served probabilities and outcomes. Out: one point per bin of equal mass.

A well calibrated model's points lie on the diagonal (DeGroot and Fienberg, "The comparison and evaluation of
forecasters", 1983).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats


def reliability(probability: Floats, outcome: npt.NDArray[np.bool_], bins: int = 10) -> list[dict[str, float | int]]:
    """Points by rising probability: mean `probability`, `rate` of outcomes, `rows`; at most `bins`, none without rows.

    `probability` and `outcome` are (n,). Rows of equal probability stay together, so that a constant is one point.

    >>> reliability(np.array([.1, .1, .9, .9]), np.array([False, True, True, True]), bins=2)
    [{'probability': 0.1, 'rate': 0.5, 'rows': 2}, {'probability': 0.9, 'rate': 1.0, 'rows': 2}]
    """
    if not len(probability):
        return []
    order = np.argsort(probability, kind="stable")
    ordered, outcomes = probability[order], outcome[order].astype(np.float64)
    wanted = np.linspace(0, len(ordered), bins + 1)[1:-1].astype(np.intp)
    # A border moves to the start of the run of equal probabilities that it falls into.
    borders = np.unique(np.searchsorted(ordered, ordered[wanted], side="left"))
    starts = np.concatenate(([0], borders[borders > 0]))
    rows = np.diff(np.append(starts, len(ordered)))
    means, rates = (np.add.reduceat(values, starts) / rows for values in (ordered, outcomes))
    return [
        {"probability": float(p), "rate": float(r), "rows": int(n)} for p, r, n in zip(means, rates, rows, strict=True)
    ]

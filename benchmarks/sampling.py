"""Sampling: what a synthetic row and a decision about a majority row cost, beside imbalanced-learn refitted.

A stream keeps a window; whoever has only a batch library must fit it to the window again whenever rows arrive. Ours
look at the arrivals alone. Both see the same rows: 20 normal columns, one class in ten, minority means moved by .5, and
search the same window: all its rows, or all its rare ones (by default the newest 1,000 or 200). `at once`: so many rows
of the class arrive in one search. In CPU microseconds `ours` for a row, the window's own moves included, `fit` for one
fit of imbalanced-learn; ratios:

    fit / ours       a fit over a row of ours
    by search        a fit after each search, divided by the rows that the search gets (or that are judged), over ours
    by window        a fit divided by all rows that it makes or judges, over ours: whoever waits until a window is new

With one thread, for idle threads of a pool count as CPU time.

    OMP_NUM_THREADS=1 python -m benchmarks.sampling [--windows 1000 10000] [--at-once 1 20] [--arrivals 2560] [--fits 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

import numpy as np
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE
from imblearn.under_sampling import EditedNearestNeighbours, NearMiss, RandomUnderSampler, TomekLinks

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Arrivals, Columns, Floats
from stream_balance.core.window import Window, WindowSettings

COLUMNS = 20
RATE = 0.1
PARTS = 5  # ours are timed in so many parts, of which the median counts, as of the fits
OVER: dict[str, Callable[[], Any]] = {
    "smote": lambda: SMOTE(random_state=1),
    "borderline_smote": lambda: BorderlineSMOTE(random_state=1),
    "adasyn": lambda: ADASYN(random_state=1),
}
UNDER: dict[str, Callable[[], Any]] = {
    "random_under": lambda: RandomUnderSampler(random_state=1),
    "neighbour_under": lambda: EditedNearestNeighbours(kind_sel="all"),
    "tomek": TomekLinks,
    "near_miss": lambda: NearMiss(version=1, n_neighbors=5),
}


def rows_of(n: int, rng: np.random.Generator, rate: float = RATE) -> tuple[Floats, list[int]]:
    labels = (rng.random(n) < rate).astype(int)
    return rng.normal(size=(n, COLUMNS)) + 0.5 * labels[:, None], labels.tolist()


def ours(strategy: str, window_rows: int, at_once: int, arrivals: int, only: int) -> tuple[float, float]:
    """Microseconds a synthetic row (only = 1) or a decision about a majority row (only = 0); those an arrival."""
    rng, chance = np.random.default_rng(1), Random(1)
    columns = Columns()
    for i in range(COLUMNS):
        columns.add(f"x{i}")
    # Neighbours are sought in the whole window, as the batch library does: all its rows, or all its rare ones.
    settings = BalanceSettings(
        strategy=strategy, target_share=0.5, neighbour_rows_max=round(window_rows * RATE), mixed_rows_max=window_rows
    )
    rates, window = Rates(RateSettings()), Window(WindowSettings(size_max=window_rows))
    chosen = make_strategy(settings, rates)
    values, labels = rows_of(window_rows, rng)
    rates.observe_many(labels)
    window.add_many(values, labels, bytes(len(labels)), 0)
    searches = []
    for start in range(arrivals // at_once + 1):
        values, outcomes = rng.normal(size=(at_once, COLUMNS)) + 0.5 * only, [only] * at_once
        arrived = Arrivals(values, outcomes, bytes(at_once), np.full((at_once, 1), RATE))
        # The window moves as the stream would move it.
        searches.append((arrived, *rows_of(at_once, rng), start + 1))

    def taught(some: list[tuple[Arrivals, Floats, list[int], int]]) -> int:
        made = 0
        for arrived, values, labels, at in some:
            samples = chosen.draw(arrived, window, columns, chance)
            made += sum(samples.times) - at_once if only and samples is not None else at_once
            window.add_many(values, labels, bytes(at_once), at)
        return made

    # By default parts of some 512 rows, so that what is done anew every 64 or 256 rows comes as often in each.
    taught(searches[:1])  # fills what is remembered between searches
    times, counts, part = [], [], max((len(searches) - 1) // PARTS, 1)
    for start in range(1, len(searches), part):
        began = time.process_time()  # seldom: a look at this clock costs microseconds
        counts.append(taught(searches[start : start + part]))
        times.append((time.process_time() - began) * 1e6 / max(counts[-1], 1))
    return median(times), sum(counts) / (len(searches) - 1) / at_once


def theirs(make: Callable[[], Any], window_rows: int, fits: int, only: int) -> tuple[float, float]:
    """Microseconds of one fit, and of it for each row made (only = 1) or judged (only = 0)."""
    rng = np.random.default_rng(1)
    times, per_row = [], []
    for _ in range(fits):
        values, labels = rows_of(window_rows, rng)
        began = time.process_time()
        fitted = make().fit_resample(values, labels)[1]
        spent = (time.process_time() - began) * 1e6
        times.append(spent)
        made = len(fitted) - len(labels) if only else len(labels) - sum(labels)
        per_row.append(spent / max(made, 1))
    return median(times), median(per_row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--arrivals", type=int, default=2_560)
    parser.add_argument("--fits", type=int, default=5)
    options = parser.parse_args()
    heads = ("ours", "fit", "fit / ours", "by search", "by window")
    print(f"{'window':>7}{'at once':>9}  {'':18}" + "".join(f"{head:>12}" for head in heads))
    for window_rows in options.windows:
        for only, makers, what in ((1, OVER, "synthetic row"), (0, UNDER, "majority decision")):
            print(f"{window_rows:>7}{'':9}  {what}")
            for name, make in makers.items():
                fit, shared = theirs(make, window_rows, options.fits, only)
                for at_once in options.at_once:
                    mine, each = ours(name, window_rows, at_once, options.arrivals, only)
                    ratios = f"{fit / mine:12.0f}{fit / each / at_once / mine:12.1f}{shared / mine:12.2f}"
                    print(f"{'':7}{at_once:>9}  {name:18}{mine:12.1f}{fit:12.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()

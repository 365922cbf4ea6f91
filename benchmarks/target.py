"""The moving target share against fixed ones: what is served under each, on the same rows.

The service's pipeline, row by row, one (model, strategy) arm, each label learned before the next row; streams of
`benchmarks.streams`, with a sudden drift in the middle. `moving` begins at .2, the default, and goes by the objective
named behind it. `share` is where the target stood at the end, `steps` how often it moved. Differences to the fixed
share of .2 are paired by stream and seed, with their standard error.

    OMP_NUM_THREADS=1 python -m benchmarks.target [--rows 50000] [--seeds 0 1] [--streams rbf_5 ...]
        [--strategies smote_under] [--model logistic] [--objectives average_precision normalised_entropy]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.drift_cut import figures, of_stream
from benchmarks.streams import NAMES, SIX
from stream_balance.core.records import Floats

SHARES = (0.05, 0.2, 0.5)
FIGURES = ("AP", "AUC", "loss", "share", "steps")
BASE = 0.2


def measured(which: str, options: argparse.Namespace, seed: int, strategy: str, target: dict[str, Any]) -> Floats:
    """FIGURES of one run."""
    share, objective = target["share"], target.get("objective", "fixed")
    rooms = {
        "balance": {"strategy": strategy, "target_share": share},
        "target": {"objective": objective},
        "model": {"name": options.model},
    }
    said, positive, report = of_stream(which, options.rows, seed, rooms)
    loss, precision, auc = figures(said, positive, report, after=options.rows // 5)[:3]
    moved = report.target
    at, steps = (share, 0) if moved is None else (moved.share, moved.steps)
    return np.array([precision, auc, loss, at, steps])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--streams", nargs="+", default=list(SIX), choices=NAMES)
    parser.add_argument("--strategies", nargs="+", default=["smote_under"])
    parser.add_argument("--model", default="logistic")
    parser.add_argument("--objectives", nargs="+", default=["average_precision", "normalised_entropy"])
    options = parser.parse_args()
    ways = {f"fixed {share}": {"share": share} for share in SHARES}
    ways |= {f"moving, {each}": {"share": BASE, "objective": each} for each in options.objectives}
    for strategy in options.strategies:
        print(f"\n{options.model}, {strategy}\n{'':30}" + "".join(f"{name:>10}" for name in FIGURES), flush=True)
        found: dict[str, list[Floats]] = {name: [] for name in ways}
        for which in options.streams:
            for seed in options.seeds:
                for name, target in ways.items():
                    found[name].append(measured(which, options, seed, strategy, target))
            for name, runs in found.items():
                print(f"{which:14}{name:30}" + cells(runs[-len(options.seeds) :]), flush=True)
        base = np.array(found[f"fixed {BASE}"])
        print(f"\n{'all':14}{'':30}" + "".join(f"{f'{name} - {BASE}':>20}" for name in FIGURES[:3]))
        for name, runs in found.items():
            away = (np.array(runs) - base)[:, :3]
            error = away.std(axis=0, ddof=1) / np.sqrt(len(away)) if len(away) > 1 else np.full(3, np.nan)
            more = "".join(f"{m:+12.4f} +-{e:.4f}" for m, e in zip(away.mean(axis=0), error, strict=True))
            print(f"{'':14}{name:30}{more}", flush=True)


def cells(runs: list[Floats]) -> str:
    return "".join(f"{value:10.4f}" for value in np.mean(runs, axis=0))


if __name__ == "__main__":
    main()

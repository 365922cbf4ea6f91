"""After the rate of outcomes has changed at once: what is served over what is true, stretch by stretch.

Four columns, two of which tell the outcome, always in the same way; only the rate changes, at row 5,000. Labels come at
once. Mean probability over the true rate, and log-loss, means over seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.rate_fall [--seeds 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from river import linear_model, preprocessing

from stream_balance import AutoClassifier, BalancedClassifier
from stream_balance.core.records import Floats

RATES = (0.2, 0.01), (0.1, 0.02), (0.01, 0.1)
CHANGE = 5_000
STRETCHES = (5_000, 6_000), (6_000, 7_000), (7_000, 9_000), (9_000, 11_000), (11_000, 13_000)


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


LEARNERS: dict[str, Callable[[], Any]] = {
    "River logistic": logistic,
    "logistic, none": lambda: BalancedClassifier(logistic(), strategy="none", seed=1),
    "logistic, smote_under": lambda: BalancedClassifier(logistic(), seed=1),
    "auto": lambda: AutoClassifier(seed=1),
}


def rows(before: float, after: float, seed: int) -> Iterator[tuple[dict[str, float], bool]]:
    """Features and outcome of each."""
    rng = np.random.default_rng(seed)
    for i in range(STRETCHES[-1][1]):
        outcome = bool(rng.random() < (before if i < CHANGE else after))
        yield {f"x{j}": float(rng.normal(1.5 * outcome if j < 2 else 0.0)) for j in range(4)}, outcome


def measured(model: Any, before: float, after: float, seed: int) -> Floats:
    """Probability over the rate, and log-loss, of each stretch, (2, stretches)."""
    said, outcomes = [], []
    for x, y in rows(before, after, seed):
        said.append(model.predict_proba_one(x).get(True, 0.0))
        outcomes.append(y)
        model.learn_one(x, y)
    p, yes = np.clip(said, 1e-9, 1 - 1e-9), np.array(outcomes)
    loss = -np.where(yes, np.log(p), np.log(1 - p))
    return np.array([[p[a:b].mean() / after for a, b in STRETCHES], [loss[a:b].mean() for a, b in STRETCHES]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print(f"{'rows':34}" + "".join(f"{a:>8,}-" for a, _ in STRETCHES))
    for before, after in RATES:
        for name, make in LEARNERS.items():
            ratio, loss = np.mean([measured(make(), before, after, seed) for seed in seeds], axis=0)
            case = f"{before:.0%} -> {after:.0%}  {name}"
            print(f"{case:34}" + "".join(f"{each:9.2f}" for each in ratio) + "  probability / rate")
            print(f"{'':34}" + "".join(f"{each:9.4f}" for each in loss) + "  log-loss", flush=True)


if __name__ == "__main__":
    main()

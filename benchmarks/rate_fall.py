"""After the rate of outcomes has changed at once: what is served over what is true, stretch by stretch.

Four columns, two of which tell the outcome, always in the same way; only the rate changes, at row 5,000. Labels come at
once to the library's classifiers; or, with --late, so many rows later to the service's pipeline, and to River's
logistic regression. Mean probability over the true rate, and log-loss, means over seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.rate_fall [--seeds 5] [--late 2000]
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from river import linear_model, preprocessing

from stream_balance import AutoClassifier, BalancedClassifier
from stream_balance.core.pipeline import row_as_search
from stream_balance.core.race import Race
from stream_balance.core.records import Floats
from stream_balance.settings import load

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


Rows = list[tuple[dict[str, float], bool]]
SERVED = {
    "logistic, none": ("logistic", "none"),
    "logistic, smote_under": ("logistic", "smote_under"),
    "auto": (None, None),
}


def rows(before: float, after: float, seed: int, n: int) -> Iterator[tuple[dict[str, float], bool]]:
    """Features and outcome of each."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        outcome = bool(rng.random() < (before if i < CHANGE else after))
        yield {f"x{j}": float(rng.normal(1.5 * outcome if j < 2 else 0.0)) for j in range(4)}, outcome


def late(model: Any, stream: Rows, delay: int) -> list[float]:
    """What is said of each row; the one of `delay` rows ago is learned then."""
    said, waiting = [], deque[tuple[dict[str, float], bool]]()
    for x, y in stream:
        said.append(model.predict_proba_one(x).get(True, 0.0))
        waiting.append((x, y))
        if len(waiting) > delay:
            model.learn_one(*waiting.popleft())
    return said


def service(stream: Rows, delay: int, seed: int) -> Iterator[tuple[str, Floats]]:
    """What the service's pipeline serves under each of SERVED."""
    rooms = {"seed": seed, "arms": {"references": False}, "features": {"builtin": False, "state": False}}
    runners = [
        (name, load(None, {**rooms, "model": {"name": model}, "balance": {"strategy": strategy}}, {}).core())
        for name, (model, strategy) in SERVED.items()
    ]
    race = Race(runners, seed, ("no", "yes"), time.process_time, delay_rows=delay)
    for i, (x, y) in enumerate(stream):
        race.push_row(row_as_search(i, i, x), int(y))
    yield from zip(race.names, race.answers().probability.astype(float), strict=True)


def measured(said: Any, stream: Rows, after: float) -> Floats:
    """Probability over the rate, and log-loss, of each stretch, (2, stretches)."""
    n = STRETCHES[-1][1]
    p, yes = np.clip(said[:n], 1e-9, 1 - 1e-9), np.array([y for _, y in stream[:n]])
    loss = -np.where(yes, np.log(p), np.log(1 - p))
    return np.array([[p[a:b].mean() / after for a, b in STRETCHES], [loss[a:b].mean() for a, b in STRETCHES]])


def found(before: float, after: float, seed: int, delay: int) -> dict[str, Floats]:
    """What `measured` says of each learner."""
    stream = list(rows(before, after, seed, STRETCHES[-1][1] + delay))
    if not delay:
        return {name: measured(late(make(), stream, 0), stream, after) for name, make in LEARNERS.items()}
    plain = measured(late(logistic(), stream, delay), stream, after)
    return {"River logistic": plain} | {name: measured(p, stream, after) for name, p in service(stream, delay, seed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--late", type=int, default=0, metavar="ROWS")
    options = parser.parse_args()
    print(f"{'rows':34}" + "".join(f"{a:>8,}-" for a, _ in STRETCHES))
    for before, after in RATES:
        runs = [found(before, after, seed, options.late) for seed in range(options.seeds)]
        for name in runs[0]:
            ratio, loss = np.mean([run[name] for run in runs], axis=0)
            case = f"{before:.0%} -> {after:.0%}  {name}"
            print(f"{case:34}" + "".join(f"{each:9.2f}" for each in ratio) + "  probability / rate")
            print(f"{'':34}" + "".join(f"{each:9.4f}" for each in loss) + "  log-loss", flush=True)


if __name__ == "__main__":
    main()

"""The textbook's comparison of SMOTE and under-sampling, in a batch and as a stream: the same rows, the same judge.

scikit-learn's `make_classification` with one positive in ten. In the batch a network of 64 units learns the first four
fifths at once (needs imbalanced-learn). In the stream each row is scored, then learned; both are judged by the last
fifth. Equal classes are aimed at in both. `p/rate` is the mean probability over the rate; `G at .5` and `G at rate` are
the geometric mean of recall and specificity where a row is called positive from .5, or from the rate of earlier rows.

    python examples/textbook.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from stream_balance.core.pipeline import row_as_search
from stream_balance.core.race import Race
from stream_balance.settings import Settings, load

FIGURES = ("accuracy", "AP", "G at .5", "G at rate", "p/rate")
BATCH: dict[str, Callable[[int], Any] | None] = {
    "none": None,
    "random_over": lambda seed: RandomOverSampler(random_state=seed),
    "smote": lambda seed: SMOTE(random_state=seed),
    "random_under": lambda seed: RandomUnderSampler(random_state=seed),
}
MODELS = ("plain_replay_mlp", "logistic")  # small networks that replay recent rows, and a linear model
Floats = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


def table(seed: int, rows: int) -> tuple[Floats, Labels]:
    """Values (rows, 20) and labels, in no order."""
    values, labels = make_classification(
        n_samples=rows, n_features=20, n_informative=2, n_redundant=10, weights=[0.9, 0.1], random_state=seed
    )
    return values, labels


def batch(values: Floats, labels: Labels, test: int, seed: int) -> dict[str, Floats]:
    """What a network that learned all but the last `test` rows says of those."""
    scaler = StandardScaler().fit(values[:-test])
    known, asked, truth = scaler.transform(values[:-test]), scaler.transform(values[-test:]), labels[:-test]
    found = {}
    for name, make in BATCH.items():
        x, y = (known, truth) if make is None else make(seed).fit_resample(known, truth)
        network = MLPClassifier((64,), early_stopping=True, max_iter=500, random_state=seed)
        found[name] = network.fit(x, y).predict_proba(asked)[:, 1]
    return found


def stream(values: Floats, labels: Labels, seed: int) -> dict[str, Floats]:
    """What was served for each row before its label was learned."""
    runners: dict[str, tuple[str | None, str]] = {
        f"{model}:{name}": (model, name) for model in MODELS for name in BATCH
    }
    runners["auto"] = (None, "auto")
    cores = [(name, settings_of(*pair, seed).core()) for name, pair in runners.items()]
    race = Race(cores, seed, ("no", "yes"), time.process_time, delay_rows=0)
    for i, (row, label) in enumerate(zip(values.tolist(), labels.tolist(), strict=True)):
        race.push_row(row_as_search(i, i, {f"x{j}": value for j, value in enumerate(row)}), label)
    said = race.answers().probability.astype(np.float64)
    return dict(zip(race.names, said, strict=True))


def settings_of(model: str | None, strategy: str, seed: int) -> Settings:
    """`auto` has models of its own."""
    return load(
        None,
        {
            "seed": seed,
            "model": {"name": model} if model else {},
            "balance": {"strategy": strategy, "target_share": 0.5},
            "arms": {"references": False},
            "features": {"builtin": False, "state": False},
        },
    )


def figures(said: Floats, labels: Labels, rate: float) -> list[float]:
    """In the order of FIGURES."""
    yes = labels > 0

    def gmean(cut: float) -> float:
        return float(np.sqrt((said >= cut)[yes].mean() * (said < cut)[~yes].mean()))

    return [
        float(((said >= 0.5) == yes).mean()), float(average_precision_score(yes, said)), gmean(0.5), gmean(rate),
        float(said.mean() / yes.mean()),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the rows and of all chance")
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {}
    for seed in options.seeds:
        values, labels = table(seed, options.rows)
        test = options.rows // 5
        judged, rate = labels[-test:], float(labels[:-test].mean())
        answers = {f"batch: {name}": said for name, said in batch(values, labels, test, seed).items()}
        answers |= {f"stream: {name}": said[-test:] for name, said in stream(values, labels, seed).items()}
        for name, said in {'always "no"': np.zeros(test), **answers}.items():
            found.setdefault(name, []).append(figures(said, judged, rate))
    print(f"{options.rows:,} rows, the last {options.rows // 5:,} judged; seeds {options.seeds}, mean and spread")
    print(f"{'':38}" + "".join(f"{name:>17}" for name in FIGURES))
    for name, runs in found.items():
        mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=min(1, len(runs) - 1))
        print(f"{name:38}" + "".join(f"{m:9.3f} +-{s:5.3f}" for m, s in zip(mean, spread, strict=True)))


if __name__ == "__main__":
    main()

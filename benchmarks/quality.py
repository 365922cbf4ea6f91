"""Quality: `auto` and each of its arms, as the service runs them and as a River classifier (`AutoClassifier`), against
the arms without their balancing, River's ensembles and imblearn wrappers.

Drifting streams, row by row, each label known before the next row is scored (prequential; rows that come singly are
taught to the arms of `auto` up to sixteen together), the same settings on all.
Six streams (Agrawal, Hyperplane, RandomRBF at 1 % and 5 %, an abrupt drift in the middle) make the mean; `jump`, whose
rate goes from 1 % to 10 % and back, is shown beside it. CPU microseconds a row of this process, with the booster's
fits, which run here. Thresholds follow the rule `prior`: the decayed rate before the row.

    python -m benchmarks.quality [--rows 50000] [--seeds 0 1 2] [--streams agrawal_1 ...] [--learners auto ...]
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from river import ensemble, forest, imblearn, linear_model, optim, preprocessing, tree

from benchmarks.streams import NAMES, SIX, Stream, make_stream
from stream_balance import AutoClassifier
from stream_balance.core.lineup import DEFAULT_ARMS
from stream_balance.core.metrics_math import average_precision, calibration_error, grouped, roc_auc
from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.core.records import Floats
from stream_balance.core.settings import CoreSettings

FIGURES = ("auc", "ap", "ap_windows", "g_half", "g_tuned", "ece", "p/rate", "us/row")
TABLE: dict[str, Any] = {"features": {"builtin": False, "state": False}}
WINDOWS = 10
UNBALANCED = "plain_linear", "plain_replay_mlp"  # `linear` and `replay_mlp` without what balances them within


class Scorer(Protocol):
    """Says a probability, then learns the label."""

    def __call__(self, stream: Stream) -> Floats: ...


def of_service(rooms: dict[str, Any], seed: int) -> Scorer:
    """What the service does with the rows of a table: its pipeline, one search of one item a row, no delay."""

    def score(stream: Stream) -> Floats:
        pipeline = Pipeline(CoreSettings.model_validate({**TABLE, **rooms}), seed, ("no", "yes"), delay_rows=0)
        found = np.empty(len(stream.labels))
        for i, (x, label) in enumerate(zip(stream.dicts(), stream.labels.tolist(), strict=True)):
            found[i] = pipeline.push_row(row_as_search(i, i * 1_000_000, dict(x)), label).probability[0, 0]
        return found

    return score


def of_river(make: Callable[[], Any]) -> Scorer:
    """A River classifier on the rows as dicts."""

    def score(stream: Stream) -> Floats:
        model, found = make(), []
        for x, y in zip(stream.dicts(), stream.labels.tolist(), strict=True):
            found.append(model.predict_proba_one(x).get(1, 0.0))
            model.learn_one(x, y)
        return np.array(found)

    return score


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))


def learners(seed: int) -> dict[str, Scorer]:
    """All that is compared."""
    aim = {0: 0.8, 1: 0.2}
    return {
        "auto": of_service({"balance": {"strategy": "auto"}, "arms": {"references": False}}, seed),
        "auto and references": of_service({"balance": {"strategy": "auto"}}, seed),
        "AutoClassifier": of_river(lambda: AutoClassifier(seed=seed)),
        **{arm.model: of_service({"arms": {"pairs": (arm.name,), "references": False}}, seed) for arm in DEFAULT_ARMS},
        **{name: of_service({"arms": {"pairs": (f"{name}:none",), "references": False}}, seed) for name in UNBALANCED},
        "River logistic": of_river(logistic),
        "logistic over": of_river(lambda: imblearn.RandomOverSampler(logistic(), aim, seed=seed)),
        "logistic under": of_river(lambda: imblearn.RandomUnderSampler(logistic(), aim, seed=seed)),
        "adaptive tree": of_river(lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=seed)),
        "tree over": of_river(
            lambda: imblearn.RandomOverSampler(tree.HoeffdingAdaptiveTreeClassifier(seed=seed), aim, seed=seed)
        ),
        "forest": of_river(lambda: forest.ARFClassifier(seed=seed)),
        "bagging": of_river(lambda: ensemble.LeveragingBaggingClassifier(tree.HoeffdingTreeClassifier(), seed=seed)),
    }


def figures(probability: Floats, labels: np.ndarray[Any, np.dtype[np.intp]], us: float) -> list[float]:
    """In the order of FIGURES."""
    positive = labels > 0
    hits, misses, sums = grouped(probability, positive)
    windows = [
        average_precision(*grouped(p, y)[:2])
        for p, y in zip(np.array_split(probability, WINDOWS), np.array_split(positive, WINDOWS), strict=True)
    ]
    known = [each for each in windows if each is not None]
    nan = math.nan
    return [
        roc_auc(hits, misses) or nan,
        average_precision(hits, misses) or nan,
        sum(known) / max(len(known), 1),
        gmean(probability >= 0.5, positive),
        gmean(probability >= prior(labels.tolist()), positive),
        calibration_error(hits, misses, sums, 15) or 0.0,
        float(probability.sum() / max(positive.sum(), 1)),
        us,
    ]


def prior(labels: list[int]) -> Floats:
    """The decayed rate before each row."""
    rate, weight, found = 0.02, 50.0, []
    for label in labels:
        found.append(rate)
        weight = weight * 0.999 + 1.0
        rate += (label - rate) / weight
    return np.array(found)


def gmean(said: np.ndarray[Any, np.dtype[np.bool_]], positive: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return math.sqrt(float(said[positive].mean()) * float((~said[~positive]).mean()))


def show(name: str, values: Iterable[float]) -> None:
    print(f"{name:28}" + "".join(f"{value:11.4f}" if value < 10 else f"{value:11.1f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--streams", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--learners", nargs="+", default=list(learners(0)), choices=list(learners(0)))
    options = parser.parse_args()
    print(f"{'':28}" + "".join(f"{name:>11}" for name in FIGURES))
    gc.freeze()  # as in the service: modules are no rows
    found: dict[str, dict[int, list[list[float]]]] = {name: {} for name in options.learners}
    for seed in options.seeds:
        for which in options.streams:
            stream = make_stream(which, options.rows, seed)
            for name in options.learners:
                score = learners(seed)[name]
                began = time.process_time()
                probability = score(stream)
                us = (time.process_time() - began) / options.rows * 1e6
                row = figures(probability, stream.labels, us)
                show(f"{which} {seed} {name}", row)
                if which in SIX:
                    found[name].setdefault(seed, []).append(row)
    print("\nmean of the six streams, and its spread over the seeds")
    for name, by_seed in found.items():
        if by_seed:
            means = np.array([np.mean(rows, axis=0) for rows in by_seed.values()])
            show(name, means.mean(axis=0))
            show("  +-", means.std(axis=0))


if __name__ == "__main__":
    main()

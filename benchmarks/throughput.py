"""Throughput: impressions a second of the whole replay from bytes, against a bare River loop on the same features.

Ours: decode, join, features, score, metrics, balance, learn. Bare: predict, ROCAUC, and learn, on ready-made dicts: of
the same rows in the order in which their labels came due, and of the very samples that our model learned, synthetic
ones included, so that both models do the same work. Both in this process, in turns; CPU seconds. Rows have ten more
columns than the items have features: position, price, and what is known of item, user and category. The ratio is that
of one arm alone (`arms.references` off); `with refs` is what the service does unless told otherwise: it also asks and
teaches the same model unbalanced and a logistic regression.

    python benchmarks/throughput.py [--impressions 20000] [--models logistic ...] [--features 20 ...] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
from river import base, forest, linear_model, metrics, optim, preprocessing, tree

from stream_balance.core.balance import BalanceSettings
from stream_balance.core.join import Joiner, JoinSettings
from stream_balance.core.lineup import LineupSettings
from stream_balance.core.lru import Share
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns, Examples, Floats, Purchase, Samples, Scored, Search
from stream_balance.core.settings import CoreSettings, ModelSettings
from stream_balance.edge.codec import Codec
from stream_balance.edge.wire import WireSettings

ITEMS = 20


def events(impressions: int, features: int, seed: int = 0) -> Iterator[bytes]:
    """A log with `ITEMS` items a search, `features` numeric features an item, some 3 % bought a little later."""
    rng = np.random.default_rng(seed)
    codec = Codec(WireSettings())
    waiting: list[tuple[int, int, Purchase]] = []
    ts_us = 1_772_000_000_000_000
    weights = rng.normal(size=features) * 2 / math.sqrt(features)
    for s in range(impressions // ITEMS):
        ts_us += int(rng.integers(1, 30_000)) * 1000  # the log is many attribution windows long
        while waiting and waiting[0][0] <= ts_us:
            yield codec.encode_purchase(waiting.pop(0)[2])
        values = rng.normal(size=(ITEMS, features)).round(4)
        ids = tuple(f"item-{int(i)}" for i in rng.zipf(1.3, ITEMS).clip(0, 5000))
        search = Search(
            event_id=f"s-{s}", ts_us=ts_us, user_id=f"user-{rng.integers(2000)}", item_ids=ids,
            positions=tuple(range(1, ITEMS + 1)), prices=tuple(rng.uniform(1, 90, ITEMS).round(2).tolist()),
            categories=(None,) * ITEMS,
            item_features=tuple({f"x{j}": float(v) for j, v in enumerate(row)} for row in values),
        )  # fmt: skip
        yield codec.encode_search(search)
        bought = rng.random(ITEMS) < 1 / (1 + np.exp(-(values @ weights - 5)))
        for i in np.flatnonzero(bought):
            due = ts_us + int(rng.integers(1000, 600_000)) * 1000
            waiting.append((due, s * ITEMS + int(i), Purchase(f"p-{s}-{i}", due, search.user_id, ids[i], f"s-{s}")))
        waiting.sort(key=lambda pair: pair[:2])


Row = dict[str, Any]
Turn = tuple[list[tuple[Row, int]], list[tuple[Row, int]]]  # a matured search: rows to ask about, samples to learn


class Recorder:
    """Keeps what a pipeline measured and learned, search by search, so that the bare loop does the same work."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.turns: list[Turn] = []
        arm = pipeline.panel.members[0]
        learn_examples, learn_samples = pipeline.panel.learn, arm.model.learn

        def remember_examples(examples: Examples, columns: Columns, *rest: Any) -> Any:
            rows = zip(dicts(examples.scored.values, columns), examples.labels, strict=True)
            self.turns.append((list(rows), []))
            return learn_examples(examples, columns, *rest)

        def remember_samples(samples: Samples, columns: Columns) -> None:
            for x, y, times in zip(dicts(samples.rows, columns), samples.labels, samples.times, strict=True):
                self.turns[-1][1].extend([(x, y)] * times)
            learn_samples(samples, columns)

        pipeline.panel.learn = remember_examples  # type: ignore[method-assign]
        arm.model.learn = remember_samples  # type: ignore[method-assign]


def dicts(values: Floats, columns: Columns) -> list[Row]:
    return [
        {name: value for name, value in zip(columns.names, row, strict=False) if not math.isnan(value)}
        for row in values.tolist()
    ]


def core(model: str, strategy: str, *, references: bool = False) -> CoreSettings:
    return CoreSettings(
        model=ModelSettings(name=model),
        balance=BalanceSettings(strategy=strategy),
        join=JoinSettings(window_s=600.0),
        arms=LineupSettings(references=references),
    )


def ours(log: list[bytes], model: str, strategy: str, *, references: bool = False) -> float:
    """CPU seconds of the whole way from bytes."""
    settings = core(model, strategy, references=references)
    pipeline, codec = Pipeline(settings, 0, ("none", "purchase")), Codec(WireSettings())
    started = time.process_time()
    for line in log:
        pipeline.push(codec.decode(line), line)
    pipeline.run_out()
    return time.process_time() - started


def bare_model(model: str) -> base.Classifier:
    return {
        "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01)),
        "hoeffding_adaptive_tree": lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=0),
        "adaptive_random_forest": lambda: forest.ARFClassifier(seed=0),
    }[model]()


def bare(turns: list[Turn], model: str) -> float:
    """CPU seconds of predict and ROCAUC for each row, and learn for each sample."""
    classifier, auc = bare_model(model), metrics.ROCAUC()
    started = time.process_time()
    for rows, samples in turns:
        for x, y in rows:
            auc.update(y, classifier.predict_proba_one(x).get(1, 0.0))
        for x, y in samples:
            classifier.learn_one(x, y)
    return time.process_time() - started


def held_bytes(items: int, searches: int) -> float:
    """Traced bytes per held impression with 20 float64 features, ids included."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    joiner, share = Joiner(JoinSettings()), Share(JoinSettings().shared_max)
    before = tracemalloc.get_traced_memory()[0]
    item_ids, positions = [f"item-{i}" for i in range(500)], tuple(range(1, items + 1))
    for s in range(searches):
        block = Scored.sealed(rng.normal(size=(items, 23)).tobytes(), 10**15 + s, s)
        ids = tuple(item_ids[(s + i) % 500] for i in range(items))
        ids = share.of(ids) if items == 1 else ids  # as the pipeline does
        joiner.hold(Scored(f"search-{s}", f"user-{s}", ids, positions, bytes(items), 20, block))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / (items * searches)


def compare(log: list[bytes], features: int, model: str, strategy: str, runs: int) -> None:
    """Print one line of the table."""
    recording = Pipeline(core(model, strategy), 0, ("none", "purchase"))
    recorder, codec = Recorder(recording), Codec(WireSettings())
    for line in log:
        recording.push(codec.decode(line), line)
    recording.run_out()
    turns = recorder.turns
    count = sum(len(rows) for rows, _ in turns)
    learned = sum(len(samples) for _, samples in turns) / count
    costs = [
        (ours(log, model, strategy), bare(turns, model), ours(log, model, strategy, references=True))
        for _ in range(runs)
    ]
    cost, reference, beside = (min(each) for each in zip(*costs, strict=True))
    print(
        f"{features:8} {model:24}{strategy:12}{count / cost:9,.0f}{count / reference:9,.0f}"
        f"{reference / cost:7.2f}{count / beside:11,.0f}{learned:20.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, default=20_000)
    parser.add_argument(
        "--models", nargs="+", default=["logistic", "hoeffding_adaptive_tree", "adaptive_random_forest"]
    )
    parser.add_argument("--strategies", nargs="+", default=["none", "smote_under"])
    parser.add_argument("--features", type=int, nargs="+", default=[20, 8], help="numeric features of an item")
    parser.add_argument("--runs", type=int, default=3, help="of each side, in turns; the fastest counts")
    parser.add_argument("--profile", action="store_true", help="say where our time goes")
    options = parser.parse_args()
    head = f"{'features':>8} {'model':24}{'strategy':12}{'ours/s':>9}{'bare/s':>9}{'ratio':>7}{'with refs':>11}"
    print(f"{head}{'samples/impression':>20}")
    for features in options.features:
        for model in options.models:
            log = list(events(options.impressions // (5 if model == "adaptive_random_forest" else 1), features))
            for strategy in options.strategies:
                compare(log, features, model, strategy, options.runs)
                if options.profile:
                    profile = cProfile.Profile()
                    profile.runcall(ours, log, model, strategy)
                    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    # A dict is largest for its contents just after it has grown, as at 22,000.
    for items, searches in ((20, 2_000), (1, 20_000), (1, 22_000)):
        print(f"{searches:6} searches of {items:2} held: {held_bytes(items, searches):.0f} bytes per impression")


if __name__ == "__main__":
    main()

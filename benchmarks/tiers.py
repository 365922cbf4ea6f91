"""Tiers: what balancing does to hot and to cold items, on a shop where nine of ten purchases are of hot ones.

The head holds 82 % of the exposure (tiers.head_share), which buys nine of ten; the tail is all other items.
Figures are those of the report, by tier: whole life, probabilities as served, every impression. `exposure` is the
tier's share of the top slots under our order, over its share under the shop's.

    python -m benchmarks.tiers [--purchases 10000] [--seeds 0 1 2] [--strategies none smote random_under auto]

A strategy with `/by_tier` behind it balances each tier by itself (balance.by_tier).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.streams import push_shop
from stream_balance.core.report import Scope
from stream_balance.service import make_pipeline
from stream_balance.settings import load

HEAD_SHARE = 0.82
FIGURES = ("AUC", "AP", "recall", "G-mean", "ECE", "p/rate")
SHOP = {"broken_share": 0.0, "items": 5_000, "items_new": 500}


def of_tier(scope: Scope) -> list[float]:
    """In the order of FIGURES, at the threshold that was stored with the prediction."""
    tuned = scope.at_tuned
    assert tuned is not None
    values = (
        scope.roc_auc, scope.average_precision, tuned.recall, tuned.gmean, scope.ece, scope.mean_probability_over_rate,
    )  # fmt: skip
    return [np.nan if value is None else value for value in values]


def measure(strategy: str, seed: int, purchases: int) -> list[float]:
    """Tail's share of the purchases, FIGURES of the head, of the tail, and the exposure of both over the shop's."""
    name, _, apart = strategy.partition("/")
    balance = {"strategy": name, "by_tier": apart == "by_tier"}
    rooms = {"tiers": {"head_share": HEAD_SHARE}, "balance": balance, "arms": {"references": False}}
    settings = load(None, {"seed": seed, "shop": SHOP, **rooms})
    pipeline = make_pipeline(settings)
    push_shop(pipeline, settings, lambda each: each.joiner.counts.positive >= purchases)
    report = pipeline.report(digest=False)
    head, tail, exposure = report.metrics.tiers.head, report.metrics.tiers.tail, report.exposure
    ours, shops = exposure.tail_share, exposure.logged_tail_share
    assert ours is not None
    assert shops is not None
    share = tail.positives / (head.positives + tail.positives)
    return [share, *of_tier(head), *of_tier(tail), (1 - ours) / (1 - shops), ours / shops]


def show(name: str, runs: Sequence[Sequence[float]]) -> None:
    """Mean and spread over the seeds, a line a tier."""
    mean = np.mean(runs, axis=0)
    spread = np.std(runs, axis=0, ddof=min(1, len(runs) - 1))
    n = len(FIGURES)
    for tier, at, exposure in (("head", 1, -2), ("tail", 1 + n, -1)):
        cells = "".join(f"{mean[i]:8.4f} +-{spread[i]:6.4f}" for i in range(at, at + n))
        more = f"{mean[exposure]:8.3f} +-{spread[exposure]:6.3f}"
        share = mean[0] if tier == "tail" else 1.0 - mean[0]
        print(f"{name if tier == 'head' else '':22}{tier:5}{share:9.3f}{cells}{more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purchases", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["none", "smote", "random_under", "auto"])
    options = parser.parse_args()
    head = "".join(f"{name:>17}" for name in (*FIGURES, "exposure"))
    print(f"{'strategy':22}{'tier':5}{'bought':>9}{head}   (mean and spread over the seeds)")
    for strategy in options.strategies:
        show(strategy, [measure(strategy, seed, options.purchases) for seed in options.seeds])


if __name__ == "__main__":
    main()

"""Closed loop: a shop that shows its items in the order of our scores, against the same shop in its own order.

What the service says decides what is seen, so what is bought, so what it learns. Hot items are the most popular ones,
which hold half of the weight by which the shop draws what it shows; cold are the others: fixed sets, so that both loops
are measured with the same yardstick. `cold in top` is their share of the top halves of the lists (at most 10 slots).
Purchases and revenue are expectations, from the true probabilities: per 1,000 searches in the shop's own order, and as
ratios to that, seed by seed, where the service ranks.

    python -m benchmarks.closed_loop [--searches 20000] [--seeds 0 1 2] [--strategies none smote ...] [--periods 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from stream_balance.commands.demo import rank_by
from stream_balance.core.metrics_math import cut
from stream_balance.core.records import Search
from stream_balance.edge.logfile import read_lines
from stream_balance.service import make_codec, make_pipeline
from stream_balance.settings import load
from stream_balance.simulation.shop import Shop

OWN = "shop's own order"
FIGURES = ("cold in top", "sold hot", "sold cold", "revenue hot", "revenue cold")
TOP_K = 10


def loop(strategy: str, seed: int, searches: int, periods: int) -> np.ndarray:
    """Figures by period, (periods, len(FIGURES)). The service learns in both loops; `OWN` does not ask it."""
    chosen = {} if strategy == OWN else {"balance": {"strategy": strategy}}
    settings = load(None, {"seed": seed, "shop": {"broken_share": 0.0}, **chosen})
    pipeline, codec = make_pipeline(settings), make_codec(settings)
    shop = Shop(settings.shop, seed, None if strategy == OWN else rank_by(pipeline, codec))
    hot = shop.hot_items()
    found = np.zeros((periods, len(FIGURES)))
    slots = np.zeros(periods)
    seen = 0
    for record in read_lines(shop.events(), codec):
        event = record.event
        assert event is not None
        if strategy != OWN:
            pipeline.push(event, record.data)
        if not isinstance(event, Search):
            continue
        at = seen * periods // searches
        k = cut(len(event), TOP_K)
        cold = [item not in hot for item in event.item_ids]
        slots[at] += k
        found[at, 0] += sum(cold[:k])
        for is_cold, truth, price in zip(cold, event.truths or (), event.prices, strict=True):
            found[at, 1 + is_cold] += truth
            found[at, 3 + is_cold] += truth * (price or 0.0)
        seen += 1
        if seen == searches:
            break
    found[:, 0] /= slots
    found[:, 1:] *= 1000.0 * periods / searches
    return found


def show(name: str, runs: Sequence[np.ndarray]) -> None:
    """Mean and spread over the seeds, by period."""
    mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=min(1, len(runs) - 1))
    for period, (values, errors) in enumerate(zip(mean, spread, strict=True), start=1):
        cells = "".join(f"{value:10.3f} +-{error:7.3f}" for value, error in zip(values, errors, strict=True))
        print(f"{name if period == 1 else '':18}{period:3}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["none", "smote", "random_under", "smote_under"])
    parser.add_argument("--periods", type=int, default=4)
    options = parser.parse_args()
    print(f"{'order by':18}{'':3}" + "".join(f"{name:>20}" for name in FIGURES))
    sizes = (options.searches, options.periods)
    own = [loop(OWN, seed, *sizes) for seed in options.seeds]
    show(OWN, own)
    for name in options.strategies:
        runs = [loop(name, seed, *sizes) for seed in options.seeds]
        for run, base in zip(runs, own, strict=True):
            run[:, 1:] /= base[:, 1:]
        show(name, runs)


if __name__ == "__main__":
    main()

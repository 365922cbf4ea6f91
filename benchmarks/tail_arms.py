"""What arms of the tail bring: `auto` with and without them, where rare items behave differently, where they do
not, and on the simulated shop. Figures by tier, whole life; paired differences over the seeds.

A search of the streams shows nine of 20 popular items and one of 2,000 others. Ten numbers tell the outcome; what they
tell of a popular item holds in the tail too (`alike`), or half of them tell the opposite there (`different`). The
tail's rate is half of the head's. Which tier an item is of is not among its features.

    python -m benchmarks.tail_arms [--rows 40000] [--seeds 0 1 2] [--streams different alike shop]
        [--more tail_linear tail_replay_mlp]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.streams import push_shop
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, FeatureValue
from stream_balance.core.report import Report
from stream_balance.core.settings import CoreSettings
from stream_balance.service import make_pipeline
from stream_balance.settings import load
from stream_balance.testing import make_purchase, make_search

FIGURES = ("AP", "AUC", "loss", "ECE", "p/rate")
BASE = ("linear:none", "replay_mlp:none", "window_booster:none")
HEAD_ITEMS, TAIL_ITEMS, COLUMNS, RATE = 20, 2_000, 10, 0.06
TIERS = {"head_share": 0.88}


def events_of(which: str, rows: int, seed: int) -> Iterator[Event]:
    """Searches of nine popular items and a rare one, and what is bought, a second later."""
    rng = np.random.default_rng([seed, 77])
    tells = rng.normal(size=COLUMNS) * 0.6
    turned = np.where(np.arange(COLUMNS) < COLUMNS // 2, -tells, tells) if which == "different" else tells
    head = np.arange(10) < 9
    for i in range(rows // 10):
        x = rng.normal(size=(10, COLUMNS))
        logit = np.log(np.where(head, RATE, RATE / 2.0)) + np.where(head, x @ tells, x @ turned) - (tells @ tells) / 2
        bought = rng.random(10) < 1.0 / (1.0 + np.exp(-logit))
        items = [*(f"h{k}" for k in rng.choice(HEAD_ITEMS, 9, replace=False)), f"t{rng.integers(TAIL_ITEMS)}"]
        features: list[dict[str, FeatureValue]] = [{f"x{c}": float(v) for c, v in enumerate(row)} for row in x]
        yield make_search(f"s{i}", ts=10.0 * i, user_id="u", items=items, item_features=features)
        for item in np.array(items)[bought]:
            yield make_purchase(f"p{i}{item}", ts=10.0 * i + 1.0, user_id="u", item_id=str(item), search_id=f"s{i}")


def measured(which: str, rows: int, seed: int, rooms: dict[str, Any]) -> Report:
    """The report after so many rows."""
    if which != "shop":
        table = {"features": {"builtin": False, "state": False}, "tiers": TIERS, "join": {"window_s": 5.0}}
        pipeline = Pipeline(CoreSettings.model_validate({**table, **rooms}), seed, ("no", "yes"))
        for event in events_of(which, rows, seed):
            pipeline.push(event)
        return pipeline.report(digest=False)
    shop = {"broken_share": 0.0, "items": 5_000, "items_new": 500}
    settings = load(None, {"seed": seed, "shop": shop, "tiers": {"head_share": 0.9}, **rooms})
    served = make_pipeline(settings)
    push_shop(served, settings, lambda each: each.joiner.counts.matured >= rows)
    return served.report(digest=False)


def figures(report: Report) -> list[float]:
    """FIGURES of the head, of the tail; CPU is the caller's."""
    found = []
    for scope in (report.metrics.tiers.head, report.metrics.tiers.tail):
        values = (
            scope.average_precision, scope.roc_auc, scope.log_loss, scope.ece, scope.mean_probability_over_rate
        )  # fmt: skip
        found += [np.nan if value is None else value for value in values]
    return found


def show(words: str, values: Any) -> None:
    print(f"{words:44}" + "".join(f"{value:9.4f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--streams", nargs="+", default=["different", "alike", "shop"])
    parser.add_argument("--base", nargs="+", default=list(BASE))
    parser.add_argument("--more", nargs="+", default=["tail_linear", "tail_replay_mlp"])
    options = parser.parse_args()
    print(f"{'':44}" + "".join(f"{f'{tier} {name}':>9}" for tier in ("h", "t") for name in FIGURES))
    lineups = {"auto": options.base, "with": [*options.base, *(f"{name}:none" for name in options.more)]}
    for which in options.streams:
        found: dict[str, list[list[float]]] = {name: [] for name in lineups}
        for seed in options.seeds:
            for name, pairs in lineups.items():
                rooms = {"arms": {"pairs": tuple(pairs), "references": False}}
                report = measured(which, options.rows, seed, rooms)
                found[name].append(figures(report))
                show(f"{which} {seed} {name}", found[name][-1])
            tail = ", ".join(f"{arm.model} {arm.weight.tail:.2f}" for arm in report.arms if arm.weight is not None)
            print(f"  weights in the tail: {tail}")
        gain = np.array(found["with"]) - np.array(found["auto"])
        show(f"{which} difference", gain.mean(axis=0))
        show(
            "  its standard error", gain.std(axis=0, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else gain[0] * np.nan
        )


if __name__ == "__main__":
    main()

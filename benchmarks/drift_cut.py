"""What forgetting at a drift alarm brings: the same stream, once with windows that forget, once without.

The whole pipeline, row by row, each label learned before the next row is scored. Streams of `benchmarks.streams`, with
a sudden drift in the middle, or the simulated shop, whose tastes drift slowly (`shop`). Beside the figures of the whole
stream those of the `--after` rows behind the drift. The differences are paired by stream and seed.

    python -m benchmarks.drift_cut [--rows 50000] [--seeds 0 1 2] [--streams agrawal_1 ...] [--arms auto smote_under]
        [--set drift.keep_min=100 ...]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.streams import SIX, make_stream, push_shop
from stream_balance.core.metrics_math import average_precision, calibration_error, grouped, roc_auc
from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.core.records import Floats
from stream_balance.core.report import Report
from stream_balance.core.settings import CoreSettings
from stream_balance.service import make_pipeline
from stream_balance.settings import load

FIGURES = ("loss", "AP", "AUC", "ECE", "loss after", "AP after", "AUC after", "alarms", "cuts")
TABLE: dict[str, Any] = {"features": {"builtin": False, "state": False}}


def of_stream(which: str, rows: int, seed: int, rooms: dict[str, Any]) -> tuple[Floats, Floats, Report]:
    """Probabilities and labels, (rows,), and the report."""
    stream = make_stream(which, rows, seed)
    pipeline = Pipeline(CoreSettings.model_validate({**TABLE, **rooms}), seed, ("no", "yes"), delay_rows=0)
    scored = [
        pipeline.push_row(row_as_search(i, i * 1_000_000, dict(x)), label)
        for i, (x, label) in enumerate(zip(stream.dicts(), stream.labels.tolist(), strict=True))
    ]
    return np.array([each.probability[0, 0] for each in scored]), stream.labels > 0, pipeline.report(digest=False)


class Keeping(Pipeline):
    """Keeps what was served and what became of it."""

    kept: list[tuple[Floats, tuple[int, ...]]]

    def _mature(self, matured: Any, *between: Any) -> None:
        for examples in matured:
            self.kept.append((examples.scored.probability[:, 0], examples.labels))
            super()._mature([examples], *between)


def of_shop(rows: int, seed: int, rooms: dict[str, Any]) -> tuple[Floats, Floats, Report]:
    """The same of so many impressions of the shop."""
    settings = load(None, {"seed": seed, "shop": {"broken_share": 0.0}, **rooms})
    pipeline = make_pipeline(settings)
    pipeline.__class__, pipeline.kept = Keeping, []  # type: ignore[attr-defined]
    push_shop(pipeline, settings, lambda each: each.joiner.counts.matured >= rows)
    said = np.concatenate([each for each, _ in pipeline.kept])  # type: ignore[attr-defined]
    labels = np.array([label for _, each in pipeline.kept for label in each])  # type: ignore[attr-defined]
    return said, labels > 0, pipeline.report(digest=False)


def figures(said: Floats, positive: Any, report: Report, after: int) -> list[float]:
    """In the order of FIGURES."""
    found: list[float] = []
    half = len(said) // 2
    for part in (slice(None), slice(half, half + after)):
        p, y = np.clip(said[part], 1e-9, 1 - 1e-9), positive[part]
        hits, misses, sums = grouped(p, y)
        found += [
            float(-np.log(np.where(y, p, 1 - p)).mean()),
            average_precision(hits, misses) or np.nan,
            roc_auc(hits, misses) or np.nan,
        ]
        if part == slice(None):
            found.append(calibration_error(hits, misses, sums, 15) or np.nan)
    drift = report.drift
    return [*found, drift.counts.log_loss + drift.counts.label_rate, sum(a.forgotten > 0 for a in drift.alarms)]


def rooms_of(arms: str, forget_on: str, more: list[str]) -> dict[str, Any]:
    rooms: dict[str, Any] = {"balance": {"strategy": arms}, "arms": {"references": False}}
    if ":" in arms:
        rooms = {"arms": {"references": False, "pairs": arms.split(",")}}
    rooms.setdefault("drift", {})["forget_on"] = forget_on
    for each in more:
        path, _, value = each.partition("=")
        room, _, key = path.partition(".")
        rooms.setdefault(room, {})[key] = json.loads(value)
    return rooms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--after", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--streams", nargs="+", default=[*SIX, "shop"])
    parser.add_argument("--arms", nargs="+", default=["auto", "smote_under"])
    parser.add_argument("--forget-on", nargs="+", default=["never", "loss_rose"])
    parser.add_argument("--set", nargs="*", default=[], dest="more")
    options = parser.parse_args()
    print(f"{'':44}" + "".join(f"{name:>11}" for name in FIGURES))
    for arms in options.arms:
        found: dict[str, list[list[float]]] = {each: [] for each in options.forget_on}
        for which in options.streams:
            for seed in options.seeds:
                for forget_on in options.forget_on:
                    rooms = rooms_of(arms, forget_on, options.more)
                    if which == "shop":
                        row = figures(*of_shop(options.rows, seed, rooms), options.after)
                    else:
                        row = figures(*of_stream(which, options.rows, seed, rooms), options.after)
                    found[forget_on].append(row)
                    print(f"{arms:14}{which:13}{seed:3} {forget_on:13}", *(f"{x:10.4f}" for x in row), flush=True)
        base = np.array(found[options.forget_on[0]])
        for forget_on, rows in found.items():
            mean = np.array(rows).mean(axis=0)
            print(f"{arms:14}{'mean':17}{forget_on:13}" + "".join(f"{x:11.4f}" for x in mean))
            if forget_on != options.forget_on[0]:
                gain = np.array(rows) - base
                error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else gain[0] * np.nan
                print(f"{'':14}{'difference':30}" + "".join(f"{x:+11.4f}" for x in gain.mean(axis=0)))
                print(f"{'':14}{'its standard error':30}" + "".join(f"{x:11.4f}" for x in error), flush=True)


if __name__ == "__main__":
    main()

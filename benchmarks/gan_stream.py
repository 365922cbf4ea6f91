"""GAN on a stream: releases and refusals over a long replay with drift, what they bring, and what they cost the loop.

The simulated shop (season, prices, new items) through the whole pipeline, trainings in a child process as in the
service. Strategies: `none`; `copies`, which is `gan` without ever asking for a training; `gan`. Average precision and
log-loss of what was served, over the second half of the events; lifts are paired by seed, with the standard error over
seeds. CPU microseconds an impression are those of the loop's process; the child's are told apart, and
wall seconds, which a busy machine makes meaningless.

    python -m benchmarks.gan_stream [--events 40000] [--seeds 0 1 2] [--model logistic] [--adopt helps]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np

from stream_balance.core.metrics_math import average_precision, grouped
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Examples
from stream_balance.edge.fits import ChildFits, make_trainer
from stream_balance.service import make_codec, make_pipeline
from stream_balance.settings import Settings
from stream_balance.simulation.shop import Shop

NEVER = 1_000_000_000


class Watched:
    """Keeps what was served and what came of it, from an event number on."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._score = pipeline.oracle.score
        pipeline.oracle.score = self  # type: ignore[method-assign,assignment]
        self.on = False
        self.served: list[np.ndarray] = []
        self.labels: list[int] = []

    def __call__(self, examples: Examples) -> None:
        self._score(examples)
        if self.on:
            self.served.append(examples.scored.probability[:, 0])
            self.labels += examples.labels


def run(strategy: str, model: str, events: int, seed: int, gan: dict[str, Any]) -> dict[str, Any]:
    """One replay; its figures."""
    recipe = {**gan, "copula_rows_min": NEVER} if strategy == "copies" else gan
    settings = Settings.model_validate({
        "seed": seed, "model": {"name": model}, "gan": recipe,
        "shop": {"broken_share": 0.0}, "arms": {"references": False},
        "balance": {"strategy": "none" if strategy == "none" else "gan"},
    })  # fmt: skip
    codec, pipeline = make_codec(settings), make_pipeline(settings)
    fits = ChildFits(make_trainer(settings.workers))
    pipeline.attach(fits)
    watched = Watched(pipeline)
    wall, cpu = time.perf_counter(), time.process_time()
    for number, line in enumerate(islice(Shop(settings.shop, seed).events(), events)):
        watched.on = number >= events // 2
        pipeline.push(codec.parse(line), line)
    found: dict[str, Any] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    tally = fits.tallies["gan"]
    fits.close()
    served, labels = np.concatenate(watched.served), np.array(watched.labels)
    losses = -np.log(np.maximum(np.where(labels == 1, served, 1 - served), 1e-15))
    hits, misses, _ = grouped(served, labels == 1)
    report = pipeline.report(digest=False)
    return found | {
        "ap": average_precision(hits, misses), "log_loss": float(losses.mean()),
        "positives": int(labels.sum()), "us": found["cpu_s"] / max(pipeline.examples_in, 1) * 1e6,
        "child_cpu_s": tally.cpu_s, "stall_s": tally.stall_s, "gan": report.gan,
        "samples": report.training.samples.model_dump(),
    }  # fmt: skip


def line(name: str, runs: list[dict[str, Any]], beside: list[dict[str, Any]] | None) -> str:
    """A strategy's figures, and its lifts over another's."""
    ap, loss = (np.array([each[field] for each in runs]) for field in ("ap", "log_loss"))
    made = sum(each["samples"]["generated"] for each in runs) / sum(sum(each["samples"].values()) for each in runs)
    said = f"{name:<8} {ap.mean():.4f} {loss.mean():.4f} {np.mean([r['us'] for r in runs]):6.1f} {made:9.3f}"
    said += f" {sum(r['child_cpu_s'] for r in runs):9.1f} {sum(r['stall_s'] for r in runs):8.1f}"
    said += f" {sum(r['wall_s'] for r in runs):7.1f}"
    if beside is not None:
        for field in ("ap", "log_loss"):
            lift = np.array([mine[field] - other[field] for mine, other in zip(runs, beside, strict=True)])
            error = lift.std(ddof=1) / len(lift) ** 0.5 if len(lift) > 1 else float("nan")
            said += f"   {lift.mean():+.4f} ({error:.4f})"
    return said


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="logistic")
    parser.add_argument("--adopt", choices=("helps", "vetted"), default="helps")
    parser.add_argument("--swap-after", type=int, default=5_000)
    parser.add_argument("--retrain-events", type=int, default=6_000)
    asked = parser.parse_args()
    gan = {
        "adopt": asked.adopt, "swap_after_events": asked.swap_after, "retrain_events": asked.retrain_events,
        "backoff_max": 1,
    }  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {}
    for strategy in ("none", "copies", "gan"):
        found[strategy] = [run(strategy, asked.model, asked.events, seed, gan) for seed in asked.seeds]
        print(strategy, [round(each["ap"], 4) for each in found[strategy]], flush=True)
    print(
        "\n         ap     log_loss us/row generated child_cpu  stall_s  wall_s  ap over copies    log-loss over copies"
    )
    for name, runs in found.items():
        print(line(name, runs, found["copies"] if name != "copies" else None))
    print("\nseed  event  asked for  outcome  reason             warm  makers: c2st, coverage, best gain (error)")
    for seed, each in zip(asked.seeds, found["gan"], strict=True):
        for outcome in each["gan"].history:
            makers = []
            for vetting in outcome.vettings:
                best = max(vetting.gains, key=lambda gain: gain.over_copies, default=None)
                gain = "" if best is None else f", {best.model} {best.over_none:+.3f} ({best.over_none_error:.3f})"
                makers.append(f"{vetting.maker} {vetting.c2st:.2f}, {vetting.coverage:.2f}{gain}")
            print(
                f"{seed:>4} {outcome.position:>6}  {outcome.asked_for:<9}  {outcome.outcome:<7}  {outcome.reason:<17}  "
                f"{outcome.warm!s:<5} {'; '.join(makers)}"
            )
    refusals = Counter[str]()
    for each in found["gan"]:
        refusals.update(each["gan"].refusals)
    print("releases", sum(each["gan"].releases for each in found["gan"]), "refusals", dict(refusals))


if __name__ == "__main__":
    main()

"""Calibration: are served probabilities those of the stream, under every strategy and every model?

Rows of six numbers with bent and stepped log odds, no drift, come in searches of 20; an arm scores them, then learns
their labels. Over the second half, against the labels:

    M  mean probability over rate within .9-1.1
    E  expected calibration error, 15 bins of equal mass, <= .2 x rate
    D  each decile that expects 50 positives or more within 25 % of its rate
    L  log-loss not more than a thousandth above that of the arm's corrected, uncalibrated word

A cell of the table is `ok` or the letters that miss; before it stand the figures of each miss. Chance alone makes an
error of some .8 x sqrt(15 / positives) x rate: .1 x rate for the thousand positives of the second half.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration [--positives 2000] [--rates .01 .05] [--seeds 0] [--models ...]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from random import Random

import numpy as np

from stream_balance.core.arm import Arm, Recent
from stream_balance.core.arms import MODELS
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.calibrate import unbend
from stream_balance.core.digest import Trail
from stream_balance.core.lineup import Pair
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Examples, Floats
from stream_balance.core.settings import CoreSettings
from stream_balance.core.window import Window
from stream_balance.testing import make_scored

SEARCH = 20
COLUMNS = 6
BINS, DECILES = 15, 10
DECILE_POSITIVES = 50


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one arm over the second half."""

    ratio: float  # mean probability over rate
    ece: float  # over the rate
    decile: float  # largest relative error of a decile with enough positives
    loss: float  # log-loss over the uncalibrated one's, minus 1

    def missed(self) -> str:
        """The letters of what is not met."""
        met = (0.9 <= self.ratio <= 1.1, self.ece <= 0.2, self.decile <= 0.25, self.loss <= 0.001)
        return "".join(letter for letter, good in zip("MEDL", met, strict=True) if not good)

    def __str__(self) -> str:
        return f"p/rate {self.ratio:.3f}  ece/rate {self.ece:.3f}  decile {self.decile:.3f}  loss {self.loss:+.4f}"


def rows_of(n: int, rate: float, seed: int) -> tuple[Floats, list[int]]:
    """Values (n, 6), and labels drawn from probabilities with this mean."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, COLUMNS))
    odds = values[:, 0] - 0.5 * values[:, 1] + 0.8 * (values[:, 2] > 1) + 0.4 * np.abs(values[:, 3])
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(odds + middle).mean() < rate else (low, middle)
    truth = sigmoid(odds + low)
    return values, (rng.random(n) < truth).astype(int).tolist()


def sigmoid(x: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-x))
    return found


def served(pair: Pair, values: Floats, labels: list[int], seed: int) -> tuple[Floats, Floats]:
    """Probabilities as they were served, and the corrected word before calibration (NaN where the model abstained)."""
    settings = CoreSettings()
    recent = Recent(Rates(settings.rates), Window(settings.window))
    arm = Arm(pair, settings, 2, seed, Random(seed), recent, one_vs_rest=False)
    columns, trail, tiers = Columns(), Trail(), bytes([0, 1] * (SEARCH // 2))
    for i in range(COLUMNS):
        columns.add(f"x{i}")
    items, known, prices = ("i",) * SEARCH, (False,) * SEARCH, (0.0,) * SEARCH
    said, word = [], []
    for start in range(0, len(labels), SEARCH):
        rows, outcome = values[start : start + SEARCH], tuple(labels[start : start + SEARCH])
        raw, probability = arm.look(rows, tiers, columns)
        assert isinstance(raw, np.ndarray)
        assert isinstance(probability, np.ndarray)
        word.append(raw if arm.model.supports_offset or not arm.ratios else unbend(raw, arm.ratios[0].offset()))
        said.append(probability)
        scored = make_scored(f"s{start}", ts=start, items=items, values=rows.tolist(), tiers=tiers)
        arm.calibrate(raw, tiers, outcome)
        examples = Examples(scored, outcome, known, prices)
        arm.train(Arrivals(rows, outcome, tiers, probability), columns, trail)
        recent.observe(examples)
    return np.concatenate(said)[:, 0], np.concatenate(word)[:, 0]


def figures(said: Floats, word: Floats, labels: Floats) -> Figures:
    """Of what was served, and of the uncalibrated word, (n,), against the labels, (n,)."""
    rate = labels.mean()
    order = np.argsort(said, kind="stable")
    said, word, labels = said[order], word[order], labels[order]
    bins = [
        (len(p), p.mean() - t.mean())
        for p, t in zip(np.array_split(said, BINS), np.array_split(labels, BINS), strict=True)
    ]
    deciles = [
        abs(p.mean() / t.mean() - 1)
        for p, t in zip(np.array_split(said, DECILES), np.array_split(labels, DECILES), strict=True)
        if t.sum() >= DECILE_POSITIVES
    ]
    spoke = ~np.isnan(word)
    loss = log_loss(said[spoke], labels[spoke]) / log_loss(word[spoke], labels[spoke]) - 1
    ece = sum(n * abs(gap) for n, gap in bins) / len(said)
    return Figures(float(said.mean() / rate), float(ece / rate), float(max(deciles, default=0.0)), loss)


def log_loss(said: Floats, labels: Floats) -> float:
    p = np.clip(said, 1e-15, 1 - 1e-15)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positives", type=int, default=2_000, help="of a stream, in the mean")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--all", action="store_true", help="the figures of every pair, not only of a miss")
    options = parser.parse_args()
    for rate in options.rates:
        for seed in options.seeds:
            table(rate, seed, options)


def table(rate: float, seed: int, options: argparse.Namespace) -> None:
    rows = round(options.positives / rate / 2 / SEARCH) * 2 * SEARCH
    values, labels = rows_of(rows, rate, seed)
    half, outcomes = rows // 2, np.array(labels, dtype=np.float64)
    cells: dict[tuple[str, str], str] = {}
    print(f"\n{rate:.0%} positives, seed {seed}, {rows} rows", flush=True)
    for model in options.models:
        began = time.process_time()
        for strategy in options.strategies:
            said, word = served(Pair(model, strategy), values, labels, seed)
            found = figures(said[half:], word[half:], outcomes[half:])
            cells[strategy, model] = found.missed() or "ok"
            if options.all or found.missed():
                print(f"  {model:24}{strategy:20}{found.missed() or 'ok':5} {found}", flush=True)
        print(f"  {model}: {time.process_time() - began:.0f} CPU s", flush=True)
    widths = [max(len(model), 4) + 2 for model in options.models]
    print(f"{'':20}" + "".join(f"{model:>{w}}" for model, w in zip(options.models, widths, strict=True)))
    for strategy in options.strategies:
        row = "".join(f"{cells[strategy, model]:>{w}}" for model, w in zip(options.models, widths, strict=True))
        print(f"{strategy:20}{row}")
    good = sum(cell == "ok" for cell in cells.values())
    print(f"{good} of {len(cells)} pairs meet all four", flush=True)


if __name__ == "__main__":
    main()

"""Calibration: are served probabilities those of the stream, under every strategy and every model?

Rows of six numbers with bent and stepped log odds, no drift, come in searches of 20; an arm scores them, then learns
their labels. Over the second half, against the labels:

    M  mean probability over rate within .9-1.1
    E  expected calibration error, 15 bins of equal mass, <= .2 x rate
    D  each decile with 50 positives or more within 25 % of its rate
    L  log-loss not more than a thousandth above that of the arm's corrected, uncalibrated word

and two more letters, which tell chance from a miss of the calibration:

    d  some decile whose number of positives chance makes in less than one of a thousand deciles: the normal score of
       the count of independent outcomes with the probabilities served is beyond 3.3
    T  some decile, of those where 50 positives are *expected*, not within 25 % of the mean of its *true* probabilities,
       which the labels are drawn from: what D would find if the labels of the second half were drawn without end

A decile with 50 positives has a standard error of 14 %, and all strategies see the same labels, so that D fails under
many strategies of one seed at once, by chance. `luck` is how likely D fails where every decile's mean probability is
its true one to the last digit; below a table stands how many of its cells would be expected to, and how many do. A cell
of the table is `ok` or the letters that miss; before it stand the figures of each miss. With several seeds, `bias` is
the mean over them of each decile's error against the truth, with its standard error: a systematic miss is one beyond
both 25 % (or what you like) and its error.

The model `auto` is the default arms behind their mixture, as a service runs them; it has no strategies.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration [--positives 2000] [--rates .01 .05] [--seeds 0 1] [--models ...]
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from random import Random

import numpy as np
from scipy.stats import poisson

from stream_balance.core.arm import Arm, Recent
from stream_balance.core.arms import MODELS
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.digest import Trail
from stream_balance.core.lineup import AUTO, Pair
from stream_balance.core.odds import unbend
from stream_balance.core.panel import Panel
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Examples, Floats, Scored
from stream_balance.core.settings import CoreSettings
from stream_balance.core.window import Window

SEARCH = 20
COLUMNS = 6
BINS, DECILES = 15, 10
DECILE_POSITIVES = 50
SIGMAS = 3.3


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one arm over the second half."""

    ratio: float  # mean probability over rate
    ece: float  # over the rate
    decile: float  # largest relative error of a decile with enough positives
    loss: float  # log-loss over the uncalibrated one's, minus 1
    sigmas: float  # of the decile whose positives chance explains least
    true_decile: float  # as `decile`, where so many are expected, against true probabilities
    bias: tuple[float, ...]  # of each decile, against true probabilities, relative
    luck: float  # the probability that `decile` is missed by the true mean of each decile

    def missed(self) -> str:
        """The letters of what is not met."""
        met = (
            0.9 <= self.ratio <= 1.1, self.ece <= 0.2, self.decile <= 0.25, self.loss <= 0.001,
            self.sigmas <= SIGMAS, self.true_decile <= 0.25,
        )  # fmt: skip
        return "".join(letter for letter, good in zip("MEDLdT", met, strict=True) if not good)

    def __str__(self) -> str:
        return (
            f"p/rate {self.ratio:.3f}  ece/rate {self.ece:.3f}  decile {self.decile:.3f}  loss {self.loss:+.4f}  "
            f"sigmas {self.sigmas:.1f}  true decile {self.true_decile:.3f}  "
            f"luck {self.luck:.2f}"
        )


def rows_of(n: int, rate: float, seed: int) -> tuple[Floats, list[int], Floats]:
    """Values (n, 6), labels, and the probabilities with this mean that they are drawn from."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, COLUMNS))
    odds = values[:, 0] - 0.5 * values[:, 1] + 0.8 * (values[:, 2] > 1) + 0.4 * np.abs(values[:, 3])
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(odds + middle).mean() < rate else (low, middle)
    truth = sigmoid(odds + low)
    return values, (rng.random(n) < truth).astype(int).tolist(), truth


def sigmoid(x: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-x))
    return found


def numbers() -> Columns:
    """As many numeric columns as a row has."""
    columns = Columns()
    for i in range(COLUMNS):
        columns.add(f"x{i}")
    return columns


def served(pair: Pair, values: Floats, labels: list[int], seed: int) -> tuple[Floats, Floats]:
    """Probabilities as they were served, and the corrected word before calibration (NaN where the model abstained)."""
    settings = CoreSettings()
    recent = Recent(Rates(settings.rates), Window(settings.window))
    arm = Arm(pair, settings, 2, seed, Random(seed), recent, one_vs_rest=False)
    columns, trail, tiers = numbers(), Trail(), bytes([0, 1] * (SEARCH // 2))
    said, word = [], []
    for start in range(0, len(labels), SEARCH):
        rows, outcome = values[start : start + SEARCH], tuple(labels[start : start + SEARCH])
        raw, probability = arm.look(rows, tiers, columns)
        assert isinstance(raw, np.ndarray)
        assert isinstance(probability, np.ndarray)
        word.append(raw if arm.model.supports_offset or not arm.ratios else unbend(raw, arm.ratios[0].offset()))
        said.append(probability)
        arm.calibrate(raw, tiers, outcome)
        arrivals = Arrivals(rows, outcome, tiers, probability)
        arm.train(arrivals, columns, trail)
        recent.observe(arrivals, start)
    return np.concatenate(said)[:, 0], np.concatenate(word)[:, 0]


def served_by_auto(values: Floats, labels: list[int], seed: int) -> tuple[Floats, Floats]:
    """The same of the default arms: their mixture, and the mean of their own words with its weights."""
    settings = CoreSettings.model_validate({"balance": {"strategy": AUTO}, "arms": {"references": False}})
    panel = Panel(settings, 2, seed, lambda room: Random(f"{seed}/{room}"))
    columns, trail, tiers = numbers(), Trail(), bytes([0, 1] * (SEARCH // 2))
    items, places, nothing = ("",) * SEARCH, tuple(range(SEARCH)), (0.0,) * SEARCH
    said = []
    for start in range(0, len(labels), SEARCH):
        rows = values[start : start + SEARCH]
        answer = panel.score(rows, tiers, columns)
        said.append(answer.figures[:, :2])
        block = Scored.sealed(answer.beside(rows), start, panel.version)
        scored = Scored("", "", items, places, tiers, COLUMNS, block, None, answer.said)
        examples = Examples(scored, tuple(labels[start : start + SEARCH]), (False,) * SEARCH, nothing)
        panel.learn(examples, columns, trail)
        panel.measure(examples, measured=True, learned=True)
    word, probability = np.concatenate(said).T
    return probability, word


def figures(said: Floats, word: Floats, labels: Floats, truth: Floats) -> Figures:
    """Of what was served, and of the uncalibrated word, (n,), against the labels and true probabilities, (n,)."""
    rate = labels.mean()
    order = np.argsort(said, kind="stable")
    said, word, labels, truth = said[order], word[order], labels[order], truth[order]
    ece = sum(
        abs(p.sum() - t.sum()) for p, t in zip(*(np.array_split(each, BINS) for each in (said, labels)), strict=True)
    )
    deciles = list(zip(*(np.array_split(each, DECILES) for each in (said, labels, truth)), strict=True))
    enough = [each for each in deciles if each[1].sum() >= DECILE_POSITIVES]
    expected = [each for each in deciles if each[2].sum() >= DECILE_POSITIVES]
    scores = [abs(t.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()) for p, t, _ in deciles]
    spoke = ~np.isnan(word)
    return Figures(
        ratio=float(said.mean() / rate),
        ece=float(ece / len(said) / rate),
        decile=float(max((abs(p.mean() / t.mean() - 1) for p, t, _ in enough), default=0.0)),
        loss=log_loss(said[spoke], labels[spoke]) / log_loss(word[spoke], labels[spoke]) - 1,
        sigmas=float(max(scores)),
        true_decile=float(max((abs(p.mean() / q.mean() - 1) for p, _, q in expected), default=0.0)),
        bias=tuple(float(p.mean() / q.mean() - 1) for p, _, q in deciles),
        luck=luck([float(q.sum()) for _, _, q in deciles]),
    )


def luck(expected: list[float]) -> float:
    """How likely some decile with 50 positives or more is not within 25 % of its rate, with so many expected in each
    and all of them known. Outcomes are rare, so their number is Poisson.
    """
    met = 1.0
    for mean in expected:
        fewest, most = max(DECILE_POSITIVES, math.ceil(mean / 1.25)), math.floor(mean / 0.75)
        low = poisson.cdf(fewest - 1, mean) - poisson.cdf(DECILE_POSITIVES - 1, mean)
        met *= 1.0 - (low + poisson.sf(max(most, DECILE_POSITIVES - 1), mean))
    return 1.0 - float(met)


def log_loss(said: Floats, labels: Floats) -> float:
    p = np.clip(said, 1e-15, 1 - 1e-15)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positives", type=int, default=2_000, help="of a stream, in the mean")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=[*MODELS, AUTO], choices=[*MODELS, AUTO])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--all", action="store_true", help="the figures of every pair, not only of a miss")
    options = parser.parse_args()
    for rate in options.rates:
        tables = [table(rate, seed, options) for seed in options.seeds]
        if len(tables) > 1:
            summary(tables, options)


def strategies_of(model: str, options: argparse.Namespace) -> list[str]:
    return [AUTO] if model == AUTO else options.strategies


Cells = dict[tuple[str, str], Figures]


def table(rate: float, seed: int, options: argparse.Namespace) -> Cells:
    """The figures of each (strategy, model)."""
    rows = round(options.positives / rate / 2 / SEARCH) * 2 * SEARCH
    values, labels, truth = rows_of(rows, rate, seed)
    half, outcomes = rows // 2, np.array(labels, dtype=np.float64)
    cells: Cells = {}
    print(f"\n{rate:.0%} positives, seed {seed}, {rows} rows", flush=True)
    for model in options.models:
        began = time.process_time()
        for strategy in strategies_of(model, options):
            if model == AUTO:
                said, word = served_by_auto(values, labels, seed)
            else:
                said, word = served(Pair(model, strategy), values, labels, seed)
            found = cells[strategy, model] = figures(said[half:], word[half:], outcomes[half:], truth[half:])
            if options.all or found.missed():
                print(f"  {model:24}{strategy:20}{found.missed() or 'ok':6} {found}", flush=True)
        print(f"  {model}: {time.process_time() - began:.0f} CPU s", flush=True)
    widths = [max(len(model), 6) + 2 for model in options.models]
    print(f"{'':20}" + "".join(f"{model:>{w}}" for model, w in zip(options.models, widths, strict=True)))
    for strategy in dict.fromkeys(strategy for strategy, _ in cells):
        found_by = [cells.get((strategy, model)) for model in options.models]
        missed = ["" if each is None else each.missed() or "ok" for each in found_by]
        print(f"{strategy:20}" + "".join(f"{each:>{w}}" for each, w in zip(missed, widths, strict=True)))
    good = sum(not set(cell.missed()) & set("MEDL") for cell in cells.values())
    print(f"{good} of {len(cells)} pairs meet all four", flush=True)
    for model in options.models:
        mine = [cell for (_, name), cell in cells.items() if name == model]
        counts = {letter: sum(letter in cell.missed() for cell in mine) for letter in "MELDT"}
        by_luck = sum(cell.luck for cell in mine)
        told = "  ".join(f"{letter} {count}" for letter, count in counts.items())
        print(f"  {model:24}{told}  of {len(mine)}; D by luck alone {by_luck:.1f}", flush=True)
    return cells


def summary(tables: list[Cells], options: argparse.Namespace) -> None:
    """How many seeds miss what, and each decile's mean error against the truth, in %, with its standard error."""
    print("\nseeds that miss M E D L d T, and the bias of the deciles in %, lowest first")
    for model in options.models:
        for strategy in strategies_of(model, options):
            found = [cells[strategy, model] for cells in tables]
            counts = " ".join(str(sum(letter in each.missed() for each in found)) for letter in "MEDLdT")
            bias = 100 * np.array([each.bias for each in found])
            error = bias.std(axis=0, ddof=1) / np.sqrt(len(found))
            each_decile = " ".join(f"{m:+.0f}+-{e:.0f}" for m, e in zip(bias.mean(axis=0), error, strict=True))
            print(f"  {model:24}{strategy:20}{counts}  of {len(found)}   {each_decile}", flush=True)


if __name__ == "__main__":
    main()

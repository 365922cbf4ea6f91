"""GAN: made rows of a rare class, by every maker: their cost, how real they look, and what a model gains from them.

    python benchmarks/gan.py [--tables synthetic shoppers bank --data DIR] [--windows 200 1000 5000] [--seeds 3]

Each maker learns a window of rows of the class. Judged on rows that no maker saw: CPU seconds and peak memory of a
fresh process, C2ST (AUC of a forest, made against real), coverage, DCR share (.5 = no copies), TSTR (average
precision of a booster whose rows of the class are all made, as many as the window has, over the same with the real
window; `tstr_2000`: with as many as a release delivers), and the average
precision of River's logistic regression and forest and scikit-learn's booster, fed with real and made rows (share .2).
`fresh` are other real rows, as many: what nobody can do better (synthetic table only). `warm` is trained on the window
after a fifth of it moved on, from the weights before. CTGAN runs where it is installed, `private` (DP-SGD) and `noisy`
(its marginals, before any step) where Opacus is.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, SMOTENC
from river import forest, linear_model, optim, preprocessing

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import NO_WEIGHTS, PrivacySettings, RecipeSettings, TrainingSet
from stream_balance.gan.makers import Start, make_by_copula, make_by_gan, make_by_trees
from stream_balance.gan.private_maker import has_opacus, independent, make_privately, start_privately
from stream_balance.gan.quality import c2st, coverage, dcr_share, encoded
from stream_balance.gan.shadow import Learner, booster, weighted_precision
from stream_balance.gan.table import Ints, Table, layout_of

SHARE = 0.2
OTHERS = 4_000
# Rows that are ranked by what learned made rows only, where there are so many, and by models fed with both. At a share
# of 2 % each of the others counts as many rows: with 6,000 of them average precision spreads by .07 from seed to seed.
TEST_ROWS, TEST_OTHERS = 5_000, 40_000
FED_TEST_ROWS, FED_TEST_OTHERS = 2_000, 6_000
MOVED = 0.2
MAKERS = (
    "none",
    "random_under",
    "fresh",
    "copies",
    "smote_nc",
    "copula",
    "trees",
    "cold",
    "warm",
    "noisy",
    "private",
    "ctgan",
)
HEADS = ("cpu_s", "peak_mb", "c2st", "coverage", "dcr", "tstr", "tstr_2000", "logistic", "forest", "booster")


@dataclass(frozen=True)
class Labelled:
    """Rows of the class and of the others in random order, codes for levels, and the class's share."""

    rows: Floats
    others: Floats
    nominal: tuple[int, ...]
    rate: float


def synthetic(rows: int, seed: int) -> Labelled:
    """A mixed table: three kinds of rare rows, skew, counts, zeros with a tail, absent values, four nominal columns."""
    rng = np.random.default_rng(seed)

    def draw(n: int, rare: bool) -> Floats:
        kind = rng.integers(0, 3, n) if rare else np.full(n, 1)
        x0 = rng.normal(size=n) * (1.0 if rare else 1.6) + np.array([-1.5, 0.0, 2.0])[kind]
        x1 = np.exp(0.5 * x0 * rng.choice([1, 1, -1], n) + 0.4 * rng.normal(size=n))
        x2 = np.round(rng.gamma(1 + kind, 20, n), 2)
        x3 = rng.poisson(np.exp(0.3 * x0.clip(-3, 3)) + 0.3)
        x4 = np.where(rng.random(n) < 0.5, 0, np.round(x2 * rng.uniform(0.1, 0.9, n), 2))
        x5 = x0**2 + 0.5 * rng.normal(size=n) + (0.0 if rare else rng.normal(size=n))
        x6 = rng.normal(size=n) * np.exp(0.2 * x5.clip(0, 4)) + (0.7 if rare else 0.0)
        x7 = np.where(rng.random(n) < 0.2, np.nan, rng.beta(2, 5, n) + 0.1 * kind)
        c0 = (kind + rng.choice(3, n, p=[0.7, 0.2, 0.1])) % 3
        up, down = [0.4, 0.3, 0.1, 0.1, 0.05, 0.05], [0.05, 0.05, 0.1, 0.1, 0.3, 0.4]
        c1 = np.where(x0 > 0, rng.choice(6, n, p=up), rng.choice(6, n, p=down))
        c2 = rng.random(n) < 1 / (1 + np.exp(1 - x5))
        c3 = np.where(rng.random(n) < 0.1, np.nan, rng.choice(12, n, p=np.arange(12, 0, -1) / 78))
        return np.column_stack([x0, x1, x2, x3, x4, x5, x6, x7, c0, c1, c2, c3]).astype(np.float64)

    return Labelled(draw(rows, True), draw(OTHERS + TEST_OTHERS, False), (8, 9, 10, 11), 0.02)


def from_csv(path: Path, label: str, positive: str, delimiter: str, drop: tuple[str, ...], seed: int) -> Labelled:
    """A labelled table: a column is numeric where every value is."""
    with gzip.open(path, "rt") as file:
        table = list(csv.DictReader(file, delimiter=delimiter))
    is_rare = np.array([row[label] == positive for row in table])
    columns, nominal = [], []
    for name in (name for name in table[0] if name != label and name not in drop):
        texts = [row[name] for row in table]
        try:
            columns.append(np.array(texts, dtype=np.float64))
        except ValueError:
            nominal.append(len(columns))
            columns.append(np.unique(texts, return_inverse=True)[1].astype(np.float64))
    rows = np.column_stack(columns)
    order = np.random.default_rng(seed).permutation(len(rows))
    rows, is_rare = rows[order], is_rare[order]
    return Labelled(rows[is_rare], rows[~is_rare], tuple(nominal), float(is_rare.mean()))


def load(name: str, data: Path | None, window: int, seed: int) -> Labelled:
    """The table of that name."""
    if name == "synthetic":
        return synthetic(round(window * (1 + MOVED)) + TEST_ROWS + max(window, RecipeSettings().release_rows), seed)
    if data is None:
        raise SystemExit(f"table {name!r} is read from a folder: say --data DIR")
    if name == "shoppers":
        return from_csv(data / "online_shoppers_intention.csv.gz", "Revenue", "TRUE", ",", (), seed)
    return from_csv(data / "bank-additional-full.csv.gz", "y", "yes", ";", ("duration",), seed)


# -- makers, each in a process of its own


def make(
    maker: str, before: Floats, window: Floats, others: Floats, nominal: tuple[int, ...], seed: int
) -> tuple[Floats, float, float]:
    """Rows made from the window, CPU seconds, peak memory in MB."""
    settings = RecipeSettings()
    count = max(len(window), settings.release_rows)
    weights = NO_WEIGHTS
    if maker in {"cold", "warm", "private"}:
        import torch  # noqa: PLC0415  # its import is not the maker's cost

        torch.set_num_threads(1)
    if maker == "warm":
        weights = make_by_gan(Start.of(before, nominal, NO_WEIGHTS, settings), before, 1, seed, settings).weights
    started = time.process_time()
    rng = np.random.default_rng(seed)
    if maker == "copies":
        made = window[rng.integers(len(window), size=count)]
    elif maker == "smote_nc":
        made = smote(window, nominal, count, seed)
    elif maker == "copula":
        made = make_by_copula(Start.of(window, nominal, weights, settings), window, count, seed).rows
    elif maker == "trees":
        made = make_by_trees(Start.of(window, nominal, weights, settings), window, count, seed).rows
    elif maker in {"noisy", "private"}:
        made = privately(maker, window, others, nominal, count, seed)
    elif maker == "ctgan":
        made = ctgan(window, nominal, count, seed)
    else:
        made = make_by_gan(Start.of(window, nominal, weights, settings), window, count, seed, settings).rows
    return made, time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def privately(maker: str, window: Floats, others: Floats, nominal: tuple[int, ...], count: int, seed: int) -> Floats:
    """Rows of a first private training, or what it knows before any step: noisy marginals, independent columns."""
    recipe = RecipeSettings(privacy=PrivacySettings(on=True))
    none = np.zeros(len(window), dtype=bool)
    wanted = TrainingSet(1, window, none, others, none[:0], nominal, 0.0, "", seed, recipe)
    start = start_privately(wanted, window)
    assert start is not None, "the budget bears a first training"
    if maker == "private":
        print(f"epsilon {start.epsilon:.2f}, {start.steps} steps", end="; ", flush=True)
        return make_privately(start, window, count, seed, recipe.privacy).rows
    table, rng = start.start.table, np.random.default_rng(seed)
    return table.decode(*independent(table, count, rng), rng)


def smote(window: Floats, nominal: tuple[int, ...], count: int, seed: int) -> Floats:
    """Rows of imbalanced-learn's SMOTE-NC; absent values are filled with the column's median before."""
    median = np.nanmedian(window, axis=0)
    filled = np.where(np.isnan(window), median, window)
    padding = np.tile(median, (len(window) + count, 1))
    padding += np.random.default_rng(seed).normal(size=padding.shape) * 1e-3  # the class that is not raised
    padding[:, nominal] = median[list(nominal)]
    rows, labels = np.vstack([filled, padding]), np.repeat([1, 0], [len(window), len(padding)])
    kind = SMOTENC(list(nominal), random_state=seed) if nominal else SMOTE(random_state=seed)
    found: Floats = kind.fit_resample(rows, labels)[0][len(rows) :]
    return found


def ctgan(window: Floats, nominal: tuple[int, ...], count: int, seed: int) -> Floats:
    """Rows of CTGAN with its own defaults, where somebody has installed it."""
    import pandas  # noqa: PLC0415  # comes with it
    import torch  # noqa: PLC0415
    from ctgan import CTGAN  # noqa: PLC0415  # not a dependency

    torch.manual_seed(seed)
    np.random.seed(seed)  # it draws from there
    frame = pandas.DataFrame(np.where(np.isnan(window), -1, window), columns=[str(c) for c in range(window.shape[1])])
    model = CTGAN(epochs=300)
    model.fit(frame, [str(column) for column in nominal])
    return np.asarray(model.sample(count), dtype=np.float64)


def is_there(maker: str) -> bool:
    """Whether what a maker needs is installed."""
    return has_opacus() if maker in {"noisy", "private"} else maker != "ctgan" or find_spec("ctgan") is not None


def in_a_process(work: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


# -- models


def river_learner(make_model: Callable[[int], object], nominal: tuple[int, ...]) -> Learner:
    """A River classifier, row by row."""

    def learn(rows: Floats, labels: Ints, seed: int, test: Floats) -> Floats:
        model = make_model(seed)
        for row, label in zip(as_dicts(rows, nominal), labels.tolist(), strict=True):
            model.learn_one(row, label)
        return np.array([model.predict_proba_one(row).get(1, 0.0) for row in as_dicts(test, nominal)])

    return learn


def as_dicts(rows: Floats, nominal: tuple[int, ...]) -> list[dict[str, float]]:
    """Present values by name, a nominal one as an indicator of its level."""
    return [
        {
            (f"{column}={value:g}" if column in nominal else f"{column}"): (1.0 if column in nominal else value)
            for column, value in enumerate(row)
            if value == value  # noqa: PLR0124  # not NaN
        }
        for row in rows.tolist()
    ]


def logistic(seed: int) -> object:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))


def arf(seed: int) -> object:
    return forest.ARFClassifier(seed=seed)


def precision(
    learner: Learner, rows: Floats, others: Floats, test: tuple[Floats, Floats], rate: float, seed: int
) -> float:
    """Average precision on the test rows, weighted to the table's rate."""
    every, labels = np.vstack([rows, others]), np.repeat([1, 0], [len(rows), len(others)])
    order = np.random.default_rng(seed).permutation(len(every))
    scores = learner(every[order], labels[order], seed, np.vstack(test))
    counts = [len(part) for part in test]
    weights = np.repeat([rate / counts[0], (1 - rate) / counts[1]], counts)
    return float(weighted_precision(np.repeat([1, 0], counts), scores, weights[None])[0])


def judge(maker: str, table: Labelled, window_rows: int, seed: int, models: list[str]) -> dict[str, float]:
    """All figures of one maker on one window."""
    moved = round(window_rows * MOVED)
    before, window = table.rows[:window_rows], table.rows[moved : moved + window_rows]
    held = moved + window_rows
    test = (table.rows[held : held + TEST_ROWS], table.others[OTHERS : OTHERS + TEST_OTHERS])
    fed_test = (test[0][:FED_TEST_ROWS], test[1][:FED_TEST_OTHERS])
    others, found = table.others[:OTHERS], dict.fromkeys(HEADS, float("nan"))
    made = window[:0]
    if maker not in {"none", "random_under"}:
        if maker == "fresh":
            release = table.rows[held + TEST_ROWS :]
            if len(release) < window_rows:
                return found  # the UCI tables have no more
        else:
            release, found["cpu_s"], found["peak_mb"] = in_a_process(
                make, maker, before, window, others, table.nominal, seed
            )
        made = release[: len(window)]
        layout = layout_of(window, table.nominal, levels_max=20, level_rows_min=5)
        near = [encoded(rows, Table(window, layout)) for rows in (made[:2_000], window[:2_000], fed_test[0])]
        found["c2st"] = c2st(made, fed_test[0], seed)
        found["coverage"] = coverage(near[0][: len(near[2])], near[2])
        found["dcr"] = dcr_share(*near)
        real = precision(booster, window, others, test, table.rate, seed)
        found["tstr"] = precision(booster, made, others, test, table.rate, seed) / real
        found["tstr_2000"] = precision(booster, release, others, test, table.rate, seed) / real
        amount = round(SHARE / (1 - SHARE) * (len(window) + len(others)))
        made = made[np.arange(amount) % len(made)]
    if maker == "random_under":
        others = others[: len(window)]
    learners: dict[str, Learner] = {
        "logistic": river_learner(logistic, table.nominal), "forest": river_learner(arf, table.nominal),
        "booster": booster,
    }  # fmt: skip
    for name in models:
        found[name] = precision(learners[name], np.vstack([window, made]), others, fed_test, table.rate, seed)
    return found


def main() -> None:
    """Tables by windows by makers, means and standard deviations over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["synthetic"], choices=["synthetic", "shoppers", "bank"])
    parser.add_argument("--data", type=Path, help="folder of the two UCI tables")
    parser.add_argument("--windows", nargs="+", type=int, default=[200, 1_000, 5_000])
    parser.add_argument("--makers", nargs="+", default=[m for m in MAKERS if is_there(m)])
    parser.add_argument("--models", nargs="*", default=["logistic", "forest", "booster"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.tables:
        for window in options.windows:
            tables = [load(name, options.data, window, seed) for seed in range(options.seeds)]
            if len(tables[0].rows) < window * (1 + MOVED) + 200:
                print(f"{name}: {len(tables[0].rows)} rows of the class are too few for a window of {window}")
                continue
            print(f"\n{name}, window {window}, rate {tables[0].rate:.3f}, {options.seeds} seeds: mean (deviation)")
            print(f"{'':13}" + "".join(f"{head:>14}" for head in HEADS))
            for maker in options.makers:
                cells = [judge(maker, table, window, seed, options.models) for seed, table in enumerate(tables)]
                print(f"{maker:13}" + "".join(f"{cell([c[head] for c in cells]):>14}" for head in HEADS), flush=True)


def cell(values: list[float]) -> str:
    """Mean and deviation, or nothing."""
    mean, deviation = float(np.mean(values)), float(np.std(values))
    if np.isnan(mean):
        return ""
    return f"{mean:.0f}" if mean > 20 else f"{mean:.3f} ({deviation:.3f})"


if __name__ == "__main__":
    main()

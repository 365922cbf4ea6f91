"""Guarded SMOTE: do a safe-level or a k-means variant earn a place among the strategies?

Windows of a stream are over-sampled to equal classes, models are fitted to them, and asked about the rows that come
next; average precision there, against the same model after plain SMOTE. Safe-Level-SMOTE (Bunkhumpornpat,
Sinapiromsaran, Lursinsap, PAKDD 2009) is written out here, the others are imbalanced-learn's. The streams are those of
`benchmarks.streams` before their drift; `--tables` takes more: gzipped CSV, label, positive value.

    OMP_NUM_THREADS=1 python -m benchmarks.guarded_smote [--rows 2000] [--seeds 0 1 2] [--tables FILE:LABEL:YES ...]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE, BorderlineSMOTE, KMeansSMOTE
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.streams import SIX, make_stream
from stream_balance.core.records import Floats

Labels = npt.NDArray[np.intp]
Sampler = Callable[[Floats, Labels, int], tuple[Floats, Labels]]
NEIGHBOURS = 5


def resampled(sampler: Any, rows: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Rows and labels after a sampler of imbalanced-learn."""
    more, known = sampler.fit_resample(rows, labels)[:2]
    return more, known


def plain(rows: Floats, labels: Labels, seed: int) -> tuple[Floats, Labels]:
    """SMOTE."""
    return resampled(SMOTE(random_state=seed), rows, labels)


def safe_level(rows: Floats, labels: Labels, seed: int) -> tuple[Floats, Labels]:
    """Safe-Level-SMOTE: a new row lies nearer to whichever of the two has more of its own class around it."""
    rng = np.random.default_rng(seed)
    mine = rows[labels > 0]
    around = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(rows).kneighbors(mine, return_distance=False)[:, 1:]
    level = (labels[around] > 0).sum(axis=1)
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(mine).kneighbors(mine, return_distance=False)[:, 1:]
    wanted = int((labels == 0).sum() - len(mine))
    made: list[Floats] = []
    if not level.any():
        return plain(rows, labels, seed)
    while len(made) < wanted:
        i = int(rng.integers(len(mine)))
        j = int(rng.choice(near[i]))
        if level[i] == level[j] == 0:
            continue  # both are noise
        if level[j] == 0:
            gap = 0.0
        elif level[i] == 0:
            gap = 1.0
        elif level[i] >= level[j]:
            gap = rng.uniform(0.0, level[j] / level[i])
        else:
            gap = rng.uniform(1.0 - level[i] / level[j], 1.0)
        made.append(mine[i] + gap * (mine[j] - mine[i]))
    return np.concatenate([rows, made]), np.concatenate([labels, np.ones(len(made), dtype=labels.dtype)])


def k_means(rows: Floats, labels: Labels, seed: int) -> tuple[Floats, Labels]:
    """K-means SMOTE; plain SMOTE where no cluster is rare enough."""
    clusters = MiniBatchKMeans(n_clusters=20, n_init=3, random_state=seed)
    sampler = KMeansSMOTE(
        random_state=seed, kmeans_estimator=clusters, k_neighbors=2, cluster_balance_threshold=2 * float(labels.mean())
    )
    try:
        return resampled(sampler, rows, labels)
    except (RuntimeError, ValueError):
        return plain(rows, labels, seed)


SAMPLERS: dict[str, Sampler] = {
    "none": lambda rows, labels, _: (rows, labels),
    "smote": plain,
    "borderline": lambda rows, labels, seed: resampled(BorderlineSMOTE(random_state=seed), rows, labels),
    "safe_level": safe_level,
    "k_means": k_means,
}
MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=500),
    "booster": lambda: HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=0),
}


def windows(rows: Floats, labels: Labels, size: int) -> Iterator[tuple[Floats, Labels, Floats, Labels]]:
    """Pieces of `size` rows to learn from and twice as many after them to be asked about, standardised by the first."""
    for start in range(0, len(rows) - 3 * size + 1, 3 * size):
        part, asked = slice(start, start + size), slice(start + size, start + 3 * size)
        if min(labels[part].sum(), labels[asked].sum()) > NEIGHBOURS + 1:
            mean, spread = rows[part].mean(axis=0), rows[part].std(axis=0) + 1e-9
            yield (rows[part] - mean) / spread, labels[part], (rows[asked] - mean) / spread, labels[asked]


def tables(names: list[str], rows: int, seeds: list[int]) -> Iterator[tuple[str, Floats, Labels]]:
    """Streams before their drift; CSV files, their words as numbers in the order of first use."""
    for which in SIX:
        for seed in seeds:
            stream = make_stream(which, 2 * rows, seed)
            yield which, stream.values[:rows], stream.labels[:rows]
    for name in names:
        path, label, yes = name.split(":")
        with gzip.open(path, "rt") as file:
            head = file.readline()
            file.seek(0)
            lines = list(csv.DictReader(file, delimiter=";" if ";" in head else ","))
        said = np.array([line[label] == yes for line in lines]).astype(np.intp)
        kept = [column for column in lines[0] if column not in (label, "duration")]
        coded = [as_numbers([line[column] for line in lines]) for column in kept]
        yield path.rsplit("/", 1)[-1], np.column_stack(coded), said


def as_numbers(words: list[str]) -> Floats:
    """The numbers they are, or else a number for each word, in the order of first use."""
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        places = {word: float(place) for place, word in enumerate(dict.fromkeys(words))}
        return np.array([places[word] for word in words])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000, help="of a window")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of clusters without neighbours
    gains: dict[tuple[str, str], list[float]] = {}
    print(f"{'':36}" + "".join(f"{name:>12}" for name in SAMPLERS))
    found: dict[tuple[str, str], list[list[float]]] = {}
    for which, rows, labels in tables(options.tables, 12 * options.rows, options.seeds):
        for number, (learned, known, asked, truth) in enumerate(windows(rows, labels, options.rows)):
            for model, make in MODELS.items():
                line = []
                for sample in SAMPLERS.values():
                    fitted = make().fit(*sample(learned, known, number))
                    line.append(float(average_precision_score(truth, fitted.predict_proba(asked)[:, 1])))
                found.setdefault((which, model), []).append(line)
    for (which, model), lines in found.items():
        print(f"{which:26}{model:10}" + "".join(f"{value:12.4f}" for value in np.mean(lines, axis=0)), flush=True)
        for place, name in enumerate(SAMPLERS):
            gains.setdefault((name, model), []).extend(line[place] - line[1] for line in lines)
    print("\nagainst smote, paired by window: mean, its standard error, windows better / worse by more than .01")
    for (name, model), each in gains.items():
        gain = np.array(each)
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(f"{name:26}{model:10}{gain.mean():+12.4f}{error:12.4f}{(gain > 0.01).sum():8}{(gain < -0.01).sum():8}")


if __name__ == "__main__":
    main()

"""How often a champion is unseated by an arm that is no better (`mixture.serve = "champion"`), how soon by one that is.

Arms say the true log odds and an error of their own, equally large for each, so that every switch is false. Errors
may stay for a while (a first-order autoregression), as those of models do that learn the same stream in their own ways:
then neighbouring rows say the same thing twice. `better`: the last arm's error is smaller.

    python -m benchmarks.champion [--rows 60000] [--seeds 200]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from stream_balance.core.mixture import Mixture, MixtureSettings

ERROR, BLOCK = 0.6, 500


def errors(rng: np.random.Generator, arms: int, rows: int, stays: float) -> np.ndarray:
    """(arms, rows), each of variance 1; `stays` is the correlation of neighbouring rows."""
    if stays == 0.0:
        return rng.normal(size=(arms, rows))
    fresh = rng.normal(size=(arms, rows)) * math.sqrt(1.0 - stays**2)
    fresh[:, 0] = rng.normal(size=arms)
    found = np.empty((arms, rows))
    state = np.zeros(arms)
    for i in range(rows):
        state = found[:, i] = stays * state + fresh[:, i]
    return found


def run(seed: int, arms: int, rows: int, stays: float, better: float) -> tuple[int, int | None]:
    """Switches, and the row at which the last arm became champion."""
    rng = np.random.default_rng([seed, arms])
    truth = rng.normal(-3.5, 1.2, rows)
    labels = rng.random(rows) < 1.0 / (1.0 + np.exp(-truth))
    size = np.full((arms, 1), ERROR)
    size[-1] -= better
    said = truth + errors(rng, arms, rows, stays) * size
    losses = np.logaddexp(0.0, np.where(labels, -said, said))
    mixture, at = Mixture(MixtureSettings(serve="champion"), arms), None
    for start in range(0, rows, BLOCK):
        mixture.learn(losses[:, start : start + BLOCK], bytes(BLOCK))
        if at is None and mixture.champion == arms - 1:
            at = start + BLOCK
    return mixture.switches, at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    print(f"{options.seeds} streams of {options.rows} rows, 3 % positives, a look at every 1,000")
    for arms, stays in ((2, 0.0), (4, 0.0), (2, 0.99), (2, 0.999)):
        runs = [run(seed, arms, options.rows, stays, 0.0)[0] for seed in range(options.seeds)]
        print(
            f"{arms} equal arms, correlation {stays}: {np.mean([n > 0 for n in runs]):.1%} saw a false switch",
            flush=True,
        )
    for better in (0.1, 0.3, 0.5):
        found = [run(seed, 2, options.rows, 0.0, better)[1] for seed in range(options.seeds // 4)]
        known = [at for at in found if at is not None]
        when = f"after {np.median(known):,.0f} rows in the median" if known else ""
        print(
            f"error {ERROR} against {ERROR - better:.1f}: the better one won in {len(known) / len(found):.0%} {when}",
            flush=True,
        )


if __name__ == "__main__":
    main()

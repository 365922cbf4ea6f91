"""Runs simulated seeds by the thousand; a seed that fails is named, and fails again alone.

python -m tests.simulation.run --seeds 5000          # on as many processes as there are cores
python -m tests.simulation.run --first 1234 --seeds 1
python -m tests.simulation.run --seeds 500 --whole   # with child processes and a recording
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from multiprocessing import get_context

from tests.simulation.lives import check_seed


def outcome(asked: tuple[int, bool]) -> tuple[int, int, int, str]:
    """(seed, lives, unforced decisions, what went wrong)."""
    seed, whole = asked
    try:
        ended = check_seed(seed, whole=whole)
    except BaseException:
        return seed, 0, 0, traceback.format_exc()
    return seed, ended.lives, ended.unforced, ""


def main() -> None:
    """Run them; exit 1 at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--whole", action="store_true", help="with child processes and a recording")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    began, lives, unforced, done = time.monotonic(), 0, 0, 0
    # New ones after six chunks: the allocator does not give back what thousands of pipelines leave in pieces. Not
    # concurrent.futures, whose pool stands still for good once its processes are to be replaced (Python 3.11).
    with get_context("spawn").Pool(asked.processes, maxtasksperchild=6) as pool:
        seeds = [(seed, asked.whole) for seed in range(asked.first, asked.first + asked.seeds)]
        for seed, its_lives, its_unforced, error in pool.imap(outcome, seeds, chunksize=4):
            if error:
                again = f"python -m tests.simulation.run --first {seed} --seeds 1{' --whole' * asked.whole}"
                print(f"seed {seed} failed; again with: {again}")
                print(error)
                pool.terminate()
                sys.exit(1)
            done, lives, unforced = done + 1, lives + its_lives, unforced + its_unforced
            if done % 100 == 0:
                print(f"{done} seeds, {lives} lives, {unforced} unforced decisions, {time.monotonic() - began:.0f} s")
    print(f"{done} seeds from {asked.first} passed: {lives} lives, {unforced} unforced decisions")


if __name__ == "__main__":
    main()

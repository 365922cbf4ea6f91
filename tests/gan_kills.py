"""A replay whose children that train with torch are killed, each at a random moment; beside one in peace.

    python -m tests.gan_kills [--times 30] [--events 1600] [--seed 3]

Says what was killed and whether report and digest are those of the replay in peace; ends with 1 where they are not, and
raises where a process, a thread or an open file is left.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from stream_balance.simulation.shop import generate
from tests.test_cli import stable
from tests.test_gan_service import QUICK, killing, nothing_left_behind
from tests.test_resume import replayed

# Each class has the GAN from its first rows on, and trainings are long enough to fall into.
TORCH = QUICK | {
    "gan": QUICK["gan"] | {"copula_rows_min": 20, "gan_rows_min": 20, "steps_cold": 400, "steps_warm": 200}
}


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--events", type=int, default=1_600)
    parser.add_argument("--seed", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        log.write_bytes(b"".join(line + b"\n" for line in generate(asked.events, seed=asked.seed)))
        whole = stable(replayed(log, None, None, **TORCH))
        workers = {"gan": {"retries_max": asked.times}}
        with nothing_left_behind(), killing(random.Random(asked.seed), asked.times, within_s=3.0) as killed:
            report = stable(replayed(log, None, None, **TORCH, workers=workers))
    report["settings"]["workers"] = whole["settings"]["workers"]
    gan = report["gan"]
    makers = [each["vettings"][-1]["maker"] for each in gan["history"]]
    print(f"{len(killed)} children killed; {gan['requests']} requests, {gan['releases']} releases by {makers}")
    print(f"report and digest equal: {report == whole}; no process, thread or open file left")
    raise SystemExit(report != whole)


if __name__ == "__main__":
    main()

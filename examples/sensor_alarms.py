"""A table of machine readings with a rare alarm, for `replay --rows`; from half way on another sensor counts.

python examples/sensor_alarms.py --rows 30000 -o alarms.csv
stream-balance replay alarms.csv --rows --label alarm --positive yes --drop reading --label-delay-rows 200
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path
from typing import Any

from log_writing import chance


def main() -> None:
    """Write the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-o", "--output", default="alarms.csv")
    chosen: Any = parser.parse_args()
    rng = random.Random(chosen.seed)
    with Path(chosen.output).open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["reading", "machine", "vibration", "temperature", "pressure", "rpm", "alarm"])
        for number in range(chosen.rows):
            machine = rng.choice("abcdef")
            vibration, temperature = rng.lognormvariate(0, 0.5), rng.gauss(60, 8)
            pressure, rpm = rng.gauss(3.0, 0.4), rng.gauss(1450, 60)
            leading = vibration - 1.0 if number < chosen.rows / 2 else (pressure - 3.0) * 1.5
            logit = -5.8 + 1.8 * leading + 0.09 * (temperature - 60) + 1.2 * (machine == "c")
            values = (f"{value:.3f}" for value in (vibration, temperature, pressure, rpm))
            table.writerow([number, machine, *values, "yes" if rng.random() < chance(logit) else "no"])


if __name__ == "__main__":
    main()

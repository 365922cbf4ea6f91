"""Admissions to a hospital and diagnoses within two days: three rare classes beside "none of them".

python examples/admissions.py --records 30000 -o admissions.jsonl.gz
stream-balance replay admissions.jsonl.gz -c examples/admissions.toml --mature-all
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from log_writing import DAY_S, Record, at, chance, write

PER_DAY = 400.0
WARDS = ("emergency", "surgery", "medicine", "neurology")


def admissions(count: int, rng: random.Random) -> Iterator[tuple[float, Record, list[tuple[float, Record]]]]:
    """(seconds, admission, its diagnosis if it is one of the three)."""
    now_s = 0.0
    for number in range(count):
        now_s += rng.expovariate(PER_DAY / DAY_S)
        ward, age = rng.choice(WARDS), min(99, max(18, round(rng.gauss(61, 18))))
        vitals = {
            "heart_rate": round(rng.gauss(85, 16)), "systolic": round(rng.gauss(128, 20)),
            "temperature": round(rng.gauss(37.1, 0.7), 1), "oxygen": round(min(100.0, rng.gauss(96, 2.5)), 1),
        }  # fmt: skip
        labs = {"lactate": round(rng.lognormvariate(0.2, 0.5), 2), "dimer": round(rng.lognormvariate(-0.5, 0.8), 2)}
        if rng.random() < 0.3:
            del labs["dimer"]  # not measured
        odds = {
            "sepsis": -5.6 + 1.5 * (vitals["temperature"] - 37.0) + 0.9 * (labs["lactate"] - 1.2) + 0.02 * (age - 60),
            "stroke": -6.2 + 2.2 * (ward == "neurology") + 0.03 * (vitals["systolic"] - 128) + 0.03 * (age - 60),
            "embolism": -6.6 + 1.1 * labs.get("dimer", 0.6) + 0.35 * (96 - vitals["oxygen"]),
        }
        follow: list[tuple[float, Record]] = []
        for diagnosis, logit in odds.items():
            if rng.random() < chance(logit):
                later_s = now_s + DAY_S * rng.uniform(0.1, 1.9)
                follow.append((later_s, {
                    "diagnosis_id": 10 * number, "recorded_at": at(later_s), "admission_id": number,
                    "patient_id": number % 9000, "diagnosis": diagnosis,
                }))  # fmt: skip
                break
        yield now_s, {
            "admission_id": number, "admitted_at": at(now_s), "ward": ward,
            "patient": {"id": number % 9000, "age": age, "sex": rng.choice("fm")}, "vitals": vitals, "labs": labs,
        }, follow  # fmt: skip


if __name__ == "__main__":
    write(__doc__, admissions)

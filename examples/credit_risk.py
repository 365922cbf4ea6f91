"""Loan applications, and defaults within half a year; from half way on rates are higher and more people fail.

python examples/credit_risk.py --records 30000 -o credit.jsonl.gz
stream-balance replay credit.jsonl.gz -c examples/credit_risk.toml --mature-all
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import log

from log_writing import DAY_S, Record, at, chance, write

PER_DAY = 60.0


def applications(count: int, rng: random.Random) -> Iterator[tuple[float, Record, list[tuple[float, Record]]]]:
    """(seconds, application, its default if there will be one)."""
    now_s = 0.0
    for number in range(count):
        now_s += rng.expovariate(PER_DAY / DAY_S)
        income, amount = round(rng.lognormvariate(10.4, 0.5)), round(rng.lognormvariate(8.9, 0.7))
        product = rng.choice(("personal", "personal", "car", "card"))
        bureau = {"score": round(rng.gauss(620, 80)), "inquiries": int(rng.expovariate(0.7))}
        applicant = {
            "id": number % 20_000, "income": income, "employed_years": round(rng.expovariate(0.15), 1),
            "home": rng.choice(("rent", "own", "mortgage")),
        }  # fmt: skip
        truth = chance(
            -4.6 + (0.8 if number > count / 2 else 0.0) + 0.9 * log(4.0 * amount / income)
            - 0.011 * (bureau["score"] - 620) + 0.35 * bureau["inquiries"] + 0.5 * (product == "card")
        )  # fmt: skip
        follow: list[tuple[float, Record]] = []
        if rng.random() < truth:
            later_s = now_s + DAY_S * rng.uniform(30.0, 179.0)
            follow.append((later_s, {
                "default_id": f"d-{number}", "defaulted_at": at(later_s), "application_id": f"a-{number}",
                "applicant_id": applicant["id"], "product": product,
            }))  # fmt: skip
        yield now_s, {
            "application_id": f"a-{number}", "submitted_at": at(now_s), "applicant": applicant, "bureau": bureau,
            "loan": {"product": product, "purpose": product, "amount": amount, "term_months": rng.choice((24, 48, 60))},
            "truth": truth,
        }, follow  # fmt: skip


if __name__ == "__main__":
    write(__doc__, applications)

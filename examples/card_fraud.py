"""Card transactions, and chargebacks that come days to weeks later; from half way on the fraud moves to other shops.

    python examples/card_fraud.py --records 30000 -o fraud.jsonl.gz
    stream-balance replay fraud.jsonl.gz -c examples/card_fraud.toml --mature-all

A record carries the true probability (`truth`), so that the report can say how far the model is from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from log_writing import DAY_S, Record, at, chance, write

PER_DAY = 200.0
CATEGORIES = ("grocery", "fuel", "travel", "electronics", "gift_cards", "restaurant")
COUNTRIES = ("DE", "FR", "GB", "US")


def transactions(count: int, rng: random.Random) -> Iterator[tuple[float, Record, list[tuple[float, Record]]]]:
    """(seconds, transaction, its chargeback if there will be one)."""
    merchants = [
        {"id": f"m-{i}", "category": rng.choice(CATEGORIES), "country": rng.choice(COUNTRIES)} for i in range(300)
    ]
    cards = [
        {"id": f"c-{i}", "country": rng.choice(COUNTRIES), "age_days": rng.randrange(1, 3000)} for i in range(2000)
    ]
    now_s = 0.0
    for number in range(count):
        now_s += rng.expovariate(PER_DAY / DAY_S)
        card, merchant = rng.choice(cards), merchants[min(299, int(rng.expovariate(1 / 60)))]
        amount = round(rng.lognormvariate(3.4, 1.0), 2)
        channel = rng.choice(("chip", "chip", "online", "contactless"))
        checks = {"cvv": rng.random() < 0.95, "address": rng.random() < 0.9, "last_hour": int(rng.expovariate(1.2))}
        risky = ("electronics", "travel") if number < count / 2 else ("gift_cards", "grocery")
        truth = chance(
            -7.6 + 0.012 * min(amount, 200.0) + 1.6 * (channel == "online") + 1.8 * (merchant["category"] in risky)
            + 1.3 * (card["country"] != merchant["country"]) - 0.8 * checks["cvv"] + 0.7 * checks["last_hour"]
        )  # fmt: skip
        transaction = {
            "transaction_id": f"t-{number}", "time": at(now_s), "card": card, "merchant": merchant, "amount": amount,
            "channel": channel, "checks": checks, "truth": truth,
        }  # fmt: skip
        follow: list[tuple[float, Record]] = []
        if rng.random() < truth:
            later_s = now_s + DAY_S * (5.0 + rng.betavariate(2.0, 2.0) * 30.0)
            follow.append((later_s, {
                "chargeback_id": f"b-{number}", "time": at(later_s), "transaction_id": f"t-{number}",
                "card_id": card["id"], "merchant_id": merchant["id"], "amount": amount,
            }))  # fmt: skip
        yield now_s, transaction, follow


if __name__ == "__main__":
    write(__doc__, transactions)

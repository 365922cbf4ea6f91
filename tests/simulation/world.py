"""World: what a simulated seed gives the service to read, and under which settings. In: chance. Out: settings, logs."""

from __future__ import annotations

import random

from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.merge import LaneKey
from stream_balance.settings import Settings
from stream_balance.testing import make_purchase, make_search
from tests.simulation.broker import Kept
from tests.simulation.fate import TICK_S

SEARCHES, PURCHASES = "search-events", "purchase-events"
START_MS = 1_772_352_000_000
WINDOW_S = 60.0
Place = tuple[str, int, int]
Logs = dict[LaneKey, list[Kept]]


# Fits in children every few dozen rows and events; their rows are taken.
CHILDREN = {
    "arms": {"pairs": ("logistic:gan", "window_booster:none"), "references": False},
    "features": {"warm_s": 0.0},
    "gan": {
        "swap_after_events": 30, "retrain_events": 40, "check_events": 10, "copula_rows_min": 3, "release_rows": 20,
    },
}  # fmt: skip


def settings_of(rng: random.Random, *, whole: bool = False, signed: bool = False) -> Settings:
    """Small bounds, so that what is rare comes often; waits of one tick, so that their jitter cannot be seen. With
    `whole` there are children.
    """
    backoff = {"backoff_min_s": TICK_S, "backoff_max_s": TICK_S, "probe_every_s": 1.0}
    return Settings.model_validate(
        {
            "join": {"window_s": WINDOW_S}, "balance": {"strategy": "smote_under"},
            "order": {"disorder_max_s": rng.choice((0.0, 0.0, 5.0))},
            "kafka": {
                "buffer_records_max": rng.choice((6, 40, 5_000)), "poll_records_max": rng.choice((2, 500)),
                "outage_max_s": 20.0, **backoff,
            },
            "checkpoint": {
                "interval_s": rng.choice((0.25, 2.0, 10.0)),
                "interval_events": rng.choice((5, 40, 1_000)),
                "keep": rng.choice((1, 3)),
                "failing_max_s": 10.0,
                # A signature doubles an entry, so as many entries as without.
                "journal_bytes_max": rng.choice((8_000 if signed else 4_000, 64_000_000)),
            },
            "bad": {"share_max": 1.0},
            **(CHILDREN | {"workers": {"early": rng.random() < 0.5}} if whole else {}),
        }
    )  # fmt: skip


def logs_of(rng: random.Random, searches: int, *, growing: bool, items_max: int = 4) -> Logs:
    """Searches of so many items and their purchases over two partitions each: a little out of order, some twice, some
    not readable, some equal in time; there from the start, or as time passes.
    """
    codec = Codec(WireSettings())
    events: list[tuple[int, LaneKey, bytes]] = []
    for index in range(searches):
        at_s = index * 2.0 + rng.choice((0.0, 0.0, rng.random()))
        user = rng.randrange(12)
        items = rng.sample(range(30), rng.randint(1, items_max))
        search = make_search(
            f"s{index}", ts=START_MS / 1000 + at_s, user_id=f"u{user}", items=[f"i{item}" for item in items],
            prices=[float(item) for item in items], item_features=[{"x": rng.gauss(item % 3, 1)} for item in items],
        )  # fmt: skip
        events.append((round(at_s * 1000), (SEARCHES, user % 2), codec.encode_search(search)))
        for item in items:
            if rng.random() < (0.4 if item % 3 == 2 else 0.1):
                bought_s = at_s + rng.uniform(0.0, WINDOW_S)
                purchase = make_purchase(
                    f"p{index}-{item}", ts=START_MS / 1000 + bought_s, user_id=f"u{user}", item_id=f"i{item}",
                    search_id=rng.choice((None, f"s{index}")), price=1.0,
                )  # fmt: skip
                events.append((round(bought_s * 1000), (PURCHASES, user % 2), codec.encode_purchase(purchase)))
    for _ in range(searches // 10):
        at_ms, lane, data = rng.choice(events)
        events.append((at_ms + rng.randrange(4_000), lane, rng.choice((data, data, b"{broken", b'{"schema": 9}'))))
    events.sort(key=lambda event: event[0] + rng.choice((0, 0, 0, rng.randrange(3_000))))
    logs: Logs = {(topic, partition): [] for topic in (SEARCHES, PURCHASES) for partition in (0, 1)}
    offsets = dict.fromkeys(logs, 0)
    for at_ms, lane, data in events:
        offset = offsets[lane] + rng.choice((0, 0, 0, 0, 2))
        offsets[lane] = offset + 1
        # Partitions show their records at their own pace: that is what makes merge decisions unforced.
        from_tick = round(at_ms / 1000 / TICK_S * 0.15) + rng.choice((0, 0, 0, rng.randrange(12))) if growing else 0
        if logs[lane]:
            from_tick = max(from_tick, logs[lane][-1].from_tick)
        logs[lane].append(Kept(*lane, offset, START_MS + at_ms, None, data, from_tick=from_tick))
    return logs


def is_bad(codec: Codec, record: Kept) -> bool:
    """Whether a record cannot be read."""
    try:
        event = codec.parse(record.value)
        codec.check_time(event, record.timestamp * 1000)
    except Exception:  # of the codec only BadRecord, which is what is asked
        return True
    return False

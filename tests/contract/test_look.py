"""A look says what would be said, and leaves no trace: the promise behind scoring on request."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_balance.core.features import FeatureSettings, Featurizer
from stream_balance.core.records import Search
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.logfile import read_events
from stream_balance.service import make_pipeline
from stream_balance.settings import Settings
from stream_balance.testing import make_purchase, make_search

DAY_S = 86_400.0


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({"join": {"window_s": 300}} | sections)


@pytest.mark.parametrize(
    ("name", "events"),
    [("logistic", 1500), ("river_logistic", 700), ("naive_bayes", 500), ("hoeffding_adaptive_tree", 700)],
)
def test_a_look_is_the_score_that_follows_and_changes_no_bit(shop_log: Path, name: str, events: int) -> None:
    chosen = settings(model={"name": name})
    looked, plain = make_pipeline(chosen), make_pipeline(chosen)
    compared = 0
    for record in islice(read_events([shop_log], Codec(WireSettings())), events):
        if record.event is None:
            continue
        told = None
        if isinstance(record.event, Search) and not looked.joiner.is_duplicate(record.event):
            # What falls due before the search is learned first.
            looked._mature(looked.joiner.mature(record.event.ts_us))
            before = len(looked.featurizer.columns)
            told = looked.look(record.event)
        scored = looked.push(record.event, record.data)
        plain.push(record.event, record.data)
        if told is not None and len(looked.featurizer.columns) == before:
            assert np.array_equal(told[0], scored[0].probability)
            assert np.array_equal(told[1], scored[0].threshold)
            compared += 1
    assert compared > events / 3
    looked.joiner.counts.duplicate_search = plain.joiner.counts.duplicate_search  # asked twice by this test
    assert looked.state_digest() == plain.state_digest()


@pytest.mark.parametrize("arms", [(), ("logistic:smote_under", "linear:none")], ids=["one arm", "two arms"])
def test_looks_in_the_middle_of_learning_leave_no_trace_and_their_version_tells_them_apart(
    shop_log: Path, arms: tuple[str, ...]
) -> None:
    chosen = settings(balance={"strategy": "smote_under"}, arms={"pairs": arms})
    looked, plain = make_pipeline(chosen), make_pipeline(chosen)
    search = make_search("asked", ts=0.0, items=["i1", "i2"])
    said: dict[int, bytes] = {}

    def between() -> None:
        probability, _ = looked.look(search)
        said[looked.panel.version] = probability.tobytes()

    records = [each for each in islice(read_events([shop_log], Codec(WireSettings())), 200) if each.event is not None]
    for record in records:
        looked.push(record.event, record.data, between)
        plain.push(record.event, record.data)
    assert looked.state_digest() == plain.state_digest()
    assert len(said) > looked.joiner.counts.matured / 30
    assert len(set(said.values())) > len(said) / 2  # they are answers of a model that is learning


@pytest.mark.parametrize(
    "chosen",
    [
        FeatureSettings(),
        FeatureSettings(warm_s=0),
        FeatureSettings(time_of_day=True),
        FeatureSettings(columns_max=16, hash_columns=4),
        FeatureSettings(levels_max=3, level_buckets=2),
        FeatureSettings(builtin=False, state=False),
        FeatureSettings(warm_s=0, items_max=300, users_max=60, half_life_s=60.0),
    ],
    ids=["default", "warm at once", "time of day", "few columns", "few levels", "bare", "little memory"],
)
def test_the_looked_at_matrix_is_the_featurized_one(shop_log: Path, chosen: FeatureSettings) -> None:
    featurizer, compared = Featurizer(chosen), 0
    for record in islice(read_events([shop_log], Codec(WireSettings())), 800):
        event = record.event
        if event is None:
            continue
        if not isinstance(event, Search):
            featurizer.observe_purchase(event)
            continue
        names = list(featurizer.columns.names)
        levels = [dict(known) for known in featurizer.columns.levels]
        seen = featurizer.look(event)
        assert (featurizer.columns.names, featurizer.columns.levels) == (names, levels)
        memory = featurizer.report()
        values = featurizer.featurize(event)
        # Alike unless the search itself brought a new name, or pushed something out of memory.
        after = featurizer.report()
        forgot = any(after[key] != memory[key] for key in ("items_forgotten", "users_forgotten"))
        if (featurizer.columns.names, featurizer.columns.levels) == (names, levels) and not forgot:
            np.testing.assert_array_equal(seen, values)
            compared += 1
    assert compared > 300


def test_a_look_from_far_ahead_is_what_that_day_would_see() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0))
    for day in range(3):
        featurizer.featurize(make_search(f"s{day}", ts=day * DAY_S, items=["i1", "i2"], prices=[1.0, 2.0]))
        featurizer.observe_purchase(make_purchase(f"p{day}", ts=day * DAY_S + 9, item_id="i1"))
    far = make_search("s9", ts=4000 * DAY_S, items=["i1", "i3"], prices=[1.0, None], categories=["new", None])
    assert np.isfinite(featurizer.look(far)[0, featurizer.columns.names.index("item_impressions")])
    seen = featurizer.look(far)
    values = featurizer.featurize(far)
    category = featurizer.columns.names.index("category")
    assert np.isnan(seen[0, category])  # a level that was not known yet
    seen[0, category] = values[0, category]
    np.testing.assert_allclose(seen, values, rtol=1e-9)


def test_a_look_before_anything_was_learned_says_the_rate() -> None:
    pipeline = make_pipeline(settings())
    before = pipeline.state_digest()
    probability, threshold = pipeline.look(make_search(items=["i1", "i2"]))
    assert probability.shape == (2, 1)
    assert np.isfinite(probability).all()
    assert threshold.shape == (2,)
    assert pipeline.state_digest() == before


def test_looks_in_the_middle_of_a_report_say_what_they_say_before_it_and_the_report_is_the_same(shop_log: Path) -> None:
    pipeline = make_pipeline(settings(arms={"pairs": ("logistic:smote_under", "linear:none")}))
    searches = []
    for record in islice(read_events([shop_log], Codec(WireSettings())), 500):
        if record.event is not None:
            pipeline.push(record.event, record.data)
            searches += [record.event] if isinstance(record.event, Search) else []
    plain = pipeline.report()
    expected = pipeline.look(searches[-1])
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        told = pipeline.look(searches[-1])
        assert all(np.array_equal(now, before) for now, before in zip(told, expected, strict=True))

    assert pipeline.report(between=look) == plain
    assert looks > 20, "asked too seldom for a request to be let in"

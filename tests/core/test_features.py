"""Features: what was known before the event and nothing else, as one exact matrix, in bounded memory."""

from __future__ import annotations

import math
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from stream_balance.core.digest import Digest
from stream_balance.core.features import FeatureSettings, Featurizer
from stream_balance.core.records import Search
from stream_balance.testing import make_purchase, make_search

PURCHASE_COLUMNS = ["item_purchases", "item_rate", "user_purchases"]


def digest(featurizer: Featurizer) -> str:
    made = Digest()
    made.add(featurizer.digest_state())
    return made.hex()


def table(**bounds: int) -> Featurizer:
    """Only the features that came with the event."""
    return Featurizer(FeatureSettings(builtin=False, state=False, **bounds))


def named(featurizer: Featurizer, search: Search) -> list[dict[str, float]]:
    """Rows by column name."""
    values = featurizer.featurize(search)
    assert values.shape == (len(search), len(featurizer.columns))
    return [dict(zip(featurizer.columns.names, row, strict=True)) for row in values.tolist()]


# -- the event's own columns


def test_the_event_gives_position_price_category_query_and_time_of_day() -> None:
    featurizer = Featurizer(FeatureSettings(state=False, time_of_day=True))
    rows = named(
        featurizer,
        make_search(ts=6 * 3600, items=["a", "b"], prices=[9.0, None], categories=["shoes", None], query="red shoes"),
    )
    assert rows[0] == pytest.approx(
        {"position": 1, "price": math.log(10), "category": 0, "query_words": 2, "hour_sin": 1, "hour_cos": 0}
    )
    assert math.isnan(rows[1]["price"])
    assert math.isnan(rows[1]["category"])
    assert featurizer.columns.nominal == [False, False, True, False, False, False]


def test_numbers_of_a_table_are_not_touched_and_nothing_is_added() -> None:
    featurizer, rng = table(), random.Random(4)
    for _ in range(50):
        row = {"x": rng.gauss(0, 1e9), "n": rng.randrange(10**6), "y": rng.random() * 1e-300}
        assert named(featurizer, make_search(item_features=[row])) == [row]
    assert featurizer.columns.names == ["x", "n", "y"]


def test_numbers_strings_and_lists_of_items_and_of_the_search_become_columns() -> None:
    featurizer = table()
    items = [{"rating": 4.5, "brand": "acme", "embedding": [0.1, 0.2]}, {"rating": 3, "brand": "bolt"}]
    [first, second] = named(
        featurizer, make_search(items="ab", item_features=items, features={"device": "ios", "v": [7]})
    )
    assert first == {"rating": 4.5, "brand": 0, "embedding.0": 0.1, "embedding.1": 0.2, "device": 0, "v.0": 7}
    assert (second["rating"], second["brand"], second["device"], second["v.0"]) == (3, 1, 0, 7)
    assert math.isnan(second["embedding.1"])
    assert featurizer.columns.level_names[1] == ["acme", "bolt"]


def test_names_are_prefixed_only_when_they_clash() -> None:
    featurizer = Featurizer(FeatureSettings(state=False))
    named(featurizer, make_search(item_features=[{"age": 1, "price": 2}], features={"age": 3, "device": "ios"}))
    assert featurizer.columns.names[4:] == ["age", "item.price", "search.age", "device"]


def test_a_feature_that_changes_its_kind_has_a_column_for_each() -> None:
    featurizer = table()
    for value in (1.0, "one", [2.0], 3.0):
        named(featurizer, make_search(item_features=[{"size": value}]))
    assert featurizer.columns.names == ["size", "size#text", "size.0"]
    assert featurizer.report()["kind_changes"] == 1


def test_rows_grow_with_the_table_and_what_is_absent_is_nan() -> None:
    featurizer = table()
    assert featurizer.featurize(make_search(item_features=[{"a": 1}])).shape == (1, 1)
    [row] = named(featurizer, make_search(item_features=[{"b": 2}]))
    assert math.isnan(row["a"])
    assert row["b"] == 2


# -- bounds


def test_beyond_the_bound_features_are_hashed_with_a_sign_and_counted() -> None:
    featurizer = table(columns_max=16, hash_columns=4)
    for i in range(100):
        values = featurizer.featurize(make_search(item_features=[{f"f{i}": 2.0, f"text{i}": "t"}]))
    assert len(featurizer.columns) == 20
    assert featurizer.columns.names[16:] == ["#hash-0", "#hash-1", "#hash-2", "#hash-3"]
    assert featurizer.report()["columns_overflow"] == 200 - 16
    assert np.nansum(np.abs(values[:, 16:])) in (1.0, 3.0)
    assert sum(not name.startswith("#hash-") for name in featurizer.columns.names) == 16


def test_hashed_features_of_a_search_add_up_in_every_row() -> None:
    featurizer = table(columns_max=16, hash_columns=1)
    known = {f"f{i}": 0.0 for i in range(16)}
    named(featurizer, make_search(item_features=[known]))
    rows = named(featurizer, make_search(items="ab", item_features=[{"x": 1.0}, {}], features={"y": 1.0}))
    assert abs(rows[0]["#hash-0"]) in (0.0, 2.0)
    assert abs(rows[1]["#hash-0"]) == 1.0


def test_levels_beyond_the_bound_share_buckets_and_are_counted() -> None:
    featurizer = table(levels_max=10, level_buckets=3)
    for i in range(100):
        named(featurizer, make_search(item_features=[{"brand": f"b{i}"}]))
    assert len(featurizer.columns.level_names[0]) <= 13
    assert featurizer.report()["levels_folded"] == 90


def test_the_memory_of_items_users_and_categories_is_bounded_and_counts_what_left() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0, items_max=20, users_max=20, categories_max=20))
    for i in range(500):
        named(
            featurizer, make_search(user_id=f"u{i}", items=[f"i{i}", "hot"], prices=[1, 1], categories=[f"c{i}", None])
        )
    history = featurizer._history
    assert max(len(room) for room in (history._items, history._users, history._categories)) <= 20
    report = featurizer.report()
    assert min(report[f"{name}_forgotten"] for name in ("items", "users", "categories")) >= 480
    assert named(featurizer, make_search(items=["hot"]))[0]["item_impressions"] == pytest.approx(
        math.log1p(500), rel=1e-9
    )


# -- the state, and what must not leak


def test_a_search_sees_what_was_before_it_and_not_itself() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0, half_life_s=1e12, prior_impressions=1))
    names = ("item_impressions", "user_searches", "item_purchases", "user_purchases")
    seen = []
    for ts in (0, 10, 20):
        [first, second] = named(featurizer, make_search(ts=ts, items=["a", "a"]))
        assert first["item_impressions"] == second["item_impressions"]
        seen.append([round(math.expm1(first[name]), 6) for name in names])
        featurizer.observe_purchase(make_purchase(ts=ts + 5, item_id="a"))
    assert seen == [[0, 0, 0, 0], [2, 1, 1, 1], [4, 2, 2, 2]]


def test_counts_fade_with_event_time() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0, half_life_s=100))
    named(featurizer, make_search(ts=0))
    [row] = named(featurizer, make_search(ts=200))
    assert math.expm1(row["item_impressions"]) == pytest.approx(0.25)


def test_time_may_run_on_for_centuries() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0, half_life_s=3600))
    for year in (0, 1, 300, 301, 2):
        [row] = named(featurizer, make_search(ts=year * 3.15e7, prices=[3.0], categories=["c"]))
        featurizer.observe_purchase(make_purchase(ts=year * 3.15e7))
        assert math.isfinite(row["item_impressions"])
    named(featurizer, make_search(ts=302 * 3.15e7))
    assert len(featurizer._history._items) == 1


def test_the_price_is_compared_with_its_category() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0))
    [first] = named(featurizer, make_search(prices=[9.0], categories=["c"]))
    assert math.isnan(first["price_to_category"])
    [dear, other] = named(featurizer, make_search(items="ab", prices=[99.0, None], categories=["c", "c"]))
    assert dear["price_to_category"] == pytest.approx(math.log(10))
    assert math.isnan(other["price_to_category"])


def test_counts_say_nothing_before_event_time_has_run_long_enough() -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=100))
    history = [*PURCHASE_COLUMNS, "item_impressions", "user_searches", "price_to_category"]
    seen = {}
    for ts in (10, 60, 109.999999, 110, 50, 200):
        [row] = named(featurizer, make_search(f"s{ts}", ts=ts, user_id="u1", prices=[2.0], categories=["c"]))
        seen[ts] = [not math.isnan(row[name]) for name in history]
    assert seen == {ts: [ts >= 110] * 6 for ts in seen}
    assert row["user_searches"] == pytest.approx(math.log1p(5), abs=1e-3)  # they were counted all along


@pytest.mark.parametrize(("ts", "withheld"), [(9.0, True), (10.0, True), (10.000001, False)])
def test_a_search_not_after_the_latest_purchase_is_told_nothing_of_purchases(ts: float, withheld: bool) -> None:
    featurizer = Featurizer(FeatureSettings(warm_s=0))
    named(featurizer, make_search(ts=1, user_id="u1"))
    featurizer.observe_purchase(make_purchase(ts=10, user_id="someone else", item_id="other"))
    [row] = named(featurizer, make_search(ts=ts, user_id="u1"))
    assert [math.isnan(row[name]) for name in PURCHASE_COLUMNS] == [withheld] * 3
    assert featurizer.report()["withheld"] == withheld
    assert row["user_searches"] > 0


@pytest.mark.parametrize("arrival", ["in order", "purchase first at equal times", "late searches"])
def test_pure_noise_cannot_be_guessed_from_any_column(arrival: str) -> None:
    featurizer, rng = Featurizer(FeatureSettings(warm_s=0)), random.Random(11)
    rows, labels = [], []
    for step in range(4000):
        user, item, label = f"u{rng.randrange(300)}", f"i{rng.randrange(50)}", rng.random() < 0.3
        search = make_search(f"s{step}", ts=step, user_id=user, items=[item])
        gap = 0.0 if arrival == "purchase first at equal times" else 0.5
        purchase = make_purchase(f"p{step}", ts=step + gap, user_id=user, item_id=item)
        if label and arrival != "in order":
            featurizer.observe_purchase(purchase)
        rows.append(featurizer.featurize(search)[0])
        if label and arrival == "in order":
            featurizer.observe_purchase(purchase)
        labels.append(label)
    values = np.array(rows)
    for column, name in enumerate(featurizer.columns.names):
        known = ~np.isnan(values[:, column])
        if known.sum() > 1000 and np.unique(np.array(labels)[known]).size == 2:
            auc = roc_auc_score(np.array(labels)[known], values[known, column])
            assert auc == pytest.approx(0.5, abs=0.04), name


# -- both ways of reading agree, and a cut run equals the whole

VALUES = (
    st.floats(-1e6, 1e6)
    | st.integers(-5, 5)
    | st.sampled_from(["a", "b", "c", "d"])
    | st.lists(st.floats(0, 1), max_size=2)
)
FEATURES = st.dictionaries(st.sampled_from(["f", "g", "h", "f.0", "price"]), VALUES, max_size=4)


@st.composite
def searches(draw: st.DrawFn) -> list[Search]:
    made: list[Search] = []
    for number in range(draw(st.integers(1, 8))):
        n = draw(st.integers(0, 3))
        shape = draw(FEATURES)
        items = [shape if draw(st.booleans()) else draw(FEATURES) for _ in range(n)]
        prices = [draw(st.none() | st.floats(0, 9)) for _ in range(n)]
        categories = [draw(st.none() | st.sampled_from(["x", "y", "z"])) for _ in range(n)]
        ts = draw(st.integers(0, 100))
        names = [f"i{draw(st.integers(0, 5))}" for _ in range(n)]
        made.append(
            make_search(
                f"s{number}", ts=ts, items=names, prices=prices, categories=categories, item_features=items,
                features=draw(FEATURES),
            )
        )  # fmt: skip
    return made * 2


@settings(max_examples=300, deadline=None)
@given(searches(), st.booleans())
def test_reading_by_columns_and_by_cells_gives_the_same_bits_and_state(stream: list[Search], bare: bool) -> None:
    bounds = FeatureSettings(
        warm_s=0, builtin=not bare, state=not bare, columns_max=16, hash_columns=2, levels_max=2, items_max=4
    )
    whole, cut = Featurizer(bounds), Featurizer(bounds)
    for search in stream:
        values = whole.featurize(search)
        cut = pickle.loads(pickle.dumps(cut))  # forgets its plans: each search goes cell by cell
        assert values.tobytes() == cut.featurize(search).tobytes()
        assert values.shape == (len(search), len(whole.columns))
        assert values.flags.c_contiguous
        for side in (whole, cut):
            side.observe_purchase(make_purchase(ts=search.ts_us / 1e6, item_id="i1"))
        assert digest(whole) == digest(cut)


def test_items_with_equal_keys_go_the_fast_way() -> None:
    featurizer = table()
    features = [{"x": float(i), "brand": "ab"[i % 2], "v": [i, i + 1]} for i in range(4)]
    first = featurizer.featurize(make_search(items="abcd", item_features=features))
    featurizer._slow = None  # type: ignore[method-assign,assignment]
    shuffled = [dict(reversed(item.items())) if i else item for i, item in enumerate(features)]
    second = featurizer.featurize(make_search(items="abcd", item_features=shuffled))
    assert first.tolist() == second.tolist() == [[i, i % 2, i, i + 1] for i in range(4)]


SCRIPT = """
from stream_balance.core.digest import Digest
from stream_balance.core.features import Featurizer, FeatureSettings
from stream_balance.core.tiers import Tiers, TierSettings
from stream_balance.testing import make_purchase, make_search
featurizer = Featurizer(FeatureSettings(columns_max=16, levels_max=3, users_max=8))
tiers, made = Tiers(TierSettings(first=9)), Digest()
for i in range(60):
    search = make_search(ts=i, user_id=f"u{i % 13}", items=[f"i{i % 7}", f"i{i % 5}"], categories=["c", f"c{i}"],
                         item_features=[{f"f{i % 9}": 1.0, "t": f"t{i}"}, {"t": "x"}])
    made.add(featurizer.featurize(search))
    made.add(tiers.stamp(search.item_ids))
    featurizer.observe_purchase(make_purchase(ts=i))
made.add([featurizer.digest_state(), tiers.digest_state()])
print(made.hex())
"""


def test_nothing_depends_on_the_hash_seed() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_columns_are_where_they_are_whatever_the_order_of_the_keys() -> None:
    made = table()
    for features in ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}, {"a": 1.0, "b": 2.0}):
        for _ in range(2):  # cell by cell, then by a plan
            search = make_search(items=["i1"], item_features=[features])
            assert named(made, search) == [{"a": 1.0, "b": 2.0}]


def test_a_number_where_there_were_words_is_no_number_of_that_column() -> None:
    made = table()
    for value in ("x", "y", 3.0, 4.0, "x"):
        (row,) = named(made, make_search(items=["i1"], item_features=[{"a": value}]))
        assert sum(not math.isnan(each) for each in row.values()) == 1

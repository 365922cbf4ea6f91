"""Dict rows: a row of numbers with the keys of the one before takes a shorter way to the same matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance import AutoClassifier
from stream_balance.core.arms.dict_rows import DictRows

VALUES = st.sampled_from([0, 1.5, True, None, math.nan, "red", "blue", -2])
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", 4]), VALUES, max_size=4), min_size=1, max_size=12)


@given(ROWS)
def test_a_row_is_read_alike_whatever_came_before(rows: list[dict[Any, Any]]) -> None:
    one = DictRows()
    for row in rows:
        one.meet([row])
        read = one.matrix([row])
        fresh = DictRows()
        fresh.columns, fresh._places, fresh._keys = one.columns, one._places, one._keys
        assert not fresh.meet([row])
        np.testing.assert_array_equal(fresh.matrix([row]), read)
        np.testing.assert_array_equal(one.matrix([row]), read)


@pytest.mark.parametrize("value", [[1, 2], [1.0], {"x": 1.0}, object(), np.zeros(2), np.zeros(1), 10**400])
@pytest.mark.parametrize("known", [False, True])
def test_what_is_no_value_is_named_and_leaves_nothing_behind(value: Any, known: bool) -> None:
    rows = DictRows()
    rows.meet([{"a": 1.0, "brand": "acme"} | ({"tags": 2.0} if known else {})])
    columns = len(rows.columns)
    verb = rows.matrix if known else rows.meet
    with pytest.raises(TypeError, match=r"feature 'tags' is .*; expected a number, a text or None"):
        verb([{"tags": value}])
    assert len(rows.columns) == columns


def test_a_refused_row_leaves_a_classifier_as_it_was() -> None:
    model = AutoClassifier(seed=1)
    for i in range(40):
        model.learn_one({"a": float(i % 7)}, i % 3 == 0)
    said = model.predict_proba_one({"a": 2.0})
    with pytest.raises(TypeError, match="feature 'a'"):
        model.learn_one({"a": [1.0, 2.0]}, "a third class")
    assert model.predict_proba_one({"a": 2.0}) == said

"""Dict rows: a row of numbers with the keys of the one before takes a shorter way to the same matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("value", [[1, 2], {"x": 1.0}, object(), np.zeros(2)])
def test_what_is_no_value_is_named(value: Any) -> None:
    rows = DictRows()
    rows.meet([{"a": 1.0, "brand": "acme"}])
    bad = {"a": 1.0, "brand": "acme", "tags": value}
    rows.meet([bad])
    with pytest.raises(TypeError, match=r"feature 'tags' is .*; expected a number, a text or None"):
        rows.matrix([bad])

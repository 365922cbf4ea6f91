"""Packing: values and arrays come back bit for bit; damaged bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stream_balance.core.packing import TYPES, pack, unpack

ARRAYS = st.sampled_from(TYPES).flatmap(lambda kind: arrays(np.dtype(kind), array_shapes(max_dims=2, min_side=0)))
HEADS = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.lists(st.booleans())))


@settings(deadline=None)
@given(HEADS, st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3))
def test_what_is_packed_comes_back_and_packs_to_the_same_bytes(
    head: dict[str, object], named: dict[str, np.ndarray]
) -> None:
    block = pack(head, named)
    found, back = unpack(block)
    assert found == head
    assert {k: (v.shape, v.dtype.str, v.tobytes()) for k, v in back.items()} == {
        k: (v.shape, v.dtype.str, v.tobytes()) for k, v in named.items()
    }
    assert pack(found, back) == block


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_seen(place: int, change: int) -> None:
    block = bytearray(pack({"a": 1}, {"rows": np.arange(6.0)}))
    block[place % len(block)] ^= change
    with pytest.raises(ValueError, match="packed block"):
        unpack(bytes(block))


@pytest.mark.parametrize("cut", [0, 5, 30, -1])
def test_a_cut_block_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="packed block"):
        unpack(pack({}, {"rows": np.ones(3)})[:cut])


def test_objects_are_not_packed() -> None:
    with pytest.raises(TypeError, match=r"array 'rows' is of type \|O"):
        pack({}, {"rows": np.array([object()])})

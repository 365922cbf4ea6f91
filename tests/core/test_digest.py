"""The digest: equal values are equal, different values differ, and hashing order never shows."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.digest import Digest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def digest(value: object) -> str:
    result = Digest()
    result.add(value)
    return result.hex()


@given(VALUES, VALUES)
def test_digests_are_equal_only_when_the_encodings_are(one: object, two: object) -> None:
    same = repr(one) == repr(two)
    assert (digest(one) == digest(two)) == same


def test_every_nan_is_alike_and_minus_zero_is_not_zero() -> None:
    other_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    assert digest(other_nan) == digest(np.array([np.nan]))
    assert digest(-0.0) != digest(0.0)


def test_a_set_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no canonical encoding"):
        digest({"a", "b"} | {"c"})


def test_the_hash_seed_does_not_show() -> None:
    code = "from stream_balance.core.digest import Digest as D; d=D(); d.add({'b': 1, 'a': ['x', 2.5]}); print(d.hex())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(seen) == 1

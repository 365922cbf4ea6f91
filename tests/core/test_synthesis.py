"""Synthesis: requests and outcomes travel as bytes without loss."""

from __future__ import annotations

import numpy as np
import pytest

from stream_balance.core.packing import pack, unpack
from stream_balance.core.synthesis import (
    Gain,
    Quality,
    Refusal,
    Release,
    TrainingSet,
    Vetting,
    outcome_from_bytes,
    outcome_to_bytes,
)  # fmt: skip
from tests.gan.tables import request

QUALITY = Quality(0.6, 0.9, 0.5, 0.0, 0.01, 0.02, 0.05, 0.01)
VETTING = Vetting("gan", "helps", "gain", 0.1, QUALITY, (Gain("live", 0.1, 0.2, 0.03, 0.01, 0.02, 0.01),))
RELEASE = Release(1, np.array([[1.0, np.nan]]), VETTING, b"weights", True, np.ones((2, 3)), (VETTING,))
REFUSAL = Refusal(2, "c2st", "gan: refused, c2st", others=(VETTING,))


def test_a_request_comes_back_as_it_was() -> None:
    sent = request(n=20, others=10, weights=b"abc")
    got = TrainingSet.from_bytes(sent.to_bytes())
    assert got.to_bytes() == sent.to_bytes()
    assert (got.settings, got.weights, got.nominal, got.model) == (sent.settings, b"abc", sent.nominal, "logistic")
    np.testing.assert_array_equal(got.rows, sent.rows)


@pytest.mark.parametrize("outcome", [RELEASE, REFUSAL])
def test_an_outcome_comes_back_as_it_was(outcome: Release | Refusal) -> None:
    got = outcome_from_bytes(outcome_to_bytes(outcome))
    assert type(got) is type(outcome)
    assert outcome_to_bytes(got) == outcome_to_bytes(outcome)
    assert got.others == (VETTING,)


def test_rows_that_are_not_finite_are_no_answer() -> None:
    block = outcome_to_bytes(Release(1, np.array([[np.inf]]), VETTING))
    with pytest.raises(ValueError, match="infinite values"):
        outcome_from_bytes(block)


@pytest.mark.parametrize("spoil", ["missing", "extra"])
def test_an_answer_of_another_shape_is_refused(spoil: str) -> None:
    head, arrays = unpack(outcome_to_bytes(RELEASE))
    if spoil == "missing":
        del head["vetting"]["quality"]
    else:
        head["vetting"]["more"] = 1
    with pytest.raises(ValueError, match="lacks or has too much"):
        outcome_from_bytes(pack(head, arrays))

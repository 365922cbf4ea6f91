"""Synthesis: requests and outcomes travel as bytes without loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
from stream_balance.errors import SettingsError
from stream_balance.settings import load
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


@pytest.mark.parametrize(
    ("rows", "share", "said"),
    [
        (np.array([[np.inf, 1.0]]), 0.1, "have infinite values"),
        (np.full((5, 3), np.nan), 0.1, "have absent values alone"),
        (np.empty((0, 3)), 0.1, r"float64 of shape \(0, 3\)"),
        (np.empty((5, 0)), 0.1, r"float64 of shape \(5, 0\)"),
        (np.ones(5), 0.1, r"float64 of shape \(5,\)"),
        (np.ones((5, 3), dtype=np.int64), 0.1, "int64"),
        (np.ones((5, 3)), 7.0, "share is 7.0"),
        (np.ones((5, 3)), 1.0, "share is 1.0"),
        (np.ones((5, 3)), 0.0, "share is 0.0"),
        (np.ones((5, 3)), float("nan"), "share is nan"),
        (np.ones((5, 3)), "much", "share is 'much'"),
    ],
)
def test_rows_or_a_share_that_nobody_could_learn_are_no_answer(rows: Any, share: Any, said: str) -> None:
    block = outcome_to_bytes(Release(1, rows, replace(VETTING, share=share)))
    with pytest.raises(ValueError, match=said):
        outcome_from_bytes(block)


@pytest.mark.parametrize("shares", [[1.0], [], [-0.1], [0.1, 1.5], [0.0], [float("nan")]])
def test_shares_to_choose_from_are_shares(shares: list[float]) -> None:
    with pytest.raises(SettingsError, match=r"'gan.shares' is \[.*\]: .* above 0 and below 1. Write for example \[0.1"):
        load(flags={"gan": {"shares": shares}})


@pytest.mark.parametrize("spoil", ["missing", "extra"])
def test_an_answer_of_another_shape_is_refused(spoil: str) -> None:
    head, arrays = unpack(outcome_to_bytes(RELEASE))
    if spoil == "missing":
        del head["vetting"]["quality"]
    else:
        head["vetting"]["more"] = 1
    with pytest.raises(ValueError, match="lacks or has too much"):
        outcome_from_bytes(pack(head, arrays))

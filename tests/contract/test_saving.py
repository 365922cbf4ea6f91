"""A pipeline that is saved and restored on the way goes on as if nothing had happened: the seam of checkpoints."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from streams import TABLE, core, pushed_rows, shop, table_rows

from stream_balance.core.pipeline import Pipeline


@pytest.mark.parametrize(
    "rooms",
    [
        {},
        {"model": {"name": "river_logistic"}},
        {"model": {"name": "naive_bayes"}},
        {"model": {"name": "hoeffding_adaptive_tree"}},
        {"model": {"name": "adaptive_random_forest"}},
        {"order": {"disorder_max_s": 30.0}},
        {"threshold": {"rule": "gmean_window"}},
    ],
    ids=str,
)
def test_a_saved_and_restored_pipeline_goes_on_the_same(rooms: dict[str, Any]) -> None:
    events = shop(200, seed=6, signal=1.0)
    whole, cut = (Pipeline(core(**rooms), 3, ("no", "bought")) for _ in range(2))
    for index, event in enumerate(events):
        whole.push(event)
        if index % 37 == 0:
            cut = pickle.loads(pickle.dumps(cut))
        cut.push(event)
    for each in (whole, cut):
        each.run_out()
    assert cut.state_digest() == whole.state_digest()
    assert cut.report().document() == whole.report().document()


def test_rows_go_on_too() -> None:
    whole, cut = (Pipeline(core(**TABLE), 3, ("no", "yes"), delay_rows=20) for _ in range(2))
    for part in range(3):
        cut = pickle.loads(pickle.dumps(cut))
        for each in (whole, cut):
            pushed_rows(each, table_rows(200, seed=part))
    assert cut.state_digest() == whole.state_digest()

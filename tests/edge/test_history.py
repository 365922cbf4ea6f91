"""History: bounded, from the first to the last, and every series stands where the report has it."""

from __future__ import annotations

from stream_balance.core.gan_report import Gan
from stream_balance.core.report import Lift, Report
from stream_balance.edge.history import POSITIVES_MIN, SERIES, WHERE_THERE, History, find


def test_it_stays_bounded_and_keeps_the_beginning_and_the_end() -> None:
    history = History(points_max=16)
    for second in range(1000):
        history.add({}, {}, float(second))
        assert len(history.points()) <= 16
    times = [point["t"] for point in history.points()]
    assert times == sorted(set(times))
    assert times[0] == 0.0
    assert times[-1] == 999.0


def test_a_reader_keeps_the_points_it_was_given() -> None:
    history = History()
    history.add({}, {}, 1.0)
    seen = history.points()
    history.add({}, {}, 2.0)
    assert len(seen) == 1


def test_every_series_is_a_field_of_the_report() -> None:
    document = Report(gan=Gan(refusals={"harm": 2}), lift={"none": Lift(), "river_logistic": Lift()}).document()
    assert History().add(document, {}, 0.0)["gan_refusals"] == 2
    for path in (SERIES | WHERE_THERE).values():
        parent, _, name = path.rpartition(".")
        assert name in find(document, parent), path


def test_the_real_share_is_that_of_the_window() -> None:
    point = History().add(
        {"metrics": {"window": {"rows": 200, "positives": 3}}}, {"lag_s": {"a/0": 1.0, "b/0": 4.0}}, 9.0
    )
    assert (point["real"], point["lag_s"], point["t"]) == (0.015, 4.0, 9.0)


def test_figures_of_a_handful_of_outcomes_are_left_out() -> None:
    tiers = {"head": {"positives": POSITIVES_MIN, "roc_auc": 0.7}, "tail": {"positives": 2, "roc_auc": 0.1}}
    document = {"metrics": {"window": {"rows": 900, "positives": 5, "roc_auc": 0.2}, "tiers": tiers}}
    point = History().add(document, {}, 0.0)
    assert (point["auc"], point["auc_head"], point["auc_tail"]) == (None, 0.7, None)

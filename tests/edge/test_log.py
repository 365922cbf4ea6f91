"""Log and watch: a line per change of state, never per record; no user id, no secret; machines can read it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from stream_balance.edge.board import Board
from stream_balance.edge.log import NEVER, make_log, silent_log
from stream_balance.edge.log_settings import LogSettings
from stream_balance.edge.logfile import LogRecord, read_events
from stream_balance.edge.watch import BEHIND_S, CAUGHT_UP_S, Change, Watch
from stream_balance.service import Session, drive, make_codec, make_pipeline
from stream_balance.settings import Settings, load


@pytest.fixture(scope="module")
def lines(shop_log: Path) -> list[dict[str, Any]]:
    """The log of a short run that looks at itself at every turn."""
    settings = load(flags={"join": {"window_s": 300}})
    stream, board = io.StringIO(), Board(refresh_s=1e-9)
    session = Session(make_pipeline(settings), settings, board=board, log=make_log(LogSettings(format="json"), stream))
    drive(islice(read_events([shop_log], make_codec(settings)), 1500), session, threading.Event())
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def records(log: Path) -> Iterator[LogRecord]:
    return iter(read_events([log], make_codec(Settings())))


def test_a_run_logs_changes_and_not_records(lines: list[dict[str, Any]]) -> None:
    events = [line["event"] for line in lines]
    assert events.count("first labels due") == 1
    assert events.count("first outcome") == 1
    assert "first bad record of its kind" in events
    assert len(events) < 30
    assert all({"time", "level", "event"} <= set(line) for line in lines)


def test_no_line_has_a_user_id(lines: list[dict[str, Any]], shop_log: Path) -> None:
    users = {record.event.user_id for record in islice(records(shop_log), 1500) if record.event is not None}
    assert len(users) > 20
    text = json.dumps(lines)
    assert not [user for user in users if f'"{user}"' in text]


@pytest.mark.parametrize("field", sorted(NEVER))
def test_a_private_field_is_our_error(field: str) -> None:
    log = make_log(LogSettings(format="json"), io.StringIO())
    with pytest.raises(AssertionError, match=field):
        log.info("something", **{field: "x"})


def test_the_level_keeps_lines_back_and_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    log = make_log(LogSettings(format="json", level="warning"), stream)
    log.info("unheard")
    log.warning("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]
    silent_log().error("nothing")
    assert capsys.readouterr() == ("", "")


def test_the_console_form_is_one_line_without_colours_where_nobody_looks() -> None:
    stream = io.StringIO()
    make_log(LogSettings(), stream).info("release adopted", version=7)
    assert stream.getvalue().count("\n") == 1
    assert "release adopted" in stream.getvalue()
    assert "version=7" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def looks(*states: dict[str, Any]) -> list[str]:
    watch = Watch()
    return [change.event for state in states for change in watch.look({}, state)]


def test_lag_is_told_with_two_borders() -> None:
    between = (BEHIND_S + CAUGHT_UP_S) / 2
    seconds = [0.0, BEHIND_S + 1, between, BEHIND_S + 1, 0.0, between, BEHIND_S + 1]
    events = looks(*({"lag_s": {"t/0": 0.0, "t/1": lag}} for lag in seconds))
    assert events == ["falling behind", "caught up", "falling behind"]


def test_a_broker_that_goes_and_comes_back_is_two_lines() -> None:
    away, back = {"broker_away": True}, {"broker_away": False, "broker_outage_s": 9.0}
    assert looks({}, away, away, back, back) == ["broker away", "broker back"]


def test_the_past_is_not_told_again() -> None:
    last = {"kept_rows": 5, "rose": True, "forgotten": 7}
    old = {"drift": {"counts": {"log_loss": 3}, "alarms": [{"kind": "log_loss", "position": 9, **last}]}}
    new = {"drift": {"counts": {"log_loss": 4}, "alarms": [{"kind": "log_loss", "position": 12, **last}]}}
    watch = Watch()
    assert list(watch.look(old, {"beyond_bounds": {"users_forgotten": 5}})) == []
    assert list(watch.look(new, {"beyond_bounds": {"users_forgotten": 6}})) == [
        Change("info", "drift alarm", {"watched": "log_loss", "alarms": 4, "position": 12, **last})
    ]
    assert list(watch.look(new, {"beyond_bounds": {"users_forgotten": 6}})) == []


def test_one_class_is_told_once() -> None:
    watch = Watch()
    reports = [{"metrics": {"lifetime": {"rows": rows, "positives": 0}}} for rows in (0, 5_000, 6_000)]
    events = [[change.event for change in watch.look(report, {})] for report in reports]
    assert events == [[], ["one class only"], []]


def test_an_arm_that_pauses_and_a_new_champion_are_told() -> None:
    paused = {"arm": "replay_mlp:none", "reason": "light", "position": 9_000, "weight": 0.002}
    again = {"arm": "replay_mlp:none", "reason": "drift", "position": 9_500}
    leads = {"arm": "linear:none", "reason": "lead", "position": 9_700, "lead": 4.1}
    decisions = [
        {"action": "paused", "lead": None, **paused}, {"action": "resumed", "weight": None, "lead": None, **again},
        {"action": "champion", "weight": None, **leads},
    ]  # fmt: skip

    watch = Watch()
    reports = [{"mixture": {"decided": 5 + n, "decisions": decisions[:n]}} for n in (0, 1, 3, 3)]
    changes = [list(watch.look(report, {})) for report in reports]
    assert changes == [
        [],
        [Change("info", "arm paused", paused)],
        [Change("info", "arm runs again", again), Change("info", "new champion", leads)],
        [],
    ]


def test_every_decision_on_the_target_share_is_told() -> None:
    def decision(reason: str, position: int) -> dict[str, Any]:
        evidence = (None, None) if reason == "drift" else (0.1, 0.01)
        shares = {"before": 0.2, "after": 0.2 if reason == "few_rows" else 0.27}
        return {"reason": reason, **shares, "gained": evidence[0], "error": evidence[1], "position": position}

    made = [
        decision(reason, at) for at, reason in enumerate(("helps", "fell", "drift", "few_rows", "helps", "few_rows"))
    ]
    watch, lines = Watch(), []
    for decided in (0, 1, 4, 4, 6):  # the report keeps one decision of the last two
        kept = made[decided - 1 : decided] if decided == 6 else made[:decided]
        figures = {"objective": "gmean", "steps": sum(d["reason"] != "few_rows" for d in made[:decided])}
        report = {"target": {**figures, "decided": decided, "decisions": kept}}
        lines.append([(c.event, c.fields["position"], c.fields["objective"]) for c in watch.look(report, {})])
    moved, held = "target share moved", "target share held"
    assert lines == [
        [], [(moved, 0, "gmean")], [(moved, 1, "gmean"), (moved, 2, "gmean"), (held, 3, "gmean")], [],
        [(held, 5, "gmean")],
    ]  # fmt: skip


def test_what_became_of_a_training_is_a_line() -> None:
    def report(*positions: int) -> dict[str, Any]:
        outcomes = [
            {"position": at, "label": "bought", "outcome": "release" if at % 2 else "refusal", "reason": "gain",
             "asked_for": "age", "warm": True}
            for at in positions
        ]  # fmt: skip
        return {"gan": {"history": outcomes, "last": outcomes[-1] if outcomes else None}}

    watch = Watch()
    assert list(watch.look(report(1), {})) == []
    said = [change for later in ((1,), (1, 2, 5)) for change in watch.look(report(*later), {})]
    assert [(change.event, change.fields["position"]) for change in said] == [
        ("release refused", 2), ("release adopted", 5)
    ]  # fmt: skip
    assert list(watch.look({"gan": None}, {})) == []

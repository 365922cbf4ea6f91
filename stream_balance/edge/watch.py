"""Watch: what has changed between two reports that a person would want a line about. In: reports and service states, as
they are made. Out: changes. Pure: the log is written by whoever asks.

The first report is the point of departure, so a service that goes on from saved state does not tell its past again.
Where a figure could flicker around a border there are two borders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BEHIND_S, CAUGHT_UP_S = 30.0, 2.0
ONE_CLASS_ROWS = 2_000  # measured impressions after which a single class is said to be one


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state: the line's level, its words, its fields."""

    level: Literal["info", "warning", "error"]
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Watch:
    """Compares each report with the one before.

    >>> watch = Watch()
    >>> list(watch.look({}, {"broker_away": False})), [c.event for c in watch.look({}, {"broker_away": True})]
    ([], ['broker away'])
    """

    def __init__(self) -> None:
        self._before: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        self._is_behind = False
        self._outage_s = 0.0  # before the present outage
        self._one_class = False

    def look(self, report: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Change]:
        """The changes since the last look, in a fixed order."""
        before, self._before = self._before, (report, state)
        if before is None:
            self._is_behind = _lag_s(state) > BEHIND_S
            self._one_class = _is_one_class(report)
            return
        yield from self._broker(before[1], state)
        yield from self._lag(state)
        yield from _beginnings(before[0], report)
        yield from _growth(before, (report, state))
        yield from _alarms(before[0], report)
        yield from _outcomes(before[0], report)
        yield from _arms(before[0], report)
        yield from _target(before[0], report)
        one_class = _is_one_class(report)
        if one_class and not self._one_class:
            rows = report["metrics"]["lifetime"]["rows"]
            yield Change("warning", "one class only", {"rows": rows, "see": "docs/runbook.md#one-class-only"})
        self._one_class = one_class

    def _broker(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
        if not before.get("broker_away"):
            self._outage_s = before.get("broker_outage_s", 0.0)
            if now.get("broker_away"):
                yield Change("warning", "broker away")
        elif not now.get("broker_away"):
            yield Change("info", "broker back", {"away_s": round(now.get("broker_outage_s", 0.0) - self._outage_s, 1)})

    def _lag(self, state: Mapping[str, Any]) -> Iterator[Change]:
        seconds, records = _lag_s(state), sum((state.get("lag") or {}).values())
        if not self._is_behind and seconds > BEHIND_S:
            self._is_behind = True
            yield Change("warning", "falling behind", {"lag_s": round(seconds, 1), "lag_records": records})
        elif self._is_behind and seconds < CAUGHT_UP_S:
            self._is_behind = False
            yield Change("info", "caught up", {"lag_records": records})


def _lag_s(state: Mapping[str, Any]) -> float:
    return float(max((state.get("lag_s") or {}).values(), default=0.0))


def _beginnings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What has happened for the first time."""
    for path, words in (("matured", "first labels due"), ("positive", "first outcome")):
        if _examples(now).get(path) and not _examples(before).get(path):
            yield Change("info", words, {"matured": _examples(now)["matured"]})


def _examples(report: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = report.get("examples") or {}
    return found


def _growth(
    before: tuple[Mapping[str, Any], Mapping[str, Any]], now: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> Iterator[Change]:
    """What should stay at 0 and does not: a line when it leaves 0."""
    pairs = (
        ("impressions dropped", "reason", _examples(before[0]).get("dropped"), _examples(now[0]).get("dropped")),
        ("bound reached", "bound", before[1].get("beyond_bounds"), now[1].get("beyond_bounds")),
    )
    for words, label, earlier, later in pairs:
        for name, value in (later or {}).items():
            if value and not (earlier or {}).get(name):
                yield Change("warning", words, {label: name, "count": value})
    if now[1].get("records_lost", 0) > before[1].get("records_lost", 0):
        yield Change("error", "records lost to retention", {"records": now[1]["records_lost"]})


def _alarms(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    counts, earlier = ((report.get("drift") or {}).get("counts") or {} for report in (now, before))
    for kind, number in counts.items():
        if number > earlier.get(kind, 0):
            alarms = [alarm for alarm in now["drift"]["alarms"] if alarm["kind"] == kind]
            last = {key: alarms[-1][key] for key in ("position", "kept_rows", "rose", "forgotten")}
            yield Change("info", "drift alarm", {"watched": kind, "alarms": number, **last})


_WORDS = {"paused": "arm paused", "resumed": "arm runs again", "champion": "new champion"}


def _arms(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What was decided about arms since."""
    for decision in _decided(before.get("mixture"), now.get("mixture")):
        fields = {key: value for key, value in decision.items() if key != "action"}
        yield Change("info", _WORDS[decision["action"]], fields)


def _decided(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The decisions made since, without what they leave open; of more than the report keeps, the latest."""
    counts = [(figures or {}).get("decided", 0) for figures in (before, now)]
    if now is None or counts[1] <= counts[0]:
        return []
    latest = now["decisions"][counts[0] - counts[1] :]
    return [{key: value for key, value in decision.items() if value is not None} for decision in latest]


def _outcomes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What became of the GAN's requests."""
    seen = ((before.get("gan") or {}).get("last") or {}).get("position", -1)
    for outcome in (now.get("gan") or {}).get("history") or ():
        if outcome["position"] > seen:
            fields = {each: outcome[each] for each in ("position", "reason", "asked_for", "warm")}
            words = "release adopted" if outcome["outcome"] == "release" else "release refused"
            yield Change("info", words, {"class": outcome["label"], **fields})


def _target(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What was decided about the target share since."""
    for decision in _decided(before.get("target"), now.get("target")):
        words = "target share held" if decision["reason"] == "few_rows" else "target share moved"
        yield Change("info", words, {"objective": now["target"]["objective"], **decision})


def _is_one_class(report: Mapping[str, Any]) -> bool:
    scope = (report.get("metrics") or {}).get("lifetime") or {}
    rows, positives = scope.get("rows", 0), scope.get("positives", 0)
    return rows >= ONE_CLASS_ROWS and positives in (0, rows)

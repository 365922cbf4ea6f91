"""Metric reading: how a figure is found in the report and the service's state. In: plain data. Out: values by labels.

Undefined figures are left out, never 0. Readers are small functions made by what they read: one figure, a mapping, a
field of every scope; the metric table is written in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "stream_balance_"
Kind = Literal["counter", "gauge", "histogram", "info"]
Reading = tuple[tuple[str, ...], Any]  # label values, and the figure


@dataclass(frozen=True, slots=True)
class View:
    """What can be shown at one moment: the last report and state ({} before the first), and the board's own pulse."""

    report: Mapping[str, Any]
    state: Mapping[str, Any]
    pulse: Mapping[str, Any]


Reader = Callable[[View], Iterable[Reading]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `name` is without prefix and without the `_total` that counters get."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    read: Reader

    @property
    def shown_name(self) -> str:
        """The name as Prometheus knows it (histograms: without `_bucket`, `_sum`, `_count`)."""
        return PREFIX + self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def readings(self, view: View) -> Iterator[Reading]:
        """The figures that are defined."""
        for labels, value in self.read(view):
            if value is not None:
                yield labels, value


def _find(root: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(root, Mapping):
            return None
        root = root.get(part)
    return root


def _root(view: View, path: str) -> tuple[Any, str]:
    """`state:x.y` and `pulse:x` name their document; the rest is of the report."""
    document, sign, rest = path.partition(":")
    return (getattr(view, document), rest) if sign else (view.report, path)


def at(path: str) -> Reader:
    """One figure without labels."""
    return lambda view: [((), _find(*_root(view, path)))]


def each(path: str, *names: str) -> Reader:
    """One figure by key of a mapping; `names` picks the keys, none = all."""

    def read(view: View) -> Iterable[Reading]:
        found = _find(*_root(view, path)) or {}
        return [((key,), value) for key, value in found.items() if not names or key in names]

    return read


def each_of(path: str, names: Iterable[str]) -> Reader:
    """One figure by name of a closed list, 0 where the mapping has none yet: a counter that begins with its first event
    hides that event from Prometheus.
    """
    known = tuple(names)

    def read(view: View) -> Iterable[Reading]:
        found = _find(*_root(view, path))
        return [] if found is None else [((name,), value) for name, value in (dict.fromkeys(known, 0) | found).items()]

    return read


def picked(**paths: str) -> Reader:
    """One figure by a name given here: `picked(ours="ranking.mrr")`."""
    return lambda view: [((name,), _find(*_root(view, path))) for name, path in paths.items()]


def _scopes(view: View) -> dict[str, Any]:
    metrics = view.report.get("metrics") or {}
    scopes = {name: metrics.get(name) or {} for name in ("lifetime", "window", "faded")}
    return scopes | {f"tier_{tier}": scope for tier, scope in (metrics.get("tiers") or {}).items()}


def scoped(field: str) -> Reader:
    """A field of each scope."""
    return lambda view: [((scope,), figures.get(field)) for scope, figures in _scopes(view).items()]


def decided(field: str) -> Reader:
    """A field of `at_half` and `at_tuned` of each scope."""
    return lambda view: [
        ((scope, rule), (figures.get(rule) or {}).get(field))
        for scope, figures in _scopes(view).items()
        for rule in ("at_half", "at_tuned")
    ]


def by_class(field: str) -> Reader:
    """A field of each class of each scope (three or more classes)."""
    return lambda view: [
        ((scope, name), values.get(field))
        for scope, figures in _scopes(view).items()
        for name, values in (figures.get("per_class") or {}).items()
    ]


def macro(field: str) -> Reader:
    """A field of the means over classes, by scope and of the raw scores (three or more classes)."""
    return lambda view: [
        ((scope,), (figures.get("macro") or {}).get(field))
        for scope, figures in (_scopes(view) | {"raw": _find(view.report, "metrics.raw") or {}}).items()
    ]


def _class_rows(view: View, scope: Mapping[str, Any]) -> dict[str, float]:
    """Measured rows of a scope by class; two classes are told by its positives."""
    if scope.get("per_class"):
        return {name: values["rows"] for name, values in scope["per_class"].items()}
    names = list((view.report.get("training") or {}).get("by_class") or {})
    if len(names) != 2 or "rows" not in scope:
        return {}
    return dict(zip(names, (scope["rows"] - scope["positives"], scope["positives"]), strict=True))


def class_rows(view: View) -> Iterable[Reading]:
    """Rows by class and scope."""
    found = {scope: _class_rows(view, figures) for scope, figures in _scopes(view).items()}
    return [((name, scope), count) for scope, rows in found.items() for name, count in rows.items()]


def class_shares(view: View) -> Iterable[Reading]:
    """Share of each class by scope."""
    found: list[Reading] = []
    for scope, figures in _scopes(view).items():
        rows = _class_rows(view, figures)
        total = sum(rows.values())
        found += [((name, scope), count / total) for name, count in rows.items() if total > 0]
    return found


def each_field(path: str, field: str) -> Reader:
    """A field of each entry of a mapping."""

    def read(view: View) -> Iterable[Reading]:
        found = _find(*_root(view, path)) or {}
        return [((key,), entry.get(field)) for key, entry in found.items()]

    return read


def vetted(field: str) -> Reader:
    """A figure of the last vettings, by maker of the rows."""
    return lambda view: [((each["maker"],), each[field]) for each in _find(view.report, "gan.last.vettings") or ()]


def by_arm(field: str) -> Reader:
    """A field of each arm and reference."""
    return lambda view: [((arm["name"],), arm[field]) for arm in view.report.get("arms") or ()]


def by_arm_within(part: str) -> Reader:
    """Each field of a part of each arm; of a part that is undefined none."""

    def read(view: View) -> Iterable[Reading]:
        arms = view.report.get("arms") or ()
        return [((arm["name"], key), value) for arm in arms for key, value in (arm[part] or {}).items()]

    return read


def by_arm_and_scope(field: str) -> Reader:
    """A figure of each arm and reference, over the window and in each tier of it."""
    return lambda view: [
        ((arm["name"], scope), arm[scope][field])
        for arm in view.report.get("arms") or ()
        for scope in ("window", "head", "tail")
    ]


def lifts(field: str) -> Reader:
    """`value` or `error` of each lift, by reference and figure."""
    return lambda view: [
        ((reference, figure), lift[figure][field])
        for reference, lift in (view.report.get("lift") or {}).items()
        for figure in ("average_precision", "log_loss")
    ]


def each_within(path: str, field: str) -> Reader:
    """One figure by key of an entry and by key of a mapping within it."""

    def read(view: View) -> Iterable[Reading]:
        found = _find(*_root(view, path)) or {}
        return [((key, name), value) for key, entry in found.items() for name, value in entry.get(field, {}).items()]

    return read


def partitions(path: str) -> Reader:
    """A figure by `topic/partition`."""

    def read(view: View) -> Iterable[Reading]:
        found = _find(*_root(view, path)) or {}
        return [(tuple(key.rsplit("/", 1)), value) for key, value in found.items()]

    return read


def micro(path: str) -> Reader:
    """Microseconds as seconds."""

    def read(view: View) -> Iterable[Reading]:
        value = _find(*_root(view, path))
        return [((), None if value is None else value / 1e6)]

    return read


def counter(name: str, text: str, read: Reader, *labels: str) -> Metric:
    """A metric that only grows within a process; `_total` is added to its name."""
    return Metric(name, "counter", text, labels, read)


def gauge(name: str, text: str, read: Reader, *labels: str) -> Metric:
    """A metric that goes up and down."""
    return Metric(name, "gauge", text, labels, read)


def histogram(name: str, text: str, place: str = "state:telemetry.") -> Metric:
    """A histogram of the loop's telemetry, or of what else `place` names, by its name there."""
    return Metric(name, "histogram", text, (), at(place + name))

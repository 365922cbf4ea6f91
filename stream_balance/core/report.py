"""Report: all counters and figures at one moment, immutable. In: figures of the rooms. Out: one JSON document.

One schema for replay, demo and the HTTP page; `docs/report.md` says what each field is. Undefined is null, never 0:
a figure that is NaN or infinite becomes null on its way in.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from stream_balance.core.arm_report import ArmFigures, Lift, MixtureFigures, TargetFigures
from stream_balance.core.figures import Amount, Figure, Record
from stream_balance.core.gan_report import Gan


class EventCounts(Record):
    """Events taken, by type, and records that could not be read, by reason."""

    search: int = 0
    purchase: int = 0
    bad: dict[str, int] = Field(default_factory=dict)


class ExampleCounts(Record):
    """Impressions: `in` = held + matured + dropped, always."""

    in_: int = Field(default=0, alias="in")
    held: int = 0
    matured: int = 0
    positive: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    label_known: int = 0
    orphans: int = 0
    late: int = 0
    duplicates: int = 0


class Decisions(Record):
    """Yes-or-no figures of one decision rule."""

    accuracy: Figure = None
    majority_accuracy: Figure = None
    recall: Figure = None
    specificity: Figure = None
    precision: Figure = None
    f1: Figure = None
    gmean: Figure = None
    balanced_accuracy: Figure = None
    mcc: Figure = None
    kappa: Figure = None


class ClassFigures(Record):
    """One class against the rest (three or more classes)."""

    rows: Amount = 0
    recall: Figure = None
    precision: Figure = None
    roc_auc: Figure = None
    average_precision: Figure = None


class MacroFigures(Record):
    """Means over the classes for which a figure is defined (three or more classes)."""

    recall: Figure = None
    precision: Figure = None
    roc_auc: Figure = None
    average_precision: Figure = None
    gmean: Figure = None
    log_loss: Figure = None


class Scope(Record):
    """Figures of the served probabilities over one set of real, matured impressions."""

    rows: Amount = 0
    positives: Amount = 0
    roc_auc: Figure = None
    average_precision: Figure = None
    log_loss: Figure = None
    brier: Figure = None
    normalised_entropy: Figure = None
    ece: Figure = None
    mean_probability_over_rate: Figure = None
    at_half: Decisions | None = None
    at_tuned: Decisions | None = None
    per_class: dict[str, ClassFigures] | None = None
    macro: MacroFigures | None = None


class TierScopes(Record):
    """The lifetime scope split by popularity tier at search time."""

    head: Scope = Scope()
    tail: Scope = Scope()


class RawFigures(Record):
    """The learner's own output, before mixing and calibration, over the rows where it did not abstain."""

    rows: int = 0
    abstentions: int = 0
    roc_auc: Figure = None
    average_precision: Figure = None
    macro: MacroFigures | None = None


class Metrics(Record):
    """Prequential figures by scope."""

    lifetime: Scope = Scope()
    window: Scope = Scope()
    faded: Scope = Scope()
    tiers: TierScopes = TierScopes()
    raw: RawFigures = RawFigures()


class OrderFigures(Record):
    """How well one order of the items puts what was bought on top."""

    mrr: Figure = None
    ndcg_at_k: Figure = None
    hit_at_k: Figure = None


class RankingWindow(OrderFigures):
    """Ranking over the latest searches only."""

    searches: int = 0
    logged: OrderFigures = OrderFigures()


class Ranking(OrderFigures):
    """Ranking since the start, the logged order beside it, and the latest searches."""

    searches: int = 0
    logged: OrderFigures = OrderFigures()
    window: RankingWindow = RankingWindow()


class TierCounts(Record):
    """A count by tier."""

    head: int = 0
    tail: int = 0


class TierSums(Record):
    """A sum of money by tier."""

    head: float = 0.0
    tail: float = 0.0


class Exposure(Record):
    """Who gets the top slots under our order, over the latest searches."""

    searches: int = 0
    slots: int = 0
    tail_share: Figure = None
    logged_tail_share: Figure = None
    coverage: Figure = None
    gini: Figure = None
    purchases: TierCounts = TierCounts()
    revenue: TierSums = TierSums()


class Samples(Record):
    """Samples learned, by origin."""

    observed: int = 0
    copied: int = 0
    interpolated: int = 0
    generated: int = 0


class Training(Record):
    """What the model was taught."""

    samples: Samples = Samples()
    per_impression: Figure = None
    positive_share: Figure = None
    target_share: Figure = None
    by_class: dict[str, int] = Field(default_factory=dict)
    abstentions: int = 0


class Thresholds(Record):
    """Decision threshold in force now, by tier."""

    head: Figure = None
    tail: Figure = None


class Alarm(Record):
    """One change that a drift detector reported: the rows that it holds for the present, and whether the mean rose.

    `forgotten` rows were older, and left the windows because of it.
    """

    kind: str
    ts_us: int
    position: int
    kept_rows: int
    rose: bool
    forgotten: int


class DriftCounts(Record):
    """Alarms since the start, by what was watched."""

    log_loss: int = 0
    label_rate: int = 0


class Drift(Record):
    """The drift watch: counts since the start, present means, and the latest alarms."""

    counts: DriftCounts = DriftCounts()
    log_loss_mean: Figure = None
    label_rate_mean: Figure = None
    alarms: tuple[Alarm, ...] = ()


class OracleFigures(Record):
    """The true probabilities of a simulated log, measured as ours are, and how far ours are from them."""

    rows: int = 0
    log_loss: Figure = None
    roc_auc: Figure = None
    average_precision: Figure = None
    absolute_error: Figure = None
    logit_error: Figure = None


class Throughput(Record):
    """How fast this run was; filled by the shell, no part of any comparison."""

    examples_per_s: Figure = None
    cpu_s: Figure = None
    wall_s: Figure = None


class Report(Record):
    """All counters and figures at one moment.

    >>> document = Report(seed=7).document()
    >>> document["seed"], document["examples"]["in"], document["metrics"]["lifetime"]["roc_auc"]
    (7, 0, None)
    """

    events: EventCounts = EventCounts()
    examples: ExampleCounts = ExampleCounts()
    metrics: Metrics = Metrics()
    ranking: Ranking = Ranking()
    exposure: Exposure = Exposure()
    training: Training = Training()
    arms: tuple[ArmFigures, ...] = ()
    mixture: MixtureFigures = MixtureFigures()
    lift: dict[str, Lift] = Field(default_factory=dict)
    target: TargetFigures | None = None
    threshold: Thresholds | None = None
    drift: Drift = Drift()
    gan: Gan | None = None
    oracle: OracleFigures | None = None
    throughput: Throughput | None = None
    stopped: bool = False
    state_digest: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)

    def to_json(self, indent: int | None = 2) -> str:
        """Strict JSON: NaN and infinities, wherever they come from, are null."""
        return self.model_dump_json(by_alias=True, indent=indent)

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        document: dict[str, Any] = json.loads(self.to_json(None))
        return document


def report_schema() -> dict[str, Any]:
    """JSON Schema of the report."""
    return Report.model_json_schema(by_alias=True, mode="serialization")

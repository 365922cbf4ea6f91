"""Pipeline: the only place that knows the order of the rooms. In: events in any order. Out: Scored. Learns on the way.

At each event: advance the watermark; mature and learn everything due, in (due time, position) order; then featurize,
score and hold. A function of (settings, seed, inputs): no clock, no I/O, one random stream per room.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stream_balance.core.balance.generated import Generated
from stream_balance.core.balance.strategy import Strategy
from stream_balance.core.delay import DelayedLabels
from stream_balance.core.digest import Digest, Trail
from stream_balance.core.drift import Change, DriftWatch
from stream_balance.core.features import Featurizer
from stream_balance.core.join import Joiner
from stream_balance.core.lru import Share
from stream_balance.core.oracle import Oracle
from stream_balance.core.order import BEGINNING_US, Reorder
from stream_balance.core.panel import Panel
from stream_balance.core.ranking import Exposure, Ranking
from stream_balance.core.records import HEAD, TAIL, Event, Examples, FeatureValue, Floats, Purchase, Scored, Search
from stream_balance.core.reliability import reliability
from stream_balance.core.report import EventCounts, ExampleCounts, Report, Samples, Thresholds, Throughput, Training
from stream_balance.core.retrain import Fits, Retrain
from stream_balance.core.scorecard import Scorecard
from stream_balance.core.settings import CoreSettings
from stream_balance.core.tiers import Tiers
from stream_balance.core.training_rows import Moment
from stream_balance.errors import SettingsError

FAR_FUTURE_US = 2**62


class Pipeline:
    """Events in, predictions out; learns from what matures. Its state is the service's state.

    `class_names[0]` means "no outcome". `delay_rows` is only for labelled tables, which bypass order and join.
    """

    def __init__(
        self, settings: CoreSettings, seed: int, class_names: tuple[str, ...], *, delay_rows: int | None = None
    ) -> None:
        if delay_rows is not None and settings.target.objective == "ndcg_at_10":
            raise SettingsError(
                "target.objective: 'ndcg_at_10' measures the order of a search's items, and rows of a table have none. "
                "Choose 'average_precision', 'gmean' or 'normalised_entropy'."
            )
        self.settings = settings
        self.seed = seed
        self.class_names = class_names
        classes = len(class_names)
        self.reorder = Reorder(settings.order)
        self.featurizer = Featurizer(settings.features)
        self.tiers = Tiers(settings.tiers)
        self.joiner = Joiner(settings.join, settings.order.disorder_max_s)
        self.delay = DelayedLabels(delay_rows) if delay_rows is not None else None
        self.panel = Panel(settings, classes, seed, lambda room: random_stream(seed, room))
        self.drift = DriftWatch(settings.drift)
        self._generated: Strategy | None = None  # the first of those that learn the GAN's rows
        self.retrain = self._make_retrain()
        self._start_metrics()
        self.events = {"search": 0, "purchase": 0}
        self.bad: dict[str, int] = {}
        self.frozen = False
        self._frozen_version = 0
        self._trail = Trail()
        self._share = Share(settings.join.shared_max)

    def _make_retrain(self) -> Retrain | None:
        """The GAN's room, only where a strategy learns its rows."""
        parts = [(each, part) for each in self.panel.members for part in each.strategy.parts()]
        taught = [(each, part) for each, part in parts if isinstance(part, Generated)]
        if not taught:
            return None
        first = taught[0][0]
        retrain = Retrain(self.settings.gan, self.seed, first.pair.model, self.class_names)
        for _, part in taught:
            part.pool = retrain.pool
        self._generated = first.strategy
        return retrain

    def attach(self, fits: Fits) -> None:
        """Hand in who runs fits and trainings; open requests are asked again. Without, fits run here, and every
        training is refused.
        """
        self.panel.attach(fits)
        if self.retrain is not None:
            self.retrain.attach(fits)

    def _start_metrics(self) -> None:
        classes = len(self.class_names)
        self.scorecard = Scorecard(self.settings.metrics, classes, self.class_names)
        self.ranking = Ranking(self.settings.metrics)
        self.exposure = Exposure(self.settings.metrics)
        self.oracle = Oracle(self.settings.metrics)

    # -- events

    def push(self, event: Event, content: bytes = b"", between: Callable[[], None] = lambda: None) -> list[Scored]:
        """Take one event; return the searches that were scored because of it (none or one without a disorder).

        `between` is called wherever a look finds every arm whole: after an arm has learned a matured search.
        """
        return self._take_all(self.reorder.push(event, content), between)

    def run_out(self) -> list[Scored]:
        """Let event time run on until nothing is held: the reorder buffer, then every label."""
        scored = self._take_all(self.reorder.drain())
        self._mature(self.joiner.mature(FAR_FUTURE_US))
        if self.delay is not None:
            self._mature(self.delay.mature(None))
        self._catch_up()
        return scored

    def _catch_up(self) -> None:
        """What waits to be learned is learned."""
        if not self.frozen:
            self.panel.catch_up(self.featurizer.columns, self._trail)

    def count_bad(self, reason: str) -> None:
        """A record that could not be read: it touches nothing but this counter."""
        self.bad[reason] = self.bad.get(reason, 0) + 1

    def _take_all(
        self, released: Iterable[tuple[Event, bool]], between: Callable[[], None] = lambda: None
    ) -> list[Scored]:
        taken = (self._take(event, between) for event, _ in released)
        return [scored for scored in taken if scored is not None]

    def _take(self, event: Event, between: Callable[[], None]) -> Scored | None:
        self._count(event)
        self._mature(self.joiner.mature(event.ts_us), between)  # the joiner keeps the largest
        if self.joiner.is_duplicate(event):
            return None
        if isinstance(event, Purchase):
            self.joiner.match(event)
            self.featurizer.observe_purchase(event)
            return None
        values = self.featurizer.featurize(event)
        scored = self._score(event, values, self.tiers.stamp(event.item_ids))
        self.joiner.hold(scored)
        return scored

    def _count(self, event: Event) -> None:
        self.events["purchase" if isinstance(event, Purchase) else "search"] += 1
        limit = self.settings.freeze_after_events
        if limit is not None and not self.frozen and sum(self.events.values()) > limit:
            self.frozen = True
            self.panel.version += 1  # so that what is scored from here on is told from what was scored before
            self._frozen_version = self.panel.version
            self._start_metrics()
            self.panel.standings.begin()
        if self.retrain is not None and not self.frozen and self.retrain.is_due(sum(self.events.values())):
            self._retrain(self.retrain, event.ts_us)

    def _retrain(self, retrain: Retrain, now_us: int) -> None:
        assert self._generated is not None, "where there is a GAN, a strategy learns its rows"
        recent, times = self.panel.recent, self._generated.multipliers()
        rare = [label for label, each in enumerate(times) if each > min(times)]
        events, alarms, columns = sum(self.events.values()), sum(self.drift.counts.values()), self.featurizer.columns
        retrain.turn(Moment(events, now_us, alarms, recent.window, columns, recent.rates.shares(), rare))

    # -- labelled rows

    def push_row(self, row: Search, label: int) -> Scored:
        """Take one row of a labelled table: a search of one item whose label comes `delay_rows` rows later."""
        if self.delay is None:
            raise AssertionError("labelled rows need a pipeline with delay_rows")
        self._count(row)
        self._mature(self.delay.mature(self.delay.counts.taken))
        values = self.featurizer.featurize(row)
        scored = self._score(row, values, self.tiers.stamp(row.item_ids))
        self.delay.hold(scored, label)
        if self.delay.delay_rows == 0:
            self._mature(self.delay.mature(self.delay.counts.taken))
        return scored

    # -- scoring and learning

    def _score(self, search: Search, values: Floats, tiers: bytes) -> Scored:
        said = self.panel.score(values, tiers, self.featurizer.columns)
        block = Scored.sealed(said.beside(values), search.ts_us, self.panel.version)
        self._trail.add_bytes(block + said.said)
        # What is held by the million is held once.
        positions = self._share.of(search.positions)
        item_ids = search.item_ids if len(search.item_ids) > 1 else self._share.of(search.item_ids)
        return Scored(
            search.event_id,
            search.user_id,
            item_ids,
            positions,
            tiers,
            values.shape[1],
            block,
            search.truths,
            said.said,
        )

    def look(self, search: Search) -> tuple[Floats, Floats]:
        """What would be said of a search if it came now: probability (n, C-1) and threshold (n,). Changes nothing."""
        values = self.featurizer.look(search)
        return self.panel.look(values, self.tiers.look(search.item_ids), self.featurizer.columns)

    def _mature(self, matured: Iterable[Examples], between: Callable[[], None] = lambda: None) -> None:
        for examples in matured:
            measured = not self.frozen or examples.scored.model_version == self._frozen_version
            if measured:
                self.scorecard.score(examples)
                self.ranking.score(examples)
                self.exposure.score(examples)
                self.oracle.score(examples)
            if not self.frozen:
                losses = self.panel.learn(examples, self.featurizer.columns, self._trail, between)
                changes = self.drift.observe(losses, examples.labels, examples.scored.ts_us)
                if changes:
                    self._changed(changes)
            self.panel.measure(examples, measured=measured, learned=not self.frozen)
            between()

    def _changed(self, changes: Iterable[Change]) -> None:
        """Drift alarms: all arms run; where the past is out of date, windows forget it and the target begins anew."""
        self.panel.alarm()
        for change in changes:
            if self.drift.is_reason_to_forget(change):
                self.drift.note(change, self.panel.forget(change.kept_rows, self.settings.drift.keep_min))

    # -- telling

    def reached(self) -> tuple[int | None, int]:
        """Event time reached, in microseconds (None before the first event), and the version of the model."""
        watermark_us = self.reorder.watermark_us
        return (watermark_us if watermark_us > BEGINNING_US else None), self.panel.version

    @property
    def examples_in(self) -> int:
        """Impressions scored so far."""
        return self.joiner.counts.in_ if self.delay is None else self.delay.counts.taken

    def vitals(self) -> dict[str, Any]:
        """What an operator watches and no report compares: event time, memory held, what went beyond which bound."""
        features, order = self.featurizer.report(), self.reorder
        watermark_us, model_version = self.reached()
        columns, withheld = features.pop("columns"), features.pop("withheld")
        return {
            "watermark_us": watermark_us,
            "held_bytes": self.joiner.held_bytes(),
            "reorder_held": len(order),
            "feature_columns": columns,
            "features_withheld": withheld,
            "model_version": model_version,
            "reliability": reliability(*self.scorecard.window_outcomes()),
            "beyond_bounds": {
                **features,
                "reorder_forced": order.forced,
                "outcomes_forgotten": self.joiner.counts.forgotten,
                "tier_items_forgotten": self.tiers.items_forgotten,
                "shared_forgotten": self._share.forgotten,
            },
        }

    def report(
        self,
        *,
        digest: bool = True,
        settings: dict[str, Any] | None = None,
        versions: dict[str, str] | None = None,
        throughput: dict[str, float] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> Report:
        """All counters and figures now. What the core cannot know (settings, versions, speed) is handed in.

        It takes a tenth of a second; `between` is called every few milliseconds of it.
        """
        threshold, binary = self.panel.threshold, len(self.class_names) == 2
        arms, lift = self.panel.figures(between)
        metrics = self.scorecard.metrics(between)
        ranking = self.ranking.metrics()
        exposure = self.exposure.metrics(between)
        return Report(
            events=EventCounts(**self.events, bad=dict(sorted(self.bad.items()))),
            examples=self._example_counts(),
            metrics=metrics,
            ranking=ranking,
            exposure=exposure,
            training=self._training(),
            arms=tuple(arms),
            mixture=self.panel.standings.mixed(self.panel.pairs),
            lift=lift,
            target=self.panel.standings.target(),
            threshold=Thresholds(head=threshold.value(HEAD), tail=threshold.value(TAIL)) if binary else None,
            drift=self.drift.metrics(),
            gan=self.retrain.metrics(self.reorder.watermark_us) if self.retrain is not None else None,
            oracle=self.oracle.metrics(),
            throughput=Throughput(**throughput) if throughput is not None else None,
            state_digest=self.state_digest() if digest else None,
            settings=settings or {},
            seed=self.seed,
            versions=versions or {},
        )

    def _example_counts(self) -> ExampleCounts:
        if self.delay is not None:
            rows = self.delay.counts
            return ExampleCounts(
                **{"in": rows.taken}, held=self.delay.held, matured=rows.matured, positive=rows.positive
            )
        counts = self.joiner.counts
        return ExampleCounts(
            **{"in": counts.in_}, held=counts.held, matured=counts.matured, positive=counts.positive,
            dropped=dict(counts.dropped), label_known=counts.label_known, orphans=counts.orphans,
            late=self.reorder.late, duplicates=counts.duplicate_search + counts.duplicate_purchase,
        )  # fmt: skip

    def _training(self) -> Training:
        panel, samples = self.panel, self.panel.samples()
        return Training(
            samples=Samples(**samples),
            per_impression=sum(samples.values()) / panel.examples if panel.examples else None,
            positive_share=panel.positive_share(),
            target_share=panel.target_share(),
            by_class=dict(zip(self.class_names, panel.by_class(), strict=True)),
            abstentions=panel.abstentions,
        )

    def state_digest(self) -> str:
        """SHA-256 of the whole state and of every prediction and learned sample so far."""
        digest = Digest()
        digest.add(self._trail.hex())
        digest.add([self.events, dict(sorted(self.bad.items())), self.reorder.late, self.frozen])
        rooms: Mapping[str, object] = {
            "order": self.reorder.digest_state(),
            "features": self.featurizer.digest_state(),
            "tiers": self.tiers.digest_state(),
            "join": self.joiner.digest_state(),
            "delay": self.delay.digest_state() if self.delay is not None else None,
            "panel": self.panel.digest_state(),
            "drift": self.drift.digest_state(),
            "retrain": self.retrain.digest_state() if self.retrain is not None else None,
            "scorecard": self.scorecard.digest_state(),
            "ranking": self.ranking.digest_state(),
            "exposure": self.exposure.digest_state(),
            "oracle": self.oracle.digest_state(),
        }
        for name, state in rooms.items():
            digest.add(name)
            digest.add(state)
        return digest.hex()


def row_as_search(index: int, ts_us: int, features: Mapping[str, FeatureValue]) -> Search:
    """A row of a table as a search of one item, so that it goes the way of every impression."""
    name = f"row-{index}"
    return Search(name, ts_us, name, ("row",), (1,), (None,), (None,), (features,))


def random_stream(seed: int, room: str) -> random.Random:
    """The one random stream of a room, the same on every machine."""
    return random.Random(hashlib.sha256(f"{seed}/{room}".encode()).digest())

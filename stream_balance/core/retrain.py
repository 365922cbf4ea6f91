"""Retrain: when new rows are asked for, and where they enter. In: moments, answers. Out: releases in the pool.

At most one request is open. It is complete, and its answer enters at a fixed number of events after it, whenever the
child was done: a replay comes to the same state, and whoever restores the state can ask again. After refusals the next
request waits longer, and the second one in a row for want of quality throws the weights away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pydantic import PositiveFloat, PositiveInt

from stream_balance.core.gan_report import Gan, GanGain, GanOutcome, GanRequest, GanVetting
from stream_balance.core.pool import Pool
from stream_balance.core.synthesis import (
    BREACHES,
    NO_WEIGHTS,
    TOO_FEW_ROWS,
    RecipeSettings,
    Refusal,
    Release,
    Spent,
    TrainingSet,
    Vetting,
    outcome_from_bytes,
)
from stream_balance.core.training_rows import Moment, has_rows, training_set

KIND = "gan"
OF_QUALITY = {"inconclusive", "harm"}  # rows that pass for real ones, and bring nothing
SPENT = "privacy_budget"  # after it a class is never trained again


class GanSettings(RecipeSettings):
    """The recipe, and the policy: when a training is asked for, when its rows enter, how long they serve."""

    swap_after_events: PositiveInt = 50_000  # a release enters so many events after its request
    retrain_events: PositiveInt = 100_000  # the next request comes so many events after the one before
    retrain_age_s: PositiveFloat = 86_400.0  # or after so much event time
    on_drift: bool = True  # or after a drift alarm
    release_age_s: PositiveFloat = 3 * 86_400.0  # an older release leaves the pool
    check_events: PositiveInt = 500  # the policy is asked once in so many events
    backoff_max: PositiveInt = 8  # after r refusals in a row the wait is 2^r times as long, at most this
    cold_after: PositiveInt = 2  # refusals of quality in a row after which training begins from new weights
    history_max: PositiveInt = 50  # latest outcomes that are kept for the report

    def recipe(self) -> RecipeSettings:
        """What goes with a request."""
        return RecipeSettings(**{name: getattr(self, name) for name in RecipeSettings.model_fields})


class Fits(Protocol):
    """Runs the trainings."""

    def submit(self, kind: str, request: bytes) -> Any:
        """Start one; returns a ticket."""
        ...

    def take(self, ticket: Any) -> bytes | None:
        """The result of a ticket, waited for; None where there is none."""
        ...

    def enters(self, ticket: Any, events: int) -> bool:
        """Whether a ticket's result enters at this number of events already; asked at each look, in their order."""
        ...

    def why(self, ticket: Any) -> str:
        """A word for why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What the child works on: all it needs, why it was asked for, and where its answer enters."""

    content: bytes
    label: int
    reason: str
    asked_at: int
    asked_us: int
    enters_at: int


@dataclass(slots=True)
class _Lane:
    """What is known of one class."""

    asked_at: int | None = None
    asked_us: int = 0
    alarms: int = 0
    refusals: int = 0  # in a row
    poor: int = 0  # refusals for want of quality, in a row
    weights: bytes = NO_WEIGHTS
    spent: Spent = ()  # by private trainings
    epsilon: float | None = None
    last: Release | Refusal | None = None


class Retrain:
    """Asks, waits, adopts. Its pickle holds the open request in full; `attach` asks it again.

    `model` is the live model's name, for the shadow test.
    """

    def __init__(self, settings: GanSettings, seed: int, model: str, class_names: Sequence[str]) -> None:
        self.settings = settings
        self.pool = Pool(settings.release_age_s)
        self.request: OpenRequest | None = None
        self.requests = self.releases = 0
        self.refusals: dict[str, int] = {}
        self.history: deque[GanOutcome] = deque(maxlen=settings.history_max)
        self._class_names = tuple(class_names)
        self._seed, self._model = seed, model
        self._lanes: dict[int, _Lane] = {}
        self._next_check = settings.check_events
        self._now_us = 0
        self._fits: Fits | None = None
        self._ticket: Any = None

    @property
    def model(self) -> str:
        """The name of the model that the shadow test makes, wherever a training runs."""
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        """Without what the world holds."""
        return self.__dict__ | {"_fits": None, "_ticket": None}

    def attach(self, fits: Fits) -> None:
        """From now on this one runs the trainings; an open request is asked again."""
        self._fits = fits
        self._ticket = None if self.request is None else fits.submit(KIND, self.request.content)

    def is_due(self, events: int) -> bool:
        """Whether `turn` would do anything at this number of events."""
        return events >= self._next_check or (self.request is not None and events >= self.request.enters_at)

    def turn(self, moment: Moment) -> None:
        """Let an answer enter and ask for the next, where it is time."""
        self._now_us = max(self._now_us, moment.now_us)  # an event may be late
        is_look = moment.events >= self._next_check
        if self.request is not None and (moment.events >= self.request.enters_at or (is_look and self._early(moment))):
            self._enter(self.request, moment)
        if not is_look:
            return
        self._next_check = moment.events + self.settings.check_events
        self.pool.expire(self._now_us)
        if self.request is None:
            self._ask(moment)

    # -- asking

    def _ask(self, moment: Moment) -> None:
        """The class that has waited longest goes first."""
        lanes = [(self._lanes.setdefault(label, _Lane()), label) for label in moment.rare]
        for lane, label in sorted(lanes, key=lambda each: (each[0].asked_at or 0, each[1])):
            reason = self._reason(lane, label, moment)
            is_spent = isinstance(lane.last, Refusal) and lane.last.reason == SPENT
            if reason is None or is_spent or not has_rows(moment, label, self.settings):
                continue
            seed = (self._seed + self.requests) % 2**31
            wanted = training_set(moment, label, self.settings.recipe(), self._model, seed, lane.weights, lane.spent)
            content = wanted.to_bytes()
            lane.asked_at, lane.asked_us, lane.alarms = moment.events, self._now_us, moment.alarms
            enters_at = moment.events + self.settings.swap_after_events
            self.request = OpenRequest(content, label, reason, moment.events, self._now_us, enters_at)
            self.requests += 1
            self._ticket = None if self._fits is None else self._fits.submit(KIND, content)
            return

    def _reason(self, lane: _Lane, label: int, moment: Moment) -> str | None:
        """Why a class needs a training now; None if it does not."""
        if lane.asked_at is None:
            return "first"
        settings = self.settings
        wait = min(2**lane.refusals, settings.backoff_max)
        if moment.events - lane.asked_at >= settings.retrain_events * wait:
            return "events"
        if self._now_us - lane.asked_us >= settings.retrain_age_s * 1e6 * wait:
            return "age"
        # An alarm and an empty pool do not end a wait after refusals.
        if lane.refusals:
            return None
        if settings.on_drift and moment.alarms > lane.alarms:
            return "drift"
        return "stale" if self.pool.release(label) is None else None

    # -- entering

    def _early(self, moment: Moment) -> bool:
        return self._fits is not None and self._fits.enters(self._ticket, moment.events)

    def _enter(self, request: OpenRequest, moment: Moment) -> None:
        outcome = self._outcome(request)
        self.request = self._ticket = None
        lane = self._lanes[request.label]
        lane.last = outcome
        lane.weights = outcome.weights or lane.weights
        if outcome.epsilon is not None:
            lane.spent, lane.epsilon = outcome.spent, outcome.epsilon
        if isinstance(outcome, Release):
            lane.refusals = lane.poor = 0
            self.releases += 1
            self.pool.adopt(outcome, request.asked_us)
        else:
            # Too few rows are waited for as they come; a failure is not repeated so soon.
            lane.refusals += outcome.reason != TOO_FEW_ROWS
            # Rows that bring nothing are no reason to forget how they are made; a child that was killed says nothing.
            if outcome.reason in BREACHES:
                lane.poor += 1
            elif outcome.reason in OF_QUALITY:
                lane.poor = 0
            self.refusals[outcome.reason] = self.refusals.get(outcome.reason, 0) + 1
            if lane.poor >= self.settings.cold_after:
                lane.weights, lane.poor = NO_WEIGHTS, 0
        self.history.append(told(moment.events, request, outcome, self._class_names[request.label]))

    def _outcome(self, request: OpenRequest) -> Release | Refusal:
        label = request.label
        if self._fits is None:
            return Refusal(label, "no_trainer", "nobody was there to train")
        result = self._fits.take(self._ticket)
        if result is None:
            return Refusal(label, self._fits.why(self._ticket), "the child process gave no answer")
        try:
            outcome = outcome_from_bytes(result)
            told(request.enters_at, request, outcome, "")  # figures that the report could not take
        except ValueError as error:
            return Refusal(label, "garbage", str(error))
        if outcome.label != label:
            return Refusal(label, "garbage", f"rows of class {outcome.label} were made, {label} was asked for")
        width = TrainingSet.from_bytes(request.content).rows.shape[1]
        if isinstance(outcome, Release) and outcome.rows.shape[1] != width:
            said = f"rows of {outcome.rows.shape[1]} columns were made, {width} were asked for"
            return Refusal(label, "garbage", said)
        return outcome

    # -- telling

    def metrics(self, now_us: int) -> Gan:
        """The report's `gan` at this event time, or that of the last look if it is later: a table has no watermark."""
        request, names, now_us = self.request, self._class_names, max(now_us, self._now_us)
        return Gan(
            requests=self.requests, releases=self.releases, refusals=dict(sorted(self.refusals.items())),
            expired=self.pool.expired, pool=self.pool.metrics(now_us, names), history=tuple(self.history),
            epsilon={names[c]: lane.epsilon for c, lane in sorted(self._lanes.items()) if lane.epsilon is not None},
            last=self.history[-1] if self.history else None,
            open=None if request is None else GanRequest(
                label=names[request.label], asked_for=request.reason, asked_at=request.asked_at,
                enters_at=request.enters_at,
            ),
        )  # fmt: skip

    def last(self, label: int) -> Release | Refusal | None:
        """The last outcome for a class, with its curve and all its numbers."""
        lane = self._lanes.get(label)
        return None if lane is None else lane.last

    def digest_state(self) -> object:
        """Counters, waits, weights, the open request in full, and the pool."""
        request = self.request
        return [
            self.requests, self.releases, dict(sorted(self.refusals.items())), self._next_check, self._now_us,
            [
                [c, lane.asked_at, lane.asked_us, lane.alarms, lane.refusals, lane.poor, lane.weights, lane.spent]
                for c, lane in sorted(self._lanes.items())
            ],
            None if request is None else [
                request.content, request.label, request.reason, request.asked_at, request.asked_us, request.enters_at
            ],
            self.pool.digest_state(),
        ]  # fmt: skip


def told(position: int, request: OpenRequest, outcome: Release | Refusal, class_name: str) -> GanOutcome:
    """An outcome as the report has it."""
    released = isinstance(outcome, Release)
    vettings = (*outcome.others, outcome.vetting) if isinstance(outcome, Release) else outcome.others
    return GanOutcome(
        position=position, label=class_name, asked_for=request.reason, warm=outcome.warm,
        early=position < request.enters_at, epsilon=outcome.epsilon,
        outcome="release" if released else "refusal",
        reason=outcome.vetting.reason if isinstance(outcome, Release) else outcome.reason,
        vettings=tuple(_told(vetting) for vetting in vettings),
    )  # fmt: skip


def _told(vetting: Vetting) -> GanVetting:
    quality = vetting.quality
    return GanVetting(
        maker=vetting.maker, verdict=vetting.verdict, reason=vetting.reason, share=vetting.share, c2st=quality.c2st,
        coverage=quality.coverage, dcr_share=quality.dcr_share, marginal=quality.marginal,
        pairwise_max=quality.pairwise_max, pairs_lost=quality.pairs_lost,
        gains=tuple(GanGain(**asdict(g)) for g in vetting.gains),
    )  # fmt: skip

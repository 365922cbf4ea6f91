"""Panel: arms side by side, and one answer. In: rows to score, matured examples. Out: what is served.

Several arms: the weighted mean of their calibrated log odds (or the champion's), calibrated once more, is served: where
the arms disagree, a mean of log odds is below the mean of what they say, so too low for rare outcomes (and too little
sure of itself: Ranjan & Gneiting, "Combining probability forecasts", 2010). One arm: what it says, as if there were no
panel. References are asked and taught like arms, but nothing of them is served: `none`, the same
models without balancing, and River's plain logistic regression. All learn the same rows, of which one window is kept;
each is calibrated, weighed and measured by what it said when the search arrived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from struct import Struct
from typing import Any, Protocol, TypeVar

import numpy as np

from stream_balance.core.arm import Arm, Drawn, Recent, share_encoding
from stream_balance.core.arm_report import ArmFigures, Lift
from stream_balance.core.calibrate import make_base_rate, make_last
from stream_balance.core.digest import Trail
from stream_balance.core.gather import Gather, Patience, worth_learning
from stream_balance.core.lineup import DEFAULT_ARMS, RIVER_LOGISTIC, Pair, chosen
from stream_balance.core.odds import logits
from stream_balance.core.rates import Rates, RateWatch
from stream_balance.core.records import ORIGINS, TIERS, Arrivals, Columns, Examples, Floats, Scored, fitted
from stream_balance.core.said import Layout, against_rest, calibrated_odds, losses_at, odds_of, probability_of
from stream_balance.core.settings import CoreSettings
from stream_balance.core.settling import Settling
from stream_balance.core.standings import Standings
from stream_balance.core.threshold import Threshold
from stream_balance.core.window import Window

V = TypeVar("V", float, Floats)


class Fits(Protocol):
    """Runs fits elsewhere; see `core/arms/window_booster`."""

    def submit(self, kind: str, request: bytes) -> Any:
        """Start a fit; returns a ticket."""
        ...

    def take(self, ticket: Any) -> bytes | None:
        """The result of a ticket, waited for."""
        ...


_FIGURES = Struct("ddd")  # of a row in `Scored.block`, behind its features


@dataclass(frozen=True, slots=True)
class Answer:
    """Of n rows: the learners' own word, the served probabilities, and thresholds, side by side, (n, 2 (C-1) + 1), as
    they stand in `Scored.block`, of an only row of two classes three floats; and `Scored.said`.
    """

    figures: Floats | tuple[float, float, float]
    said: bytes

    def abstained(self) -> int:
        """Rows of which nothing was said."""
        if isinstance(self.figures, tuple):
            return int(math.isnan(self.figures[0]))
        return int(np.count_nonzero(np.isnan(self.figures[:, 0])))

    def beside(self, values: Floats) -> bytes:
        """Features, (n, d), and the figures beside them, row after row."""
        if isinstance(self.figures, tuple):
            return values.tobytes() + _FIGURES.pack(*self.figures)
        return np.concatenate((values, self.figures), axis=1).tobytes()


class Panel:
    """The arms that the settings name, and the references. `stream(room)` makes the random stream of a room.

    `members` are the arms, then the references that are not among them. `version` grows with each sample that an arm
    learns.
    """

    def __init__(self, settings: CoreSettings, classes: int, seed: int, stream: Callable[[str], Random]) -> None:
        self.classes = classes
        tiers = [Rates(settings.rates, classes) for _ in TIERS] if settings.balance.by_tier else []
        base_rate = make_base_rate(settings.calibrate, classes)
        self.recent = Recent(Rates(settings.rates, classes), Window(settings.window), tiers, base_rate)
        self.threshold = Threshold(settings.threshold)
        self.pairs: list[Pair] = list(chosen(settings.arms, settings.balance.strategy, settings.model.name))
        self.arms = len(self.pairs)
        unbalanced: list[int] = []
        logistic = None
        if settings.arms.references:
            unbalanced = sorted({self._place(pair.plain()) for pair in self.pairs[: self.arms]})
            logistic = self._place(RIVER_LOGISTIC)
        self._unbalanced = unbalanced
        # Whom no mixture asks for: an only arm, and the reference that is none of ours.
        self._always = [] if logistic is None else [0, logistic] if self.arms == 1 else [logistic]
        wrapped = settings.model.one_vs_rest or self.pairs[: self.arms] == list(DEFAULT_ARMS)
        self.members = [
            Arm(
                pair, settings, classes, seed, stream("arm" if place == 0 else f"arm/{pair.name}"), self.recent,
                one_vs_rest=wrapped or place >= self.arms,
            )
            for place, pair in enumerate(self.pairs)
        ]  # fmt: skip
        self._encoder = share_encoding(self.members)
        self._layout = Layout(len(self.members), classes, alone=self.arms == 1, none_mixes=len(unbalanced) > 1)
        sure_early = [place for place, member in enumerate(self.members) if getattr(member.model, "sure_early", False)]
        champion = next((place for place in range(self.arms) if self.members[place].speaks_everywhere), 0)
        self.standings = Standings(settings, self._layout, self.arms, unbalanced, logistic, sure_early, champion)
        # The last word on what a mixture says: that of the arms, that of `none`.
        mixtures = (self.arms > 1) + (self.standings.none_mixture is not None)
        self._last = [make_last(settings.calibrate, classes, base_rate) for _ in range(mixtures)]
        self._patience = Patience(settings.calibrate.block_rows)
        self._rate_watch = RateWatch(classes)
        self._settling = Settling()
        self._uncalibrated: Gather[Examples] = Gather()  # not yet learned by the calibrators
        self._untaught: Gather[Arrivals] = Gather()  # nor by the members that nothing balances
        self._plain = [member for member in self.members if not member.balances]
        self.version = 0
        self.abstentions = 0
        self.examples = 0

    def _place(self, pair: Pair) -> int:
        """Of a pair among the members, at their end if it is new."""
        if pair not in self.pairs:
            self.pairs.append(pair)
        return self.pairs.index(pair)

    @property
    def window(self) -> Window:
        """The latest real rows, by class and tier."""
        return self.recent.window

    def attach(self, fits: Fits) -> None:
        """From now on this one runs the fits of the members that have any."""
        for member in self.members:
            attach = getattr(member.model, "attach", None)
            if attach is not None:
                attach(fits)

    # -- serving

    def score(self, values: Floats, tiers: bytes, columns: Columns) -> Answer:
        """What is said of n rows now, by all; abstentions count."""
        raw, own = self._ask(len(self.members), values, tiers, columns)
        answer = self._answer(raw, own, tiers)
        self.abstentions += answer.abstained()
        return answer

    def look(self, values: Floats, tiers: bytes, columns: Columns) -> tuple[Floats, Floats]:
        """Served probabilities, (n, C-1), and thresholds, (n,), of rows as they would be now; nothing is counted."""
        raw, own = self._ask(self.arms, values, tiers, columns)
        served = own[0] if self.arms == 1 else self._last[0].apply(self._mixed(calibrated_odds(raw, own), tiers), tiers)
        return np.reshape(served, (len(tiers), -1)), self._thresholds(tiers)

    def _ask(self, members: int, values: Floats, tiers: bytes, columns: Columns) -> tuple[list[Any], list[Any]]:
        """Own and calibrated probabilities of the first members, NaN of one that is paused: (n, C-1) each, of an only
        row of two classes a float each.
        """
        single = len(tiers) == 1 and self.classes == 2
        nothing = math.nan if single else np.full((len(tiers), self.classes - 1), np.nan)
        said = [
            member.look(values, tiers, columns) if runs else (nothing, nothing)
            for member, runs in zip(self.members[:members], self._running()[:members], strict=True)
        ]
        return [raw for raw, _ in said], [own for _, own in said]

    def _running(self) -> list[bool]:
        """Which members are asked and taught: whom one of the mixtures that they are in wants."""
        standings, places = self.standings, self._unbalanced
        if not places:  # no references
            return standings.mixture.running if self.arms > 1 else [True]
        found = [*standings.mixture.running, *[False] * (len(self.members) - self.arms)]
        none = standings.none_mixture
        for place, runs in zip(places, [True] * len(places) if none is None else none.running, strict=True):
            found[place] |= runs
        for place in self._always:
            found[place] = True
        return found

    def _answer(self, raw: list[V], own: list[V], tiers: bytes) -> Answer:
        said, word, probability = b"", raw[0], own[0]
        none: list[V] = []
        if len(self.members) > 1:
            words, odds = [logits(each) for each in raw], calibrated_odds(raw, own)
            if self.standings.none_mixture is not None:
                unbalanced = [odds[place] for place in self._unbalanced]
                mixed = against_rest(self.standings.none_mixture.combine(unbalanced, tiers))
                none = [odds_of(self._last[-1].apply(mixed, tiers))]
            if self.arms > 1:
                word = self._mixed_words(raw, words, tiers)
                probability = self._last[0].apply(self._mixed(odds, tiers), tiers)
            said = self._layout.kept(words, odds, none)
        if isinstance(word, float):
            return Answer((word, probability, self.threshold.value(tiers[0])), said)
        return Answer(np.concatenate((word, probability, self._thresholds(tiers)[:, None]), axis=1), said)

    def _mixed(self, odds: list[V], tiers: bytes) -> V:
        """What the arms say together, before the last calibration: log odds against the rest; NaN where none speaks."""
        return against_rest(self.standings.mixture.combine(odds[: self.arms], tiers))

    def _thresholds(self, tiers: bytes) -> Floats:
        by_tier = np.array([self.threshold.value(tier) for tier in range(len(TIERS))])
        found: Floats = by_tier[np.frombuffer(tiers, dtype=np.uint8)]
        return found

    def _mixed_words(self, raw: list[V], words: list[V], tiers: bytes) -> V:
        """The weighted mean of the arms' own words, uncalibrated; where none speaks, NaN. Their log odds against the
        rest are, of two classes, those against class 0.
        """
        odds = words[: self.arms] if self.classes == 2 else [odds_of(each) for each in raw[: self.arms]]
        return probability_of(self.standings.mixture.mean(odds, tiers))

    # -- learning

    def learn(
        self, examples: Examples, columns: Columns, trail: Trail, between: Callable[[], None] = lambda: None
    ) -> list[float]:
        """Learn from one matured search; return the log-loss of each served probability.

        `between` is called after each member has been calibrated, and after each has learned: each can be asked then,
        and `version` tells how far they are.
        Searches of few rows wait, in a panel of several arms, until some have come together, for the members that
        nothing balances: a matrix of sixteen rows costs them little more than one of a row. The encoder that some share
        has seen those before all of them: who has not learned them yet reads a row by moments newer than its weights.
        """
        scored, labels = examples.scored, examples.labels
        if self._settling.is_stale(version := scored.model_version) and version != self.version:
            examples = replace(examples, scored=self._again(scored, columns))
        self._uncalibrated.add(examples)
        if self._patience.has_enough(labels):
            self._calibrate(between)
        arrivals = scored.arrivals(labels)
        self.threshold.observe(arrivals.probability, labels, scored.tiers)
        self.examples += len(labels)
        between()
        if self._plain:
            self._untaught.add(arrivals)
            if self.arms == 1 or worth_learning(len(self._untaught), self.examples):
                self.catch_up(columns, trail, between)
        if len(self._plain) < len(self.members):  # some balance
            for place, runs in enumerate(self._running()):
                if runs and self.members[place].balances:
                    self._train(place, arrivals, columns, trail)
                    between()
        self.recent.observe(arrivals, scored.ts_us)
        since = self._rate_watch.changed(labels)
        self._settling.learned(len(labels), self.version)
        if since is not None:
            self._settling.begin()
            for calibrator in (*(member.calibrator for member in self.members), *self._last):
                calibrator.begin_anew(since)
        return losses_at(arrivals.probability, labels)

    def _again(self, scored: Scored, columns: Columns) -> Scored:
        """With what the members say of it now, before they learn it, for the calibrators alone."""
        values = fitted(scored.values, len(columns))
        return self._layout.again(scored, self._ask(len(self.members), values, scored.tiers, columns)[0])

    def catch_up(self, columns: Columns, trail: Trail, between: Callable[[], None] = lambda: None) -> None:
        """The members that nothing balances learn the rows that wait for them, if any do."""
        if not self._untaught.waiting:
            return
        arrivals = _together(self._untaught.taken())
        if self._encoder is not None:  # whoever is paused
            self._encoder.learn(arrivals.values, columns)
        drawn = Drawn.as_they_came(arrivals, self.classes)
        trail.add_bytes(drawn.seal())
        for place, runs in enumerate(self._running()):
            if runs and not self.members[place].balances:
                self._train(place, arrivals, columns, trail, drawn)
                between()

    def _train(
        self, place: int, arrivals: Arrivals, columns: Columns, trail: Trail, drawn: Drawn | None = None
    ) -> None:  # fmt: skip
        member = self.members[place]
        before = member.version
        member.train(arrivals, columns, trail, drawn)
        if place < self.arms:
            self.version += member.version - before

    def _calibrate(self, between: Callable[[], None]) -> None:
        """Every calibrator, and the mixtures, learn what was said of the searches that wait.

        Arms are calibrated, weighed, and their mixture calibrated, one after the other; labels are late. So weights and
        the last calibration learn what the calibrations before them make of the arms' words *now*: from what they made
        of them then, each would put right what those have put right since.
        """
        waiting, first = self._uncalibrated.taken(), self._layout.first
        scored, labels = [each.scored for each in waiting], [label for each in waiting for label in each.labels]
        tiers = b"".join([each.tiers for each in scored])
        if first:
            self.members[0].calibrate(np.concatenate([each.raw for each in scored]), tiers, labels)
        if len(self.members) == first:
            return
        words = self._layout.read(scored).words.astype(np.float64)
        if self._last:
            now = [member.calibrated(word, tiers) for member, word in zip(self.members, words, strict=True)]
            mixed = self.standings.weigh(np.stack(calibrated_odds(list(words), now)), tiers, labels)
            between()
            for last, odds in zip(self._last, mixed, strict=True):
                last.learn_many(against_rest(odds), tiers, labels)
        for member, word in zip(self.members[first:], words, strict=True):
            member.calibrate(word, tiers, labels, as_logits=True)
            between()

    def measure(self, examples: Examples, *, measured: bool, learned: bool) -> None:
        """Weigh and measure a matured search; move the target if what came out asks for it."""
        control = self.standings.control
        if measured:
            self.standings.take(examples)
        if control is not None and learned and control.is_due():
            rare = min(self.window.size(label) for label in range(1, self.classes))
            self._aim(control.decide(rare, self.version))

    def forget(self, kept_rows: int, keep_min: int) -> int:
        """Windows keep the latest so many rows, and `keep_min` of each class; how many the common one let go.

        What was found out of the target share is as old as those rows: that begins anew too.
        """
        if self.standings.control is not None:
            self._aim(self.standings.control.alarm(self.version))
        for member in self.members:
            member.forget(kept_rows, keep_min)
        return self.window.forget(kept_rows, keep_min)

    def alarm(self) -> None:
        """The stream has changed: all arms run."""
        self.standings.alarm()

    def _aim(self, target: float | None) -> None:
        if target is not None:
            for arm in self.members[: self.arms]:
                arm.aim(target)

    # -- telling

    def samples(self) -> dict[str, int]:
        """Samples that the arms have learned, by origin."""
        return {origin: sum(arm.samples[origin] for arm in self.members[: self.arms]) for origin in ORIGINS}

    def by_class(self) -> list[int]:
        """Samples that the arms have learned, by class."""
        return [sum(counts) for counts in zip(*(arm.by_class for arm in self.members[: self.arms]), strict=True)]

    def positive_share(self) -> float | None:
        """Decayed share of outcomes among the samples learned lately, mean of the arms; None before the first."""
        known = [share for arm in self.members[: self.arms] if (share := arm.positive_share()) is not None]
        return sum(known) / len(known) if known else None

    def target_share(self) -> float:
        """What the share is aimed at, after clamps, mean of the arms."""
        return sum(arm.target_share() for arm in self.members[: self.arms]) / self.arms

    def figures(self, between: Callable[[], None] = lambda: None) -> tuple[list[ArmFigures], dict[str, Lift]]:
        """Of each member, and of what was served against the references; `between` is called after each."""
        return self.standings.figures(self.pairs, [sum(member.samples.values()) for member in self.members], between)

    def digest_state(self) -> object:
        """Every member's state, what they share, and the standings."""
        return [
            self.recent.rates.digest_state(), [each.digest_state() for each in self.recent.tiers],
            self.recent.window.digest_state(), self.threshold.digest_state(),
            self.version, self.abstentions, self.examples, [member.digest_state() for member in self.members],
            self.standings.digest_state(), [last.digest_state() for last in self._last],
            [[each.scored.event_id, list(each.labels)] for each in self._uncalibrated.waiting],
            [[each.values, list(each.labels), each.tiers] for each in self._untaught.waiting],
            self._rate_watch.digest_state(), self._settling.digest_state(),
        ]  # fmt: skip


def _together(several: Sequence[Arrivals]) -> Arrivals:
    """End to end, in rows as wide as the widest."""
    if len(several) == 1:
        return several[0]
    width = max(each.values.shape[1] for each in several)
    return Arrivals(
        np.concatenate([fitted(each.values, width) for each in several]),
        [label for each in several for label in each.labels],
        b"".join([each.tiers for each in several]),
        np.concatenate([each.probability for each in several]),
    )

"""Standings: which member of a panel counts how much, and how good each has been. In: what all said of matured
searches. Out: weights; figures by member; the lift over the references.

Weights follow every learned row; figures, brought up to date once `FOLD_ROWS` rows have come together, leave out rows
whose label was known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from stream_balance.core.arm_report import (
    ArmDecision,
    ArmFigures,
    ArmScope,
    Lift,
    MixtureFigures,
    TargetDecision,
    TargetFigures,
    TierFigures,
)
from stream_balance.core.comparison import Comparison, Rows, View
from stream_balance.core.gather import Gather
from stream_balance.core.lineup import Pair
from stream_balance.core.mixture import Mixture
from stream_balance.core.records import HEAD, TAIL, Examples, Floats, Scored
from stream_balance.core.said import Layout, Said, any_outcome, losses_of, odds_of
from stream_balance.core.settings import CoreSettings
from stream_balance.core.target import TargetControl
from stream_balance.errors import SettingsError

FOLD_ROWS = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A search to be measured: its rows where `measured`."""

    scored: Scored
    labels: Sequence[int]
    measured: Sequence[bool]

    def __len__(self) -> int:
        return len(self.labels)


class Standings:
    """Of the members the first `arms` are served; `unbalanced` make the reference `none`, `logistic` is River's, and
    those `sure_early` begin with a handicap, and `champion` is the first one.

    The answers that are compared: what was served (0), each arm (if there are several) and each other member, `none`
    if it mixes, and the own word of `logistic`, uncalibrated.
    """

    def __init__(
        self, settings: CoreSettings, layout: Layout, arms: int, unbalanced: Sequence[int], logistic: int | None,
        sure_early: Collection[int] = (), champion: int = 0,
    ) -> None:  # fmt: skip
        self.arms = arms
        self.mixture = Mixture(settings.mixture, arms, sure_early, champion)
        among = [place for place, member in enumerate(unbalanced) if member in sure_early]
        self.none_mixture = Mixture(settings.mixture, len(unbalanced), among) if layout.none_mixes else None
        self._settings = settings.comparison
        self._layout = layout
        self._unbalanced = list(unbalanced)
        self._logistic = logistic
        self._gather: Gather[_Waiting] = Gather()
        self._searches = 0
        self.control: TargetControl | None = None
        self.begin()
        if settings.target.objective != "fixed":
            if not self._place_of_none():
                raise SettingsError(
                    f"target.objective: {settings.target.objective!r} follows what balancing brings over none, so it "
                    "needs arms that balance, and arms.references. Choose a strategy, or target.objective = 'fixed'."
                )
            self.control = TargetControl(settings.target, settings.balance.target)

    def begin(self) -> None:
        """Figures begin anew."""
        layout = self._layout
        self._first_answer = 0 if layout.alone else 1  # of member 0: an only arm is what was served
        self._none_answer = self._first_answer + layout.members
        answers = self._none_answer + layout.none_mixes + (self._logistic is not None)
        self.comparison = Comparison(self._settings, answers)
        self._gather.taken()

    # -- taking

    def weigh(self, odds: Floats, tiers: bytes, labels: Sequence[int]) -> list[Floats]:
        """Of n matured rows the log odds of every member, (members, n, C-1), NaN = nothing, and labels. Returns what
        the mixtures made of them before they learned from them, log odds (n, C-1): that of the arms, if there are
        several, and that of `none`, if it is one.
        """
        outcomes, mixed = np.array(labels), []
        for mixture, places in self._mixtures():
            mine = odds[places]
            mixed.append(mixture.combine(list(mine), tiers))
            mixture.observe(mine, outcomes, tiers)
        return mixed

    def _mixtures(self) -> list[tuple[Mixture, list[int]]]:
        """Those there are, and the members that are in them."""
        arms = [(self.mixture, list(range(self.arms)))] if self.arms > 1 else []
        return arms if self.none_mixture is None else [*arms, (self.none_mixture, self._unbalanced)]

    def take(self, examples: Examples) -> None:
        """A matured search, to be measured. An only arm without references has nothing to be compared with."""
        if self.comparison.answers == 1:
            return
        self._gather.add(_Waiting(examples.scored, examples.labels, [not known for known in examples.known]))
        if len(self._gather) >= FOLD_ROWS:
            self._measure(self.comparison, self._layout.read([each.scored for each in self._gather.waiting]))
            self._gather.taken()

    def _measure(self, comparison: Comparison, said: Said) -> None:
        taken = self._gather.waiting
        kept = np.array([row for each in taken for row in each.measured])
        if not kept.any():
            return
        labels = np.array([label for each in taken for label in each.labels])
        tiers = b"".join([each.scored.tiers for each in taken])
        odds, sizes = self._answers(said), [len(each.labels) for each in taken]
        searches = np.repeat(np.arange(self._searches, self._searches + len(taken)), sizes)
        rows = Rows(any_outcome(odds), losses_of(odds, labels), labels, tiers, searches)
        rows = rows.taken(range(comparison.answers), kept)
        comparison.add(rows)
        if comparison is self.comparison:
            self._searches += len(taken)
            if self.control is not None:
                versions = np.repeat([each.scored.model_version for each in taken], sizes)[kept]
                self.control.add(rows, versions, 0, self._place_of_none())

    def _answers(self, said: Said) -> Floats:
        """(answers, n, C-1)."""
        served = odds_of(np.concatenate([each.scored.probability for each in self._gather.waiting]))
        parts = [served[None], said.odds[self._layout.first :]]
        if self._logistic is not None:
            if said.alone is not None and not self._logistic:
                word = said.alone
            else:
                word = 1.0 / (1.0 + np.exp(-said.words[self._logistic - self._layout.first].astype(np.float64)))
            parts.append(odds_of(word)[None])
        return np.concatenate(parts)

    def alarm(self) -> None:
        """The stream has changed: all run."""
        self.mixture.alarm()
        if self.none_mixture is not None:
            self.none_mixture.alarm()

    # -- telling

    def figures(
        self, pairs: Sequence[Pair], samples: Sequence[int], between: Callable[[], None] = lambda: None
    ) -> tuple[list[ArmFigures], dict[str, Lift]]:
        """Of each member, and of what was served against the references; `between` is called after each piece."""
        view = self._view(between)
        found = []
        for place, pair in enumerate(pairs):
            between()
            found.append(self._member(place, pair, samples[place], view))
        lifts = {}
        none = self._place_of_none()
        if view is not None and none:
            lifts["none"] = view.lift(0, none, between)
        if view is not None and self._logistic is not None:
            lifts["river_logistic"] = view.lift(0, self.comparison.answers - 1, between)
        return found, lifts

    def mixed(self, pairs: Sequence[Pair]) -> MixtureFigures:
        """Who is served."""
        mixture = self.mixture
        champion = pairs[mixture.champion].name if mixture.serve == "champion" or self.arms == 1 else None
        decisions = tuple(ArmDecision(**{**asdict(each), "arm": pairs[each.arm].name}) for each in mixture.decisions)
        return MixtureFigures(
            serve=mixture.serve, champion=champion, switches=mixture.switches, decided=mixture.decided,
            decisions=decisions,
        )  # fmt: skip

    def target(self) -> TargetFigures | None:
        """Where the target share is, and the steps that led there; None where it is fixed."""
        if self.control is None:
            return None
        decisions = tuple(TargetDecision(**asdict(each)) for each in self.control.decisions)
        control = self.control
        return TargetFigures(
            objective=control.objective, share=control.target, steps=control.steps, decided=control.decided,
            decisions=decisions,
        )  # fmt: skip

    def _place_of_none(self) -> int:
        """The answer that is `none`; 0 if there is none, or if that is what is served."""
        if not self._unbalanced or self._unbalanced == list(range(self.arms)):
            return 0
        return self._none_answer if self._layout.none_mixes else self._first_answer + self._unbalanced[0]

    def _view(self, between: Callable[[], None]) -> View | None:
        """The window, with what still waits; the state stays as it is."""
        copy = self.comparison.copy()
        if self._gather.waiting:
            self._measure(copy, self._layout.read([each.scored for each in self._gather.waiting]))
        between()
        return copy.view(between)

    def _member(self, place: int, pair: Pair, samples: int, view: View | None) -> ArmFigures:
        is_arm, answer = place < self.arms, self._first_answer + place
        return ArmFigures(
            name=pair.name, model=pair.model, strategy=pair.strategy, role="arm" if is_arm else "reference",
            running=not is_arm or self.mixture.running[place], samples=samples,
            weight=_by_tier(self.mixture.weights, place) if is_arm else None,
            coefficient=_by_tier(self.mixture.coefficients, place) if is_arm else None,
            window=_scope(view, answer, None), head=_scope(view, answer, HEAD), tail=_scope(view, answer, TAIL),
        )  # fmt: skip

    def digest_state(self) -> object:
        """Weights, the window of the comparison, what waits."""
        waiting = [[w.scored.event_id, list(w.labels), list(w.measured)] for w in self._gather.waiting]
        none = None if self.none_mixture is None else self.none_mixture.digest_state()
        control = None if self.control is None else self.control.digest_state()
        comparison = self.comparison.digest_state()
        return [self.mixture.digest_state(), none, comparison, self._searches, control, waiting]


def _by_tier(of: Callable[[int], Floats], place: int) -> TierFigures:
    head, tail = (float(of(tier)[place]) for tier in (HEAD, TAIL))
    return TierFigures(head=head, tail=tail)


def _scope(view: View | None, answer: int, tier: int | None) -> ArmScope:
    return ArmScope() if view is None else view.figures(answer, tier)

"""Mixture: what several arms say, as one answer. In: the arms' log odds, and their losses on real rows. Out: log odds.

Weights by loss, per popularity tier (see `weights.py`), give a weighted mean of log odds (Genest & Zidek 1986); what
arms know beyond it is added (see `stack.py`). An arm that weighs and adds next to nothing is paused, for longer each
time, and tried again: by rows, never by a clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, cast, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.records import TIERS, Floats, RoomSettings
from stream_balance.core.said import losses_of
from stream_balance.core.stack import Stack, corrected
from stream_balance.core.weights import Weights, mean_of
from stream_balance.errors import SettingsError

Bools = npt.NDArray[np.bool_]
_REVIEW_PART = 0.1  # of a review in what is ordinary
_REVIEWS_MIN = 4.0  # before which nobody knows what is
_OfTier = list[tuple[float, float, float]]  # of each arm its weight, its coefficient and its limit


class MixtureSettings(RoomSettings):
    """How the weights follow the losses, and when an arm is not worth its cost."""

    serve: Literal["mixture", "champion"] = "mixture"  # or the one arm that has proved to be the best
    eagerness: PositiveFloat = 0.5  # weight = exp(-eagerness x discounted log-loss)
    discount: float = Field(default=0.999, gt=0, lt=1)  # of the losses, per row of the tier
    slow_discount: float = Field(default=0.9999, gt=0, lt=1)  # and of what is remembered for longer
    floor: float = Field(default=1e-3, gt=0, lt=0.1)  # the share that every arm keeps
    handicap: float = Field(default=4.0, ge=0, le=10)  # nats lost that an arm begins with which is sure of few rows
    stack: bool = True  # to the weighted mean is added what arms know beyond it
    stack_decay: float = Field(default=0.9995, gt=0, lt=1)  # forgetting of that, per row of the tier
    stack_slow_decay: float = Field(default=0.99995, gt=0, lt=1)  # and of what is remembered for longer
    stack_precision: PositiveFloat = 20.0  # prior of its coefficients around the mean as it is
    review_rows: PositiveInt = 1_000  # arms are paused, and champions challenged, at these counts only
    pause_below: float = Field(default=0.01, ge=0, lt=1)  # in every tier, at `pause_reviews` reviews in a row
    pause_worth: float = Field(default=1.0, ge=0)  # nor one that saves more, in nats per 1,000 rows
    pause_reviews: PositiveInt = 4
    pause_outcomes: int = Field(default=100, ge=0)  # and not before so many outcomes since the start or a change
    wake_sigmas: PositiveFloat = 3.0  # all run again at a review whose log-loss is so far above those before
    pause_rows: PositiveInt = 8_000  # the first pause; each further one is twice as long
    pause_rows_max: PositiveInt = 64_000
    challenge_blocks: PositiveInt = 40  # the paired test looks at so many reviews at most
    challenge_sigmas: PositiveFloat = 4.0  # what the mean difference must exceed, in its standard errors
    decisions_max: PositiveInt = 50  # latest decisions kept for the report


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about an arm, and why: it weighs and adds next to nothing (`light`: its largest weight in a
    tier, and the nats a row that it saves the sums), its pause is over (`retry`), the log-loss rose since the last
    review (`rose`), the stream has changed (`drift`), or it leads by so many standard errors (`lead`).
    """

    arm: int
    action: Literal["paused", "resumed", "champion"]
    reason: Literal["light", "retry", "rose", "drift", "lead"]
    position: int  # rows weighed until then
    weight: float | None = None
    worth: float | None = None
    lead: float | None = None


class Mixture:
    """Weights of `arms` arms by tier, those `sure_early` with a handicap; the first champion is `champion`. Pure
    arithmetic on what it is told.

    >>> mixture = Mixture(MixtureSettings(), arms=2)
    >>> mixture.learn(np.array([[0.1] * 50, [0.3] * 50]), bytes(50))
    >>> [round(float(w), 3) for w in mixture.weights(0)], mixture.weights(1).tolist()
    ([0.992, 0.008], [0.5, 0.5])
    """

    def __init__(
        self, settings: MixtureSettings, arms: int, sure_early: Collection[int] = (), champion: int = 0
    ) -> None:
        if arms < 1:
            raise ValueError("a mixture needs at least one arm")
        if settings.floor * arms >= 1.0:
            raise SettingsError(
                f"mixture.floor: {settings.floor} is what each arm keeps, and {arms} arms (references are not counted) "
                f"cannot keep that much each. Set it below 1/{arms}, or name fewer arms."
            )
        self.arms = arms
        self.running = [True] * arms
        self.champion = champion
        self.switches = 0
        self.decided = 0
        self.decisions: deque[Verdict] = deque(maxlen=settings.decisions_max)
        self.serve = settings.serve
        self._settings = settings
        discounts = settings.discount, settings.slow_discount
        first = [settings.handicap if arm in sure_early else 0.0 for arm in range(arms)]
        self._by_tier = [Weights(first, discounts, settings.eagerness, settings.floor) for _ in TIERS]
        self._read_weights()
        stacks = len(TIERS) if settings.stack and settings.serve == "mixture" and arms > 1 else 0
        decays = settings.stack_decay, settings.stack_slow_decay
        self._stacks = [Stack(arms, decays, settings.stack_precision) for _ in range(stacks)]
        self._read_stacks()
        self._seen = [False] * len(TIERS)
        self._rows = 0
        self._light = [0] * arms  # reviews in a row with next to no weight and worth
        self._outcomes = 0
        self._lost = [0.0, 0.0]  # by the mean, since the last review; and in how many rows
        self._levels = [0.0, 0.0, 0.0]  # mean and variance of that a row, decayed by review; and of how many reviews
        self._since = 0  # outcomes at the start or the last change: with few nobody knows who will be worth it
        self._paused = [0] * arms  # how often
        self._resume_at = [0] * arms
        self._open = np.zeros((2, arms))  # since the last review: sum of losses against the champion's, rows with both
        self._blocks: deque[Floats] = deque(maxlen=settings.challenge_blocks)  # mean difference by arm

    def _read_weights(self) -> None:
        """After each change of theirs."""
        self._weights = np.array([each.share for each in self._by_tier])
        self._floats: list[_OfTier] | None = None  # they and the coefficients, for single rows; made when asked for

    def _read_stacks(self) -> None:
        """After each change of theirs."""
        self._tables: Floats = np.array([each.table for each in self._stacks])  # by tier
        self._floats = None

    # -- serving

    def weights(self, tier: int) -> Floats:
        """Share of each arm in what is said of a tier; sums to 1, a paused arm has its floor."""
        found: Floats = self._weights[tier].copy()
        return found

    def coefficients(self, tier: int) -> Floats:
        """Of how far each arm is from the weighted mean, in what is said of a tier; 0 where nothing is added to it."""
        return self._stacks[tier].coefficients.copy() if self._stacks else np.zeros(self.arms)

    @overload
    def combine(self, logits: Sequence[float], tiers: bytes) -> float: ...
    @overload
    def combine(self, logits: Sequence[Floats], tiers: bytes) -> Floats: ...
    def combine(self, logits: Sequence[float] | Sequence[Floats], tiers: bytes) -> float | Floats:
        """What is served, log odds (n, C-1), of those of each arm, (n, C-1) each. NaN: it says nothing; all NaN: NaN.
        Of floats, an only row of two classes, it is a float.
        """
        if isinstance(logits[0], float):
            return self._combined(cast(Sequence[float], logits), tiers[0])
        said: Floats = np.asarray(logits)
        mean = mean_of(said, self._shares(tiers))
        return corrected(mean, said, self._tables[np.frombuffer(tiers, dtype=np.uint8)]) if self._stacks else mean

    @overload
    def mean(self, logits: Sequence[float], tiers: bytes) -> float: ...
    @overload
    def mean(self, logits: Sequence[Floats], tiers: bytes) -> Floats: ...
    def mean(self, logits: Sequence[float] | Sequence[Floats], tiers: bytes) -> float | Floats:
        """Weighted by the shares of those that say something, without what they add to it; otherwise as `combine`."""
        if isinstance(logits[0], float):
            return _mean_of_floats(cast(Sequence[float], logits), self._of_tier(tiers[0]))
        return mean_of(np.asarray(logits), self._shares(tiers))

    def _combined(self, logits: Sequence[float], tier: int) -> float:
        arms = self._of_tier(tier)
        total = mean = _mean_of_floats(logits, arms)
        for said, (_, coefficient, limit) in zip(logits, arms, strict=True):
            if said == said:  # noqa: PLR0124  # not NaN
                total += coefficient * min(max(said - mean, -limit), limit)
        return total

    def _of_tier(self, tier: int) -> _OfTier:
        if self._floats is None:
            self._floats = [self._read(each) for each in range(len(TIERS))]
        return self._floats[tier]

    def _read(self, tier: int) -> _OfTier:
        weights = self._shares(bytes([tier]))[:, 0].tolist()
        if not self._stacks:
            return [(each, 0.0, 0.0) for each in weights]
        numbers = self._tables[tier].tolist()
        return list(zip(weights, numbers[: self.arms], numbers[self.arms :], strict=True))

    def _shares(self, tiers: bytes) -> Floats:
        """(arms, n)."""
        if self._settings.serve == "mixture":
            return self._weights[np.frombuffer(tiers, dtype=np.uint8)].T
        # The others have a share that decides only where the champion says nothing.
        alone = np.full((self.arms, len(tiers)), 1e-12)
        alone[self.champion] = 1.0
        return alone

    # -- learning

    def observe(self, logits: Floats, labels: npt.NDArray[np.intp], tiers: bytes) -> None:
        """What arms said of n real rows, oldest first: log odds (arms, n, C-1), NaN = nothing; and labels (n,)."""
        mean = mean_of(logits, self._shares(tiers))
        known, places = ~np.isnan(mean[:, 0]), np.frombuffer(tiers, dtype=np.uint8)
        for tier, weights in enumerate(self._by_tier):
            mine = known & (places == tier)
            if not mine.any():
                continue
            weights.trust(logits[:, mine], labels[mine])
            if self._stacks:
                self._stacks[tier].learn(mean[mine], logits[:, mine], labels[mine])
        self._read_stacks()
        self._outcomes += int(np.count_nonzero(labels))
        self.learn(losses_of(logits, labels), tiers)

    def learn(self, losses: Floats, tiers: bytes) -> None:
        """Their losses alone: the log-loss of each arm on n real rows, (arms, n); NaN where the arm said nothing."""
        places = np.frombuffer(tiers, dtype=np.uint8)
        running = np.array(self.running)
        for tier, weights in enumerate(self._by_tier):
            mine = places == tier
            if mine.any():
                self._seen[tier] = True
                charged = weights.learn(losses[:, mine], running)
                self._lost[0] += float(np.nansum(charged))
                self._lost[1] += float(np.count_nonzero(~np.isnan(charged)))
        self._read_weights()
        self._open += np.stack(_against(losses, ~np.isnan(losses), self.champion))
        before, self._rows = self._rows, self._rows + len(places)
        every = self._settings.review_rows
        if self._rows // every > before // every:
            self._review()

    # -- reviews

    def alarm(self) -> None:
        """The stream has changed: all arms run, what was known of pauses is forgotten, and the mean alone is served."""
        for arm in range(self.arms):
            if not self.running[arm]:
                self._decide(Verdict(arm, "resumed", "drift", self._rows))
        self.running = [True] * self.arms
        self._light, self._paused, self._since = [0] * self.arms, [0] * self.arms, self._outcomes
        for weights in self._by_tier:
            weights.alarm()
        for stack in self._stacks:
            stack.alarm()
        self._read_weights()
        self._read_stacks()

    def _decide(self, verdict: Verdict) -> None:
        self.decided += 1
        self.decisions.append(verdict)

    def _review(self) -> None:
        settings = self._settings
        if self._has_risen():
            self._since = self._outcomes
            for arm in range(self.arms):
                if not self.running[arm]:
                    self._resume(arm, "rose")
        weights = self._weights[self._seen]
        heaviest, best = weights.max(axis=0), int(weights.sum(axis=0).argmax())
        worth = np.max([stack.worth() for stack in self._stacks], axis=0) if self._stacks else np.zeros(self.arms)
        kept = best if settings.serve == "mixture" else self.champion
        for arm in range(self.arms):
            if not self.running[arm]:
                if self._rows >= self._resume_at[arm]:
                    self._resume(arm)
                continue
            light = heaviest[arm] < settings.pause_below and worth[arm] * 1_000.0 <= settings.pause_worth
            self._light[arm] = self._light[arm] + 1 if light else 0
            if not light:
                self._paused[arm] = 0
        # One at a time: what another is worth without it shows at the next review.
        tired = [arm for arm in range(self.arms) if self._light[arm] >= settings.pause_reviews]
        tired = [arm for arm in tired if arm not in (kept, best)]
        if tired and self._outcomes - self._since >= settings.pause_outcomes:
            arm = min(tired, key=worth.__getitem__)
            self._pause(arm, float(heaviest[arm]), float(worth[arm]))
        self._challenge()

    def _pause(self, arm: int, weight: float, worth: float) -> None:
        settings = self._settings
        self.running[arm], self._light[arm] = False, 0
        for weights in self._by_tier:
            weights.rest(arm)
        pause = min(settings.pause_rows << min(self._paused[arm], 30), settings.pause_rows_max)
        self._resume_at[arm] = self._rows + pause
        self._paused[arm] += 1
        self._decide(Verdict(arm, "paused", "light", self._rows, weight=weight, worth=worth))
        for stack in self._stacks:
            stack.drop(arm)
        self._read_stacks()

    def _has_risen(self) -> bool:
        """Whether the log-loss of the rows since the last review is out of the ordinary; what is ordinary follows.

        A change of the stream shows so long before ADWIN is sure of it, and to be wrong costs only what an arm costs.
        """
        lost, rows = self._lost
        self._lost = [0.0, 0.0]
        if not rows:
            return False
        level = lost / rows
        mean, variance, reviews = self._levels
        risen = reviews >= _REVIEWS_MIN and level > mean + self._settings.wake_sigmas * math.sqrt(variance)
        reviews += 1.0
        part = max(2.0 / (1.0 + reviews), _REVIEW_PART)  # the first ones, of models that knew nothing, are soon gone
        step = part * (level - mean)
        self._levels = [mean + step, (1.0 - part) * (variance + step * (level - mean)), reviews]
        return risen

    def _resume(self, arm: int, reason: Literal["retry", "rose"] = "retry") -> None:
        """Tried again with its old debt: it has `pause_reviews` reviews to earn its place."""
        self.running[arm], self._light[arm] = True, 0
        self._decide(Verdict(arm, "resumed", reason, self._rows))

    def _challenge(self) -> None:
        """A challenger takes over once its paired lead is beyond `challenge_sigmas` standard errors.

        The differences are means over reviews, so that what neighbouring rows have in common counts once. Who was
        silent where the champion spoke is not compared in that review: an arm of the tail could serve nothing else.
        """
        sums, rows = self._open
        whole = (rows > 0) & (rows == rows[self.champion])
        self._blocks.append(np.where(whole, sums / np.maximum(rows, 1.0), np.nan))
        self._open = np.zeros((2, self.arms))
        blocks = np.array(self._blocks)
        leads = []
        for arm in range(self.arms):
            known = blocks[~np.isnan(blocks[:, arm]), arm]
            if arm == self.champion or len(known) < self._settings.challenge_blocks // 4 or len(known) < 2:
                leads.append(0.0)
                continue
            error = float(known.std(ddof=1)) / math.sqrt(len(known))
            leads.append(-float(known.mean()) / error if error > 0.0 else 0.0)
        challenger = max(range(self.arms), key=leads.__getitem__)
        if leads[challenger] > self._settings.challenge_sigmas:
            self.champion, self._floats = challenger, None
            self.switches += 1
            if self.serve == "champion":
                self._decide(Verdict(challenger, "champion", "lead", self._rows, lead=leads[challenger]))
            self._blocks.clear()

    def digest_state(self) -> object:
        """Losses, weights, who runs, and the open comparison."""
        return [
            [weights.state() for weights in self._by_tier], self._seen, self._rows, self.running, self.champion,
            self.switches, self._light, self._since, self._outcomes, self._lost, self._levels, self._paused,
            self._resume_at, self._open, list(self._blocks), self.decided,
            [list(astuple(each)) for each in self.decisions], [stack.state() for stack in self._stacks],
        ]  # fmt: skip


def _mean_of_floats(logits: Sequence[float], arms: Sequence[tuple[float, float, float]]) -> float:
    whole = mean = 0.0
    for said, (weight, _, _) in zip(logits, arms, strict=True):
        if said == said:  # noqa: PLR0124  # not NaN
            whole += weight
            mean += weight * said
    return mean / whole if whole > 0.0 else math.nan


def _against(losses: Floats, there: Bools, champion: int) -> tuple[Floats, Floats]:
    """By arm: the sum of its losses less the champion's, and over how many rows; where both said something."""
    both = there & there[champion]
    difference = np.where(both, losses - np.where(there[champion], losses[champion], 0.0), 0.0)
    return difference.sum(axis=1), both.sum(axis=1).astype(np.float64)

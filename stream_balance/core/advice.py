"""Advice: which runner of a race to run, and whether balancing helped. In: names, CPU seconds, a `Verdict`. Out: words.

Whether balancing helps is asked of each model apart: a pair against the same model without any balancing, be it that of
a strategy or the model's own. Which to run is another question: the best average precision, or the cheapest that is as
good within one error (the rule of Breiman et al., "Classification and regression trees", 1984, section 3.4.3). What
speaks of tail items only is measured there, and is never what to run: in the head it serves the base rate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from stream_balance.core.lineup import PLAIN_MODELS, Pair
from stream_balance.core.verdict import SURE, Verdict, sure

CHEAPER = 0.8  # of the CPU time; a smaller saving may be the clock's
SAVED_S = 0.3  # so may one of less than this, of however little: short logs cost next to nothing
UNTOLD = 0.5  # the area under the ROC curve of rows that are all said alike
Gain = dict[str, dict[str, float | None]]


class Advice:
    """Over the answers of `names`, pairs (`model:strategy`) and mixtures, which cost so many CPU seconds.

    Every pair's plain version must be among them. `tail_only`: places of those that speak of tail items only.
    """

    def __init__(
        self, names: Sequence[str], costs: Sequence[float], verdict: Verdict, tail_only: Collection[int] = ()
    ) -> None:
        self._names, self._costs, self._verdict = names, costs, verdict
        self.figures = [verdict.figures(place) for place in range(len(names))]
        self._precision = [each["average_precision"]["value"] or 0.0 for each in self.figures]
        self._is_defined = self.figures[0]["average_precision"]["value"] is not None
        self._tail_only = tail_only
        self._everywhere = [place for place in range(len(names)) if place not in tail_only]
        self._is_untold = all(self.figures[place]["roc_auc"]["value"] == UNTOLD for place in self._everywhere)
        pairs = [Pair.parse(name) if ":" in name else None for name in names]
        plain = [place for place, pair in enumerate(pairs) if pair is not None and pair == pair.plain()]
        # Of those without balancing the best; what mixtures are measured against.
        self.baseline = max(plain, key=lambda place: self._precision[place])
        # By place: the place of what it is measured against; None of what balances nothing.
        self.against = [
            None if place in plain else self.baseline if pair is None else names.index(pair.plain().name)
            for place, pair in enumerate(pairs)
        ]
        self._balanced = [place for place, pair in enumerate(pairs) if pair is not None and place not in plain]
        of_tail = verdict.of_tail() if tail_only else verdict
        self.gains: list[Gain | None] = [
            None if other is None else (of_tail if place in tail_only else verdict).gain(place, other)
            for place, other in enumerate(self.against)
        ]

    def words(self) -> str:
        """Whether balancing helps, model by model, and which to run."""
        if not self._is_defined:
            return "One class only: nothing can be compared."
        if len(self._names) > 1 and self._is_untold:
            return "No arm tells rows apart: nothing had been learned when they were scored. Compare a longer log."
        return " ".join(part for part in (self._help(), self._told_of_tail(), self._choice()) if part)

    def _help(self) -> str:
        if not self._balanced:
            return "Nothing here balances."
        measured = [place for place in self._balanced if self._is_measured(place)]
        if not measured:
            return ""
        parts, helped = [], 0
        for plain, in_tail in dict.fromkeys(map(self._yardstick, measured)):
            mine = [place for place in measured if self._yardstick(place) == (plain, in_tail)]
            better = sum(_moved(self.gains[place], 1.0) for place in mine)
            worse = sum(_moved(self.gains[place], -1.0) for place in mine)
            helped += better
            assert plain is not None, "what balances is measured against what does not"
            counted = f"{better} of {len(mine)} {'beats' if better == 1 else 'beat'}" if better else None
            behind = f" ({worse} {'is' if worse == 1 else 'are'} worse)" if worse else ""
            where = " in the tail" if in_tail else ""
            parts.append(f"{counted or f'none of {len(mine)} beats'} {self._names[plain]}{where}{behind}")
        begin = "Balancing helps" if helped else "Balancing does not help beyond doubt"
        words = f"{begin}: {', '.join(parts)} in average precision by more than {SURE:.0f} errors."
        models = {name.rpartition(":")[0] for name in self._names}
        told = [
            f"{plain} is {model} without the balancing that it does by itself."
            for model, plain in sorted(PLAIN_MODELS.items())
            if plain in models and model in models
        ]
        return " ".join([words, *told])

    def _yardstick(self, place: int) -> tuple[int | None, bool]:
        """What a place is measured against, and whether in the tail alone."""
        return self.against[place], place in self._tail_only

    def _is_measured(self, place: int) -> bool:
        gain = self.gains[place]
        return gain is not None and gain["average_precision"]["value"] is not None

    def _told_of_tail(self) -> str:
        places = sorted(self._tail_only)
        if not places:
            return ""
        arms = ", ".join(dict.fromkeys(self._names[place].rpartition(":")[0] or self._names[place] for place in places))
        if not any(map(self._is_measured, places)):
            return (
                f"{arms}: such arms speak of tail items only, and no outcome came there, so nothing is known of them."
            )
        return (
            f"{arms}: such arms speak of tail items only, so their gain is over rows of the tail; their other figures "
            "count the head too, where they serve the base rate, so none is advised by itself."
        )

    def _choice(self) -> str:
        best, run = self.best(), self.choice()
        words, gain, other = self._names[best], self.gains[best], self.against[best]
        if gain is not None and other is not None:
            value, error = (gain["average_precision"][each] for each in ("value", "error"))
            errors = "" if error is None else f" (error {error:.4f})"
            words += f", {value:+.4f}{errors} over {self._names[other]}"
            words += "" if sure(gain["average_precision"]) else ", which may be chance"
        if run == best:
            return f"Run the best, {words}."
        costs = " CPU s instead of ".join(f"{self._costs[place]:.1f}" for place in (run, best))
        return f"The best is {words}. Run {self._names[run]}: within one error as good, at {costs}."

    def best(self) -> int:
        """The place with the highest average precision; of equal ones one without balancing, if there is one."""
        return max(self._everywhere, key=lambda place: (self._precision[place], place not in self._balanced, -place))

    def choice(self) -> int:
        """The place to run: the best, or the cheapest that is as good as it and that none beats in all."""
        best = self.best()
        for place in sorted(self._everywhere, key=lambda place: self._costs[place]):
            if self._costs[place] > min(CHEAPER * self._costs[best], self._costs[best] - SAVED_S):
                break
            if not any(self._is_behind(place, best)) and not self._is_beaten(place):
                return place
        return best

    def _is_beaten(self, place: int) -> bool:
        better = (other for other in self._everywhere if self._precision[other] > self._precision[place])
        return any(all(self._is_behind(place, other)) for other in better)

    def _is_behind(self, place: int, other: int) -> list[bool]:
        """In average precision, in log-loss: whether it is worse by more than one error, or nobody knows."""
        return [_is_lost(each) for each in self._verdict.gain(place, other).values()]


def _is_lost(gain: dict[str, Any]) -> bool:
    value, error = gain["value"], gain["error"]
    return value is None or error is None or value < -error


def _moved(gain: Gain | None, sign: float) -> bool:
    """Whether average precision moved that way, by more than `SURE` errors."""
    found = (gain or {}).get("average_precision")
    return found is not None and sure(found) and sign * (found["value"] or 0.0) > 0.0

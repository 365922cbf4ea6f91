"""Lineup: which arms run side by side, and what always runs beside them to be compared. In: settings. Out: pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stream_balance.core.records import RoomSettings
from stream_balance.errors import SettingsError

AUTO = "auto"
DEFAULT_MODEL, DEFAULT_STRATEGY = "logistic", "smote_under"  # where only the other one is named
# A model that balances by itself -> the same model without that.
PLAIN_MODELS = {
    "linear": "plain_linear", "replay_mlp": "plain_replay_mlp", "tail_linear": "plain_linear",
    "tail_replay_mlp": "plain_replay_mlp",
}  # fmt: skip
NONE = "none"
_NO_COMMA = r"[;|\s]+"  # what people put between arms in its place


class LineupSettings(RoomSettings):
    """Arms of your own, and whether the references run."""

    pairs: tuple[str, ...] = ()  # "model:strategy" each; none = what balance.strategy and model.name say
    references: bool = True  # score, beside the arms, the same models unbalanced and River's plain logistic regression


@dataclass(frozen=True, slots=True)
class Pair:
    """A model and what it is balanced with.

    >>> Pair.parse("package.module:factory:smote")
    Pair(model='package.module:factory', strategy='smote')
    """

    model: str
    strategy: str

    @property
    def name(self) -> str:
        """As it is written in settings and reports."""
        return f"{self.model}:{self.strategy}"

    @staticmethod
    def parse(text: str) -> Pair:
        """From `model:strategy`. Raises SettingsError."""
        if re.search(_NO_COMMA, text.strip()):
            listed = ",".join(part for part in re.split(_NO_COMMA, text) if part)
            raise SettingsError(f"arms.pairs: {text!r} is no arm. Arms are separated by commas: --arms {listed}.")
        model, _, strategy = text.strip().rpartition(":")
        if not model or not strategy:
            raise SettingsError(
                f"arms.pairs: {text!r} is no arm; expected model:strategy, for example logistic:smote_under."
            )
        return Pair(model, strategy)

    def plain(self) -> Pair:
        """The same model without any balancing."""
        return Pair(PLAIN_MODELS.get(self.model, self.model), NONE)


RIVER_LOGISTIC = Pair("logistic", NONE)  # the same, bit for bit
# The first three balance by themselves, so no strategy stands before them. The last one runs as a reference anyway.
DEFAULT_ARMS = (Pair("linear", NONE), Pair("replay_mlp", NONE), Pair("window_booster", NONE), RIVER_LOGISTIC)


def named(strategy: str | None, model: str | None) -> tuple[str, str | None]:
    """A strategy and its model (None for `auto`) where one, both or none of them are named. Raises SettingsError.

    >>> named(None, None), named("smote", None), named(None, "adaptive_random_forest")
    (('auto', None), ('smote', 'logistic'), ('smote_under', 'adaptive_random_forest'))
    """
    if strategy is None and model is None:
        return AUTO, None
    if strategy != AUTO:
        return strategy or DEFAULT_STRATEGY, model or DEFAULT_MODEL
    if model is not None:
        raise SettingsError(
            f"balance.strategy: 'auto' has models of its own, and model.name is {model!r}. Choose another strategy, "
            "or name arms (arms.pairs)."
        )
    return AUTO, None


def chosen(settings: LineupSettings, strategy: str | None, model: str | None) -> tuple[Pair, ...]:
    """The arms that the settings name; the default ones where they name none. Raises SettingsError for one that is
    named twice, and for a model beside `auto`.

    >>> [pair.name for pair in chosen(LineupSettings(), "smote", None)]
    ['logistic:smote']
    >>> chosen(LineupSettings(), None, None) == DEFAULT_ARMS
    True
    """
    if not settings.pairs:
        strategy, model = named(strategy, model)
        return DEFAULT_ARMS if model is None else (Pair(model, strategy),)
    pairs = tuple(Pair.parse(text) for text in settings.pairs)
    if len(set(pairs)) < len(pairs):
        raise SettingsError(f"arms.pairs names an arm twice: {', '.join(pair.name for pair in pairs)}.")
    return pairs

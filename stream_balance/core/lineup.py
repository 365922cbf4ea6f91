"""Lineup: which arms run side by side, and what always runs beside them to be compared. In: settings. Out: pairs."""

from __future__ import annotations

from dataclasses import dataclass

from stream_balance.core.records import RoomSettings
from stream_balance.errors import SettingsError

AUTO = "auto"
# A model that balances by itself -> the same model without that.
PLAIN_MODELS = {"linear": "plain_linear", "replay_mlp": "plain_replay_mlp"}
NONE = "none"


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
        model, _, strategy = text.strip().rpartition(":")
        if not model or not strategy:
            raise SettingsError(
                f"arms.pairs: {text!r} is no arm; expected model:strategy, for example logistic:smote_under."
            )
        return Pair(model, strategy)

    def plain(self) -> Pair:
        """The same model without any balancing."""
        return Pair(PLAIN_MODELS.get(self.model, self.model), NONE)


# They balance by themselves, so no strategy stands before them.
DEFAULT_ARMS = (Pair("linear", NONE), Pair("replay_mlp", NONE), Pair("window_booster", NONE))
RIVER_LOGISTIC = Pair("logistic", NONE)  # the same, bit for bit


def chosen(settings: LineupSettings, strategy: str, model: str) -> tuple[Pair, ...]:
    """The arms that the settings name. Raises SettingsError for one that is named twice or not at all.

    >>> [pair.name for pair in chosen(LineupSettings(), "smote", "logistic")]
    ['logistic:smote']
    """
    if not settings.pairs:
        return DEFAULT_ARMS if strategy == AUTO else (Pair(model, strategy),)
    pairs = tuple(Pair.parse(text) for text in settings.pairs)
    if len(set(pairs)) < len(pairs):
        raise SettingsError(f"arms.pairs names an arm twice: {', '.join(pair.name for pair in pairs)}.")
    return pairs

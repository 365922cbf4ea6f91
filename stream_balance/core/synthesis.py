"""Synthesis: what is asked of the GAN's child and what it answers. Values only; plain bytes on the way.

A `TrainingSet` is complete: the child's answer is a function of it alone. The answer is a `Release` (rows that were
vetted) or a `Refusal` (why there are none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from stream_balance.core.packing import Array, pack, unpack
from stream_balance.core.records import Floats, RoomSettings

Maker = Literal["gan", "trees", "copula"]
Verdict = Literal["helps", "inconclusive", "refused"]
# Limits of quality that rows can break, as a refusal names them: each asks for other weights.
Breach = Literal["not_finite", "exact_copies", "near_copies", "c2st", "coverage", "marginals", "pairs"]
BREACHES: frozenset[str] = frozenset(get_args(Breach))
TOO_FEW_ROWS = "too_few_rows"
HELD_OUT_MIN = 2  # rows of the class that a training is judged by
LIVE = "live"  # the live model's name among the `Gain`s
NO_CURVE = np.empty((0, 3))
NO_WEIGHTS = b""
# A bill of private trainings: noise, chance of a row to be in a batch, steps.
Spent = tuple[tuple[float, float, int], ...]


class PrivacySettings(RoomSettings):
    """Differential privacy of the rows that are made, and of nothing else: see docs/gan.md. Off by default."""

    on: bool = (
        False  # takes the extra `privacy`; there are no trees and no copula then, neither below the GAN nor in it
    )
    noise: PositiveFloat = 3.0  # of a step on real rows: standard deviation over the clipping bound
    noise_marginals: PositiveFloat = 2.0  # of all columns' marginals together, as a Gaussian mechanism would have it
    clip: PositiveFloat = 1.0  # bound of a row's gradient
    batch: PositiveInt = 128  # rows that a step sees on average
    steps_cold: PositiveInt = 600  # from new weights
    steps_warm: PositiveInt = 100  # from the weights before
    delta: float = Field(default=1e-5, gt=0.0, lt=1.0)
    epsilon_max: PositiveFloat = 10.0  # of a class, over all its trainings: one that would exceed it is refused


class RecipeSettings(RoomSettings):
    """Recipe of a training and limits of the vetting: what goes with each request."""

    steps_cold: PositiveInt = 400  # from new weights
    steps_warm: PositiveInt = 100  # from the weights before
    passes_max: PositiveInt = 300  # of the rows within the cold steps; with few rows both kinds are cut, lest it copies
    levels_max: PositiveInt = 20  # levels of a nominal column with a place of their own; the others share one
    level_rows_min: PositiveInt = 5  # a level with fewer rows is rare
    release_rows: PositiveInt = 2_000  # rows that a release delivers
    gan_rows_min: PositiveInt = 150  # with fewer rows of the class the copula alone
    copula_rows_min: PositiveInt = 50  # with fewer still nothing is asked for
    rows_max: PositiveInt = 5_000  # newest rows of the class that a request holds
    others_max: PositiveInt = 4_000  # newest rows of all other classes, for the shadow test
    c2st_max: float = Field(
        default=0.70, ge=0.5, le=1.0
    )  # a forest tells made rows from real ones at most so well (AUC)
    coverage_min: float = Field(
        default=0.75, ge=0.0, le=1.0
    )  # share of real rows with a made one in their neighbourhood
    dcr_share_max: float = Field(
        default=0.65, ge=0.5, le=1.0
    )  # nearer to a row learned than to one held out; .5 = no copies
    exact_share_max: float = Field(
        default=0.02, ge=0.0, le=1.0
    )  # equal to a row learned, beyond what held-out rows are
    marginal_max: float = Field(default=0.1, ge=0.0, le=1.0)  # mean distance of the columns, beyond chance
    pair_max: float = Field(default=0.2, ge=0.0, le=1.0)  # distance of the worst pair of columns, beyond chance
    pairs_lost_max: float = Field(default=0.6, ge=0.0)  # of what ties columns together, where something does
    shares: tuple[float, ...] = (0.1, 0.2)  # of made rows among all that are learned: what the shadow test chooses from
    shadow_repeats: PositiveInt = 2  # trainings of each model on each diet
    errors: PositiveFloat = 1.64  # a gain counts beyond so many standard errors
    privacy: PrivacySettings = PrivacySettings()
    adopt: Literal["helps", "vetted"] = "helps"  # "vetted": quality is enough, unless the shadow test shows harm

    @field_validator("shares")
    @classmethod
    def _are_shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or not all(0.0 < share < 1.0 for share in shares):
            raise ValueError(
                "the shadow test chooses from one share or more, each above 0 and below 1. Write for example "
                "[0.1, 0.2]; to learn no made rows, take another strategy than 'gan'"
            )
        return shares

    @property
    def rows_min(self) -> int:
        """Rows that are not held out, below which no training is worth its while."""
        return max(self.copula_rows_min, self.gan_rows_min if self.privacy.on else 0)

    def are_enough(self, learned: int, held_out: int) -> bool:
        """Whether a training can be made of so many rows of the class to learn and to be judged by."""
        return learned >= self.rows_min and held_out >= HELD_OUT_MIN


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything that one training needs. Rows are (n, d) float64 of one width, NaN = absent, oldest first.

    `held_out` and `others_held_out` mark rows that are never trained on, the same rows in every request.
    `rate` is the share of class `label` in the stream; `weights` what the last training left, or empty.
    """

    label: int
    rows: Floats
    held_out: npt.NDArray[np.bool_]
    others: Floats
    others_held_out: npt.NDArray[np.bool_]
    nominal: tuple[int, ...]
    rate: float
    model: str  # the live model, by its name in the registry
    seed: int
    settings: RecipeSettings
    weights: bytes = NO_WEIGHTS
    spent: Spent = ()  # the bill of the class's private trainings so far

    def to_bytes(self) -> bytes:
        """As the child reads it."""
        head = {
            "label": self.label, "nominal": list(self.nominal), "rate": self.rate, "model": self.model,
            "seed": self.seed, "settings": self.settings.model_dump(mode="json"),
            "spent": self.spent,
        }  # fmt: skip
        arrays = {
            "rows": self.rows, "held_out": self.held_out, "others": self.others,
            "others_held_out": self.others_held_out, "weights": np.frombuffer(self.weights, dtype=np.uint8),
        }  # fmt: skip
        return pack(head, arrays)

    @staticmethod
    def from_bytes(data: bytes) -> TrainingSet:
        """Raises ValueError for bytes that are not whole."""
        head, arrays = unpack(data)
        head |= {
            "spent": _spent(head["spent"]),
            "nominal": tuple(head["nominal"]),
            "settings": RecipeSettings(**head["settings"]),
        }
        fields: dict[str, Any] = head | arrays | {"weights": arrays["weights"].tobytes()}
        return TrainingSet(**fields)


@dataclass(frozen=True, slots=True)
class Quality:
    """How near made rows are to real rows of the class that were held out."""

    c2st: float  # AUC of a forest between both (cross-validated); .5 = cannot tell
    coverage: float  # share of held-out rows with a made row nearer than their fifth real neighbour
    dcr_share: float  # share of made rows nearer to a row learned than to one held out, at equal numbers of both
    exact_share: float  # made rows equal to a row learned
    exact_share_real: float  # held-out rows equal to a row learned, and two standard errors: natural in this table
    marginal: float  # mean over columns: Kolmogorov-Smirnov or total variation distance, less what chance makes
    pairwise: float  # mean over pairs of columns: total variation of their joint table, less what chance makes
    pairwise_max: float  # of the worst pair
    pairs_lost: float = 0.0  # of what ties columns together: 0 = as in real rows, 1 = as in columns shuffled


@dataclass(frozen=True, slots=True)
class Gain:
    """What made rows brought a model in the shadow test: average precision on held-out rows, differences paired."""

    model: str
    share: float
    none: float  # average precision without
    over_none: float
    over_none_error: float
    over_copies: float
    over_copies_error: float


@dataclass(frozen=True, slots=True)
class Vetting:
    """The verdict on rows of one maker, with its numbers. `share` is the amount that won; 0 = none is best."""

    maker: Maker
    verdict: Verdict
    reason: str
    share: float
    quality: Quality
    gains: tuple[Gain, ...]

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Vetting:
        """From what `asdict` made of it."""
        gains = tuple(Gain(**gain) for gain in plain["gains"])
        return Vetting(**(dict(plain) | {"quality": Quality(**plain["quality"]), "gains": gains}))


@dataclass(frozen=True, slots=True)
class Release:
    """Rows of class `label` that passed: (n, d) float64. `weights` for the next training; `curve` is (k, 3)."""

    label: int
    rows: Floats
    vetting: Vetting
    weights: bytes = NO_WEIGHTS
    warm: bool = False
    curve: Floats = field(default_factory=lambda: NO_CURVE)
    others: tuple[Vetting, ...] = ()  # makers that were tried before and did not pass
    spent: Spent = ()
    epsilon: float | None = None  # of all that was spent


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there are no rows: a short, bounded `reason`, a sentence, and the vettings that led to it."""

    label: int
    reason: str
    message: str
    weights: bytes = NO_WEIGHTS
    warm: bool = False
    curve: Floats = field(default_factory=lambda: NO_CURVE)
    others: tuple[Vetting, ...] = ()
    spent: Spent = ()
    epsilon: float | None = None


def _spent(plain: Sequence[Any]) -> Spent:
    return tuple((float(noise), float(rate), int(steps)) for noise, rate, steps in plain)


def outcome_to_bytes(outcome: Release | Refusal) -> bytes:
    """As the child writes it."""
    head: dict[str, Any] = {"label": outcome.label, "warm": outcome.warm, "others": [asdict(v) for v in outcome.others]}
    head |= {"spent": outcome.spent, "epsilon": outcome.epsilon}
    arrays: dict[str, Array] = {"weights": np.frombuffer(outcome.weights, dtype=np.uint8), "curve": outcome.curve}
    if isinstance(outcome, Release):
        head["vetting"] = asdict(outcome.vetting)
        arrays["rows"] = outcome.rows
    else:
        head |= {"reason": outcome.reason, "message": outcome.message}
    return pack(head, arrays)


def outcome_from_bytes(data: bytes) -> Release | Refusal:
    """Raises ValueError for bytes that are no whole answer, and for rows or a share that nobody could learn."""
    head, arrays = unpack(data)
    try:
        both = {
            "label": head["label"], "warm": head["warm"], "curve": arrays["curve"],
            "weights": arrays["weights"].tobytes(),
            "others": tuple(Vetting.from_plain(plain) for plain in head["others"]),
            "spent": _spent(head["spent"]), "epsilon": head["epsilon"],
        }  # fmt: skip
        if "vetting" not in head:
            return Refusal(**both, reason=head["reason"], message=head["message"])
        release = Release(**both, vetting=Vetting.from_plain(head["vetting"]), rows=arrays["rows"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a child's answer lacks or has too much: {error}") from error
    _check(release.rows, release.vetting.share)
    return release


def _check(rows: Array, share: object) -> None:
    """Raise ValueError unless the pool can draw from these rows, and a strategy spend this share."""
    if rows.dtype != np.float64 or rows.ndim != 2 or not rows.size:
        found = f"{rows.dtype} of shape {rows.shape}"
        raise ValueError(f"a release's rows are {found}; a float64 matrix with a row and a column or more is expected")
    if np.isinf(rows).any() or np.isnan(rows).all():
        what = "absent values alone" if np.isnan(rows).all() else "infinite values"
        raise ValueError(f"a release's rows have {what}; finite ones are expected, NaN for those that are absent")
    if not isinstance(share, float) or not 0.0 < share < 1.0:
        raise ValueError(f"a release's share is {share!r}; a number above 0 and below 1 is expected")

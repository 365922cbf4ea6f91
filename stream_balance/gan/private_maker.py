"""Private maker: rows of the class by noisy marginals and private steps, and what they have spent. In: a request.

Two things look at the rows: `noisy_rows` at each column alone, and the discriminator's steps. Everything else that is
made (table, layout, encoding, generator) follows from what those two give out. Both are counted in one bill, that of
all trainings of the class; a training that the budget does not bear is not begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from stream_balance.core.packing import pack
from stream_balance.core.records import Floats
from stream_balance.core.synthesis import NO_WEIGHTS, PrivacySettings, Spent, TrainingSet
from stream_balance.gan.makers import DRAWN, FORMAT, Made, Start, encode, ranked, split
from stream_balance.gan.noisy_marginals import noisy_rows
from stream_balance.gan.table import Ints, Table

MARGINALS, STEPS, CHANCE = 11, 12, 13  # what the seed is used for


def has_opacus() -> bool:
    """Whether the extra `privacy` is installed."""
    return all(find_spec(name) is not None for name in ("torch", "opacus"))


@dataclass(frozen=True, slots=True)
class Private:
    """A training that the budget bears: its start, how many steps, the bill with it, and what that comes to."""

    start: Start
    steps: int
    spent: Spent
    epsilon: float


def start_privately(request: TrainingSet, learned: Floats) -> Private | None:
    """Noisy marginals of `learned` (n, d), and the weights before if they fit; None if it would cost too much.

    Weights that were not trained privately are no start.
    """
    from stream_balance.gan.private import epsilon, sample_rate  # noqa: PLC0415  # torch is optional

    privacy, recipe = request.settings.privacy, request.settings
    weights = request.weights if request.spent else NO_WEIGHTS
    marginals = (privacy.noise_marginals, 1.0, 1)  # as if it were one Gaussian mechanism on all rows

    def bill(steps: int) -> tuple[Spent, float]:
        spent = (*request.spent, marginals, (privacy.noise, sample_rate(len(learned), privacy.batch), steps))
        return spent, epsilon(spent, privacy.delta)

    steps = privacy.steps_warm if weights else privacy.steps_cold
    spent, now = bill(steps)
    if now > privacy.epsilon_max:
        return None
    rho, rng = 1 / (2 * privacy.noise_marginals**2), np.random.default_rng((request.seed, MARGINALS))
    rows = noisy_rows(learned, request.others, request.nominal, rho, rng)
    start = Start.of(rows, request.nominal, weights, recipe)
    if weights and start.weights is None:
        # The bill is for what is begun: cold is dearer.
        spent, now = bill(privacy.steps_cold)
        steps = privacy.steps_cold
        if now > privacy.epsilon_max:
            return None
    return Private(start, steps, spent, now)


def make_privately(private: Private, rows: Floats, count: int, seed: int, settings: PrivacySettings) -> Made:
    """`count` rows of a generator whose discriminator has seen `rows` (n, d) in private steps."""
    from stream_balance.gan.private import KEEP, train_privately  # noqa: PLC0415  # torch is optional
    from stream_balance.gan.train import generate  # noqa: PLC0415

    table, layout, warm = private.start.table, private.start.table.layout, private.start.weights is not None
    rng = np.random.default_rng((seed, CHANCE))
    trained = train_privately(
        layout, encode(*table.scores(rows, rng), layout), encode(*independent(table, DRAWN, rng), layout),
        steps=private.steps, seed=seed, settings=settings, weights=private.start.weights,
    )  # fmt: skip
    made = generate(layout, trained.weights, encode(*independent(table, count, rng), layout), seed, keep=KEEP)
    if not np.isfinite(made).all():
        return Made(np.full((count, layout.width), np.inf), NO_WEIGHTS, warm, trained.curve)
    scores, slots = split(made, layout)
    weights = pack({"format": FORMAT, "layout": layout.as_plain()}, trained.weights)
    return Made(table.decode(ranked(scores), slots, rng), weights, warm, trained.curve)


def independent(table: Table, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Scores and slots that know the marginals alone, no dependence of columns: what stands for the copula's."""
    slots = [rng.choice(len(shares), size=count, p=shares / shares.sum()) for shares in table.frequencies]
    scores = rng.standard_normal((count, len(table.layout.numeric)))
    return scores, np.stack(slots, axis=1) if slots else np.empty((count, 0), dtype=np.int64)

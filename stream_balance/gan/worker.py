"""Worker: one training from its request to a release or a refusal. A pure function; what the child process runs.

The ladder: the GAN where torch is installed and there are rows enough, then the trees that it edits, then the copula,
each if the rows before do not have the quality; with few rows the copula alone. Where trainings are private there is
the GAN alone. What does not pass is told with its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import (
    HELD_OUT_MIN,
    LIVE,
    TOO_FEW_ROWS,
    Maker,
    Refusal,
    Release,
    TrainingSet,
    Vetting,
    outcome_to_bytes,
)
from stream_balance.gan.live_model import live_model
from stream_balance.gan.makers import Made, Start, has_torch, make_by_copula, make_by_gan, make_by_trees
from stream_balance.gan.private_maker import has_opacus, make_privately, start_privately
from stream_balance.gan.quality import quality_of
from stream_balance.gan.shadow import ShadowSet, booster, shadow_gains
from stream_balance.gan.vet import vet

NO_OPACUS = "gan.privacy.on takes the extra 'privacy': pip install 'stream-balance[privacy]'"
NOT_QUALITY = {"harm"}  # a refusal that the next maker would share
Makers = list[tuple[Maker, Callable[[], Made]]]


def work(request: bytes) -> bytes:
    """The child's function: a packed `TrainingSet` in, a packed outcome out. ValueError for a damaged one."""
    return outcome_to_bytes(synthesise(TrainingSet.from_bytes(request)))


def synthesise(request: TrainingSet) -> Release | Refusal:
    """Rows for the class of the request, or why there are none."""
    learned, held_out = request.rows[~request.held_out], request.rows[request.held_out]
    if (unfit := _unfit(request, learned, held_out)) is not None:
        return unfit
    if not request.settings.privacy.on:
        start = Start.of(learned, request.nominal, request.weights, request.settings)
        return _best(request, start, _makers(request, start, learned), learned, held_out)
    private = start_privately(request, learned)
    if private is None:
        said = f"another training would spend more than {request.settings.privacy.epsilon_max:g}"
        return Refusal(request.label, "privacy_budget", said, spent=request.spent)

    def make() -> Made:
        return make_privately(private, learned, request.settings.release_rows, request.seed, request.settings.privacy)

    outcome = _best(request, private.start, [("gan", make)], learned, held_out)
    # A refusal has looked at the rows too: its weights are kept, and its figures are told.
    return replace(outcome, spent=private.spent, epsilon=private.epsilon)


def _best(request: TrainingSet, start: Start, makers: Makers, learned: Floats, held_out: Floats) -> Release | Refusal:
    """The rows of the first maker whose rows pass, or why none do."""
    settings, label = request.settings, request.label
    if not start.table.layout.size:
        return Refusal(label, "constant", "no column varies among the rows of the class")
    tried: list[Vetting] = []
    trained = Made(learned[:0])
    for maker, make in makers:
        made = make()
        if made.weights:
            trained = made
        vetting = _vet(maker, made.rows, request, start, learned, held_out)
        if vetting.verdict == "helps" or (vetting.verdict == "inconclusive" and settings.adopt == "vetted"):
            return Release(label, made.rows, vetting, trained.weights, trained.warm, trained.curve, tuple(tried))
        tried.append(vetting)
        if vetting.verdict == "inconclusive" or vetting.reason in NOT_QUALITY:
            break
    last = tried[-1]
    reason = last.reason if last.verdict == "refused" else "inconclusive"
    message = "; ".join(f"{each.maker}: {each.verdict}, {each.reason}" for each in tried)
    return Refusal(label, reason, message, trained.weights, trained.warm, trained.curve, tuple(tried))


def _unfit(request: TrainingSet, learned: Floats, held_out: Floats) -> Refusal | None:
    """Why nothing can be made; None if something can."""
    settings, is_private = request.settings, request.settings.privacy.on
    if not settings.are_enough(len(learned), len(held_out)):
        found = f"{len(learned)} rows to learn and {len(held_out)} held out"
        needed = f"at least {settings.rows_min} and {HELD_OUT_MIN} are needed"
        return Refusal(request.label, TOO_FEW_ROWS, f"{found}; {needed}")
    if is_private and not has_opacus():
        return Refusal(request.label, "no_opacus", NO_OPACUS)
    return None


def _makers(request: TrainingSet, start: Start, learned: Floats) -> Makers:
    settings, count, seed = request.settings, request.settings.release_rows, request.seed
    makers: Makers = [("copula", lambda: make_by_copula(start, learned, count, seed))]
    if len(learned) >= settings.gan_rows_min:
        makers.insert(0, ("trees", lambda: make_by_trees(start, learned, count, seed)))
        if has_torch():
            makers.insert(0, ("gan", lambda: make_by_gan(start, learned, count, seed, settings)))
    return makers


def _vet(maker: Maker, made: Floats, request: TrainingSet, start: Start, learned: Floats, held_out: Floats) -> Vetting:
    settings, seed, nominal = request.settings, request.seed, request.nominal
    others, held = request.others, request.others_held_out
    shadow = ShadowSet(learned, others[~held], held_out, others[held], request.rate)
    learners = {LIVE: live_model(request.model, nominal), "booster": booster}
    return vet(
        maker,
        made,
        lambda: quality_of(made, learned, held_out, nominal, start.table, seed),
        lambda: shadow_gains(shadow, made, learners, settings.shares, settings.shadow_repeats, seed),
        settings,
    )

"""Worker: one training from its request to a release or a refusal. A pure function; what the child process runs.

The ladder: the GAN where torch is installed and there are rows enough, then the copula if the GAN's rows do not have
the quality. What does not pass is told with its numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from stream_balance.core.records import Floats
from stream_balance.core.synthesis import Maker, Refusal, Release, TrainingSet, Vetting, outcome_to_bytes
from stream_balance.gan.live_model import live_model
from stream_balance.gan.makers import Made, Start, has_torch, make_by_copula, make_by_gan
from stream_balance.gan.quality import quality_of
from stream_balance.gan.shadow import ShadowSet, booster, shadow_gains
from stream_balance.gan.vet import vet

NOT_QUALITY = {"harm"}  # a refusal that the next maker would share


def work(request: bytes) -> bytes:
    """The child's function: a packed `TrainingSet` in, a packed outcome out. ValueError for a damaged one."""
    return outcome_to_bytes(synthesise(TrainingSet.from_bytes(request)))


def synthesise(request: TrainingSet) -> Release | Refusal:
    """Rows for the class of the request, or why there are none."""
    settings, label = request.settings, request.label
    learned, held_out = request.rows[~request.held_out], request.rows[request.held_out]
    if len(learned) < settings.copula_rows_min or len(held_out) < 2:
        found = f"{len(learned)} rows to learn and {len(held_out)} held out"
        return Refusal(label, "too_few_rows", f"{found}; at least {settings.copula_rows_min} and 2 are needed")
    start = Start.of(learned, request.nominal, request.weights, settings)
    if not start.table.layout.size:
        return Refusal(label, "constant", "no column varies among the rows of the class")
    tried: list[Vetting] = []
    trained = Made(learned[:0])
    for maker, make in _makers(request, start, learned):
        made = make()
        if made.weights:
            trained = made
        vetting = _vet(maker, made.rows, request, start, learned, held_out)
        left = {"weights": trained.weights, "warm": trained.warm, "curve": trained.curve, "others": tuple(tried)}
        if vetting.verdict == "helps" or (vetting.verdict == "inconclusive" and settings.adopt == "vetted"):
            return Release(label, made.rows, vetting, **left)  # type: ignore[arg-type]
        tried.append(vetting)
        if vetting.verdict == "inconclusive" or vetting.reason in NOT_QUALITY:
            break
    last = tried[-1]
    reason = last.reason if last.verdict == "refused" else "inconclusive"
    message = "; ".join(f"{each.maker}: {each.verdict}, {each.reason}" for each in tried)
    return Refusal(label, reason, message, trained.weights, trained.warm, trained.curve, tuple(tried))


def _makers(request: TrainingSet, start: Start, learned: Floats) -> list[tuple[Maker, Callable[[], Made]]]:
    settings, count, seed = request.settings, request.settings.release_rows, request.seed
    makers: list[tuple[Maker, Callable[[], Made]]] = [("copula", lambda: make_by_copula(start, learned, count, seed))]
    if has_torch() and len(learned) >= settings.gan_rows_min:
        makers.insert(0, ("gan", lambda: make_by_gan(start, learned, count, seed, settings)))
    return makers


def _vet(maker: Maker, made: Floats, request: TrainingSet, start: Start, learned: Floats, held_out: Floats) -> Vetting:
    settings, seed, nominal = request.settings, request.seed, request.nominal
    others, held = request.others, request.others_held_out
    shadow = ShadowSet(learned, others[~held], held_out, others[held], request.rate)
    learners = {"live": live_model(request.model, nominal), "booster": booster}
    return vet(
        maker,
        made,
        lambda: quality_of(made, learned, held_out, nominal, start.table, seed),
        lambda: shadow_gains(shadow, made, learners, settings.shares, settings.shadow_repeats, seed),
        settings,
    )

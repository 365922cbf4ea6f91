"""From format 1: makes its state one of format 2. In: a loaded state. Out: the same, with what has come since.

Format 1 was written for a time by a changing core and carries no layouts, so whatever is there is left as it is. What a
file cannot know begins as unknown: rows remembered without a number count as old at the next drift, an alarm of
then kept no rows. Trainings of a GAN changed in what they hold; a state with one is refused.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from stream_balance.core.arm import MARKS_MAX, Arm
from stream_balance.core.arms.linear import RATE, Linear
from stream_balance.core.arms.replay_mlp import ReplayMLP
from stream_balance.core.arms.tail import TailLinear
from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.core.balance.informed import Informed
from stream_balance.core.balance.neighbours import Interpolator
from stream_balance.core.calibrate import FIRST_TRUST, LATER_TRUST, Calibrator, CalibratorSettings, make_last
from stream_balance.core.drift import Change
from stream_balance.core.gather import Gather, Patience
from stream_balance.core.line import Line, of_slopes
from stream_balance.core.lineup import NONE
from stream_balance.core.memory import Memory
from stream_balance.core.mixture import Mixture
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.rates import RateWatch
from stream_balance.core.records import Floats
from stream_balance.core.retrain import Retrain
from stream_balance.core.settling import Settling
from stream_balance.core.standings import Standings
from stream_balance.core.straighten import Straightener, Trust
from stream_balance.core.target import TargetControl
from stream_balance.core.window import Window
from stream_balance.edge.checkpoint.layout import attributes, is_of_core
from stream_balance.errors import SettingsError

DEFAULTS = CalibratorSettings()


class FormerLine:
    """What a line was then: it forgot by itself, row by row."""

    moments: Any
    slope: float
    shift: float
    slope_precision: float
    shift_precision: float
    fade: float
    h00: float
    h01: float
    h11: float
    rows: int


class FormerTrust:
    """What weighed three versions then: the model's word, a line, the line straightened."""

    weights: Floats
    _discount: float


class FormerStraightener:
    """What gathered rows around knots then: outcomes that were expected and that were seen there."""

    _fade: float
    _youth: float
    _prior: float
    _rows: int
    _places: Floats
    _expected: Floats
    _seen: Floats


def migrate(state: Any) -> Any:
    """The state, changed in place. Raises SettingsError for one that cannot be."""
    things = list(_things(state))
    for thing in things:
        _add_defaults(thing)
    for thing in things:
        for kind, change in _CHANGES.items():
            if isinstance(thing, kind):
                change(thing)
    return state


def _things(state: Any) -> Iterator[Any]:
    """Every object of a class of the core, once."""
    seen: dict[int, Any] = {}
    waiting = [state]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        if isinstance(thing, dict):
            waiting += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            waiting += thing
        elif is_of_core(type(thing)):
            waiting += [getattr(thing, name) for name in {*getattr(thing, "__dict__", ()), *attributes(type(thing))}
                        if hasattr(thing, name)]  # fmt: skip
            yield thing
        elif hasattr(thing, "__self__"):  # a method, bound
            waiting.append(thing.__self__)
        else:
            continue
        seen[id(thing)] = thing


def _add_defaults(thing: Any) -> None:
    """Settings and fields that have come since are what they are by default; settings that are none any more go."""
    if isinstance(thing, BaseModel):
        for name in thing.__dict__.keys() - type(thing).model_fields.keys():
            del thing.__dict__[name]
        for name, about in type(thing).model_fields.items():
            if name not in thing.__dict__ and not about.is_required():
                thing.__dict__[name] = about.get_default(call_default_factory=True)
    elif is_dataclass(thing):
        for each in fields(thing):
            if hasattr(thing, each.name):
                continue
            if each.default is not MISSING:
                object.__setattr__(thing, each.name, each.default)
            elif each.default_factory is not MISSING:
                object.__setattr__(thing, each.name, each.default_factory())


def _begin(thing: Any, **values: Any) -> None:
    """Attributes that are not there begin with these."""
    for name, value in values.items():
        if not hasattr(thing, name):
            setattr(thing, name, value)


def _arm(arm: Any) -> None:
    _begin(arm, _tail_only=getattr(arm.model, "tail_only", False), _marks=deque(maxlen=MARKS_MAX))
    _begin(arm, balances=arm.pair.strategy != NONE)
    if not hasattr(arm, "ratios"):
        arm.ratios = [arm.ratio] if arm.balances else []
        del arm.ratio
    for ratio, part in zip(arm.ratios, arm.strategy.parts(), strict=False):
        _begin(ratio, _outcomes=part.ratio_outcomes)


def _replay_mlp(model: Any) -> None:
    """Its networks said log odds of their batches; now they learn under those as an offset, so it leaves their bias."""
    if hasattr(model, "_offset"):
        return
    drawn = np.log(np.maximum(model._planned, 1))
    if model.networks.width:
        model.networks._layers[-1][...] -= (drawn[1:] - drawn[:1]).astype(np.float32)
    _begin(model, _rare_share_asked=model._rare_share, _numbers=np.zeros(len(model._rows), dtype=np.int64))
    model._offset = (drawn[1:] - drawn[:1]).astype(np.float32)


def _window_booster(model: Any) -> None:
    _begin(model, _known_from=0, _current=np.arange(len(model._rows)) < model.learned, _waiting=[])


def _linear(model: Any) -> None:
    """Its intercepts follow the classes from now on, those it has learned are as they were; steps are those of now."""
    if not hasattr(model, "counts"):
        model.counts = [max(share * model.learned, 1.0) for share in model.shares.values()]
        model._rate = RATE


def _tail_linear(model: Any) -> None:
    _begin(model, _has_tail=True)


def _mixture(mixture: Any) -> None:
    """What arms add to their mean begins as nothing; the slow memory begins with the losses of the one there was."""
    settings = mixture._settings
    _begin(mixture, decided=0, decisions=deque(maxlen=settings.decisions_max))
    fresh = Mixture(settings, mixture.arms)
    if hasattr(mixture, "_debts"):
        for weights, losses, debts in zip(fresh._by_tier, mixture._losses, mixture._debts, strict=True):
            weights.begin(np.stack([losses, losses]), np.stack([debts, debts]))
        del mixture._losses, mixture._debts
        mixture._by_tier = fresh._by_tier
    mixture._read_weights()
    _begin(mixture, _stacks=fresh._stacks, _tables=fresh._tables, _floats=None)
    _begin(mixture, _outcomes=0, _since=0, _lost=[0.0, 0.0], _levels=[0.0] * 3)


def _pipeline(pipeline: Any) -> None:
    """The drift watch takes its settings from here; the alarms that it keeps say more now. The last calibration of what
    a mixture says begins as one that knows nothing.
    """
    drift, panel = pipeline.drift, pipeline.panel
    base_rate = _one_base_rate(panel)
    _begin(panel.recent, base_rate=base_rate)
    _begin(
        panel, _uncalibrated=Gather(), _untaught=Gather(), _patience=Patience(pipeline.settings.calibrate.block_rows)
    )
    panel._patience.skip(panel.examples)
    _begin(panel, _rate_watch=RateWatch(panel.classes))
    if not hasattr(panel, "_settling"):
        panel._settling = Settling()
        panel._settling.learned(panel.examples, panel.version)
    _begin(panel, _plain=[member for member in panel.members if member.pair.strategy == NONE])
    mixtures = (panel.arms > 1) + (panel.standings.none_mixture is not None)
    _begin(panel, _last=[make_last(pipeline.settings.calibrate, panel.classes, base_rate) for _ in range(mixtures)])
    _begin(drift, _settings=pipeline.settings.drift)
    for watch in (drift._loss, drift._rate):
        _begin(watch, _waiting=[])
    drift._alarms = deque(
        (
            each if isinstance(each, Change) else Change(each[0], each[1], each[2], kept_rows=0, rose=False)
            for each in drift._alarms
        ),
        maxlen=drift._alarms.maxlen,
    )


def _standings(standings: Any) -> None:
    if hasattr(standings, "_gather"):
        return
    standings._gather = Gather()
    for each in standings._waiting:
        if each.measured:  # others waited to be weighed, which the panel does now
            standings._gather.add(each)
    del standings._waiting, standings._waiting_rows


def _target(control: Any) -> None:
    """What a step led to is known of no share; the place is the nearest to where the target is."""
    if hasattr(control, "_place"):
        return
    asked, began = (math.log(share / (1.0 - share)) for share in (control.target, control._start))
    control._place = round((asked - began) / math.log(control._settings.factor))
    control.decided = max(control.steps, len(control.decisions))
    control._found, control._closed, control._sign, control._direction = {}, set(), 0, 0


def _one_base_rate(panel: Any) -> Any:
    """Every calibrator had one of its own; they were all the same."""
    calibrators = [member.calibrator for member in panel.members]
    for each in calibrators:
        _begin(each, _observes=False)
        each._rate = calibrators[0]._rate
    return calibrators[0]._rate


def _calibrator(calibrator: Any) -> None:
    """The line that remembers begins as the one there was, not bent, and shares its weight; the rate begins without
    any. All but the quick line's memories are of so many outcomes now, as many as by default.
    """
    if not hasattr(calibrator, "_lines"):
        return
    _begin(calibrator, _patience=Patience(calibrator._block_rows))
    calibrator._patience.skip(sum(lines[0].rows for lines in calibrator._lines))
    calibrator._quick = [[_line(each, _by_rows(each)) for each in lines] for lines in calibrator._lines]
    bends = DEFAULTS.bend_precisions()
    calibrator._slow = [[_line(each, DEFAULTS.slow_memory(), bends) for each in lines] for lines in calibrator._lines]
    del calibrator._lines
    calibrator._trusts = [[_trust(each) for each in trusts] for trusts in calibrator._trusts]
    calibrator._shapes = [_straightener(each) for each in calibrator._shapes]
    _begin(calibrator, _marginals=Calibrator(DEFAULTS, calibrator.classes)._marginals)
    calibrator._flat = calibrator._logits_of_rates()


def _by_rows(former: FormerLine) -> Memory:
    return Memory(rows=-1.0 / math.log(1.0 - former.fade), youth=getattr(former, "youth", DEFAULTS.youth))


def _line(former: FormerLine, memory: Memory, bend_precisions: tuple[float, ...] = ()) -> Line:
    found = Line(0.0, memory, former.slope_precision, former.shift_precision, bend_precisions)
    found.slopes, found.shift = [former.slope for _ in found.slopes], former.shift
    h = np.diag([former.h00, *bend_precisions, former.h11])
    h[0, -1] = h[-1, 0] = former.h01
    found._h = of_slopes(h)
    found.moments, memory.seen = deepcopy(former.moments), former.rows
    return found


def _trust(former: FormerTrust) -> Trust:
    found = Trust(FIRST_TRUST, LATER_TRUST, DEFAULTS.trust_memory())
    raw, line, bent = former.weights.tolist()
    found.weights = np.array([raw, line / 2, line / 2, bent, 0.0])
    return found


def _straightener(former: FormerStraightener) -> Straightener:
    """A knot becomes a bin: as many rows as make the outcomes that were expected of them."""
    memory = DEFAULTS.shape_memory()
    memory.seen = former._rows
    found = Straightener(memory, DEFAULTS.shape_prior)
    there = former._expected > 0.0
    if there.any():
        found._places, expected, seen = former._places[there], former._expected[there], former._seen[there]
        found._rows = np.maximum(expected * (1.0 + np.exp(-found._places)), seen)
        found._outcomes = seen
        found._draw(1.0 / (1.0 + np.exp(-found._places)))
    return found


def _retrain(retrain: Any) -> None:
    if retrain.requests:
        raise SettingsError(
            f"the checkpoint has format 1 and holds {retrain.requests} trainings of a GAN, which this version cannot "
            "take over. Start the version that wrote it, or name an empty folder to begin again."
        )


def _informed(strategy: Any) -> None:
    strategy._references.clear()
    _begin(strategy, _forgotten=0)


_CHANGES: dict[type, Callable[[Any], None]] = {
    Arm: _arm,
    Calibrator: _calibrator,
    ReplayMLP: _replay_mlp,
    WindowBooster: _window_booster,
    Linear: _linear,
    TailLinear: _tail_linear,
    # Gathered and worked out anew from the window, when next asked for.
    Informed: _informed,
    Interpolator: lambda interpolator: interpolator._scales.clear(),
    Mixture: _mixture,
    Standings: _standings,
    TargetControl: _target,
    Window: lambda window: _begin(window, forgotten=0),
    Pipeline: _pipeline,
    Retrain: _retrain,
}

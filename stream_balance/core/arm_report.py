"""Arm report: the report's parts on arms, references, their mixture and the moving target. Values only."""

from __future__ import annotations

from typing import Literal

from stream_balance.core.figures import Figure, Record


class ArmScope(Record):
    """What one arm or reference said of the rows of the comparison's window, calibrated."""

    rows: int = 0
    log_loss: Figure = None
    average_precision: Figure = None
    roc_auc: Figure = None


class TierFigures(Record):
    """A figure by tier."""

    head: Figure = None
    tail: Figure = None


class ArmFigures(Record):
    """A (model, strategy) pair that learns beside the others; a reference has no weight in what is served."""

    name: str
    model: str
    strategy: str
    role: Literal["arm", "reference"]
    running: bool
    samples: int
    weight: TierFigures | None = None
    coefficient: TierFigures | None = None
    window: ArmScope = ArmScope()
    head: ArmScope = ArmScope()
    tail: ArmScope = ArmScope()


class Difference(Record):
    """How much better what was served is than something else (positive = better), and the standard error of that."""

    value: Figure = None
    error: Figure = None


class Lift(Record):
    """What was served against a reference, on the rows of the window for which both had an answer."""

    rows: int = 0
    average_precision: Difference = Difference()
    log_loss: Difference = Difference()


class ArmDecision(Record):
    """What was decided about an arm, why, and the weight and worth, or the lead, that it rests on."""

    arm: str
    action: Literal["paused", "resumed", "champion"]
    reason: Literal["light", "retry", "rose", "drift", "lead"]
    position: int
    weight: Figure = None
    worth: Figure = None
    lead: Figure = None


class MixtureFigures(Record):
    """How one answer is made of several."""

    serve: Literal["mixture", "champion"] = "mixture"
    champion: str | None = None
    switches: int = 0
    decided: int = 0
    decisions: tuple[ArmDecision, ...] = ()


class TargetDecision(Record):
    """A step of the target share, or one that was held back, with its reason and evidence."""

    reason: Literal["harms", "helps", "fell", "tries", "drift", "few_rows"]
    before: float
    after: float
    gained: Figure = None
    error: Figure = None
    position: int


class TargetFigures(Record):
    """The share aimed at where an objective moves it."""

    objective: str
    share: float
    steps: int
    decided: int = 0  # those that are no longer kept too
    decisions: tuple[TargetDecision, ...] = ()

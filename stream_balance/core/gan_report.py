"""GAN report: the report's `gan`: requests, releases, refusals with their numbers. See `core/report`."""

from __future__ import annotations

from pydantic import Field

from stream_balance.core.figures import Figure, Record


class GanGain(Record):
    """What made rows brought one model in the shadow test: average precision on held-out rows, differences paired."""

    model: str
    share: float
    none: Figure = None
    over_none: Figure = None
    over_none_error: Figure = None
    over_copies: Figure = None
    over_copies_error: Figure = None


class GanVetting(Record):
    """The verdict on the rows of one maker, with its numbers."""

    maker: str
    verdict: str
    reason: str
    share: Figure = None
    c2st: Figure = None
    coverage: Figure = None
    dcr_share: Figure = None
    marginal: Figure = None
    pairwise_max: Figure = None
    pairs_lost: Figure = None
    gains: tuple[GanGain, ...] = ()


class GanOutcome(Record):
    """What became of one request, at the number of events at which it entered; the makers tried, in their order."""

    position: int
    label: str
    asked_for: str
    outcome: str
    reason: str
    warm: bool = False
    early: bool = False
    epsilon: Figure = None
    vettings: tuple[GanVetting, ...] = ()


class GanRequest(Record):
    """The request that a child works on."""

    label: str
    asked_for: str
    asked_at: int
    enters_at: int


class GanPool(Record):
    """The release that serves a class now."""

    maker: str
    rows: int
    share: Figure = None
    age_s: Figure = None
    drawn: int = 0


class Gan(Record):
    """Generated rows: requests, what became of them, and the releases in use by class."""

    requests: int = 0
    releases: int = 0
    refusals: dict[str, int] = Field(default_factory=dict)
    expired: int = 0
    epsilon: dict[str, float] = Field(default_factory=dict)
    open: GanRequest | None = None
    pool: dict[str, GanPool] = Field(default_factory=dict)
    last: GanOutcome | None = None
    history: tuple[GanOutcome, ...] = ()

"""Fits: the trainer as the core sees it. In: kinds and requests. Out: results, or a word for why there is none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from stream_balance.core.records import RoomSettings
from stream_balance.edge.checkpoint.refusals import Refusals
from stream_balance.edge.trainer import Job, Refusal, Tally, Trained, Trainer, Worker, WorkerSettings

KIND = "booster"
WORKER = Worker(
    "stream_balance.core.arms.booster_fit:fit", settings=WorkerSettings(timeout_s=120.0, memory_mb=2_048, nice=10)
)


class WorkersSettings(RoomSettings):
    """Limits of the child processes, by kind of work. They decide no result, only whether there is one."""

    booster: WorkerSettings = WORKER.settings
    gan: WorkerSettings = WorkerSettings(timeout_s=600.0)


def make_trainer(settings: WorkersSettings) -> Trainer:
    """All the kinds of work there are. A child is started when the first of its kind is asked for."""
    return Trainer({
        KIND: Worker(WORKER.reference, settings=settings.booster),
        # Seldom asked for, and its libraries are large: no child stays behind.
        "gan": Worker("stream_balance.gan.worker:work", keep=False, settings=settings.gan),
    })  # fmt: skip


def makes_gan_rows() -> bool:
    """Whether torch is there for the child; it is not loaded here. Without it the copula makes the rows."""
    return find_spec("torch") is not None


class ChildFits:
    """Runs the core's fits in child processes, waits for a result when it must. Close it.

    `refusals` remembers what was refused, across restarts. `turn` is called now and then while the loop waits.
    """

    def __init__(
        self, trainer: Trainer, refusals: Refusals | None = None, *, turn: Callable[[], None] = lambda: None
    ) -> None:
        self._trainer = trainer
        self._refusals = refusals
        self._turn = turn

    def submit(self, kind: str, request: bytes) -> Job:
        """Start the fit, or queue it. What has been refused once is refused again, for the same reason."""
        known = None if self._refusals is None else self._refusals.why(kind, request)
        if known is not None:
            return Job.refused(kind, request, Refusal(known, f"{kind}: refused before a restart", 0))
        return self._trainer.submit(kind, request)

    def take(self, ticket: Job) -> bytes | None:
        """The result; None for a refusal, which the trainer's tally has counted, and which a restart will follow."""
        outcome = self._trainer.wait(ticket, self._turn)
        if isinstance(outcome, Trained):
            return outcome.result
        if self._refusals is not None and outcome.attempts:
            self._refusals.keep(ticket.kind, ticket.request, outcome.reason)
        return None

    def why(self, ticket: Job) -> str:
        """The reason of a refusal, a word of the trainer's closed list."""
        outcome = self._trainer.wait(ticket)
        return "" if isinstance(outcome, Trained) else outcome.reason

    @property
    def tallies(self) -> dict[str, Tally]:
        """Counters by kind."""
        return self._trainer.tallies

    def close(self) -> None:
        """End the children."""
        self._trainer.close()

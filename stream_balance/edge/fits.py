"""Fits: the booster's fits in a child process. In: requests. Out: results, where they are due. See `edge/trainer`."""

from __future__ import annotations

from stream_balance.edge.trainer import Job, Refusal, Trainer, Worker, WorkerSettings

KIND = "booster"
WORKER = Worker(
    "stream_balance.core.arms.booster_fit:fit", settings=WorkerSettings(timeout_s=120.0, memory_mb=2_048, nice=10)
)


class ChildFits:
    """What `WindowBooster.attach` takes: submits to a trainer that knows the kind `booster`, waits when it must."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def submit(self, kind: str, request: bytes) -> Job:
        """Start the fit, or queue it."""
        return self._trainer.submit(kind, request)

    def take(self, ticket: Job) -> bytes | None:
        """The result; None for a refusal, which the trainer's tally has counted with its reason."""
        outcome = self._trainer.wait(ticket)
        return None if isinstance(outcome, Refusal) else outcome.result

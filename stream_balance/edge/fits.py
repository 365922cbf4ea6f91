"""Fits: the trainer as the core sees it. In: kinds and requests. Out: results, or a word for why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec

from stream_balance.core.records import RoomSettings
from stream_balance.edge.checkpoint.fit_journal import Entry, FitJournal
from stream_balance.edge.trainer import Job, Refusal, Tally, Trained, Trainer, Worker, WorkerSettings
from stream_balance.errors import SettingsError, WorldError

KIND = "booster"
WORKER = Worker(
    "stream_balance.core.arms.booster_fit:fit", settings=WorkerSettings(timeout_s=120.0, memory_mb=2_048, nice=10)
)


class WorkersSettings(RoomSettings):
    """Limits of the child processes, by kind of work. They decide no result, only whether, and when, there is one."""

    booster: WorkerSettings = WORKER.settings
    gan: WorkerSettings = WorkerSettings(timeout_s=600.0)
    early: bool = False  # `run` only: the GAN's answer enters when it is there, not at gan.swap_after_events


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


def check_privacy(on: bool) -> None:
    """Raise SettingsError where trainings are to be private and the extra for it is missing."""
    missing = [name for name in ("torch", "opacus") if find_spec(name) is None]
    if on and missing:
        raise SettingsError(
            f"gan.privacy.on needs {' and '.join(missing)}: pip install 'stream-balance[privacy]'; or leave it off."
        )


class ChildFits:
    """Runs the core's fits in child processes, waits for a result when it must. Close it.

    `journal` remembers, across restarts, what is nobody's to repeat. With `early` a result enters as soon as it is
    there, which takes a journal. `turn` is called now and then while the loop waits, `tell` for what somebody must see.
    """

    def __init__(
        self,
        trainer: Trainer,
        journal: FitJournal | None = None,
        *,
        early: bool = False,
        turn: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._trainer = trainer
        self._journal = journal
        self._early = early
        self._turn = turn
        self._tell = tell

    def submit(self, kind: str, request: bytes) -> Job:
        """Start the fit, or queue it. What has been refused once is refused again, for the same reason."""
        known = None if self._journal is None else self._journal.why(kind, request)
        if known is not None:
            return Job.refused(kind, request, Refusal(known, f"{kind}: refused before a restart", 0))
        return self._trainer.submit(kind, request)

    def enters(self, ticket: Job, events: int) -> bool:
        """Whether a result enters at so many events, before its time: where it once did, and at no other; else, if it
        may, as soon as it is there. Either answer is safe in the journal on return, so a restart gives it again.
        """
        if self._journal is None:
            return False
        kind, request = ticket.kind, ticket.request
        known = self._journal.early(kind, request)
        if known.position is not None:
            return events >= known.position
        # One refused, or with a result, without a position entered at its time.
        at_its_time = known.reason is not None or known.result is not None
        if not self._early or at_its_time or events <= known.not_by:
            return False
        if not ticket.done():
            self._journal.wait(kind, request, events)
            return False
        outcome = self._trainer.wait(ticket)
        self._journal.enter(kind, request, events, outcome.result if isinstance(outcome, Trained) else outcome.reason)
        return True

    def take(self, ticket: Job) -> bytes | None:
        """The result; None for a refusal, which the trainer's tally has counted, and which a restart will follow.

        Raises WorldError where there is none of a fit that has entered before: what was made of it has left.
        """
        outcome = self._trainer.wait(ticket, self._turn)
        journal, kind, request = self._journal, ticket.kind, ticket.request
        known = Entry(kind) if journal is None else journal.early(kind, request)
        if isinstance(outcome, Trained):
            if known.result is None and journal is not None:
                journal.serve(kind, request, outcome.result)
            elif known.result is not None and known.result != hashlib.sha256(outcome.result).hexdigest():
                self._tell(
                    f"{kind}: a result is another one than that which once entered: other libraries, or another CPU"
                )
            return outcome.result
        self._tell(f"no result: {outcome.message}")
        if journal is None or known.reason is not None:
            return None
        if known.result is not None and journal.is_kept:
            raise WorldError(
                f"{outcome.message}: this fit had a result before a restart, and what it predicted has left, so it is "
                "not left out now. Start again, and it is asked again. If it goes on, raise "
                f"workers.{kind}.timeout_s or workers.{kind}.memory_mb."
            )
        journal.refuse(kind, request, outcome.reason)
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

"""Saving: opens the checkpoint folder that the settings name, for `run` and `replay`. In: settings. Out: what was saved
there, if anything, and the keeper that goes on saving. The folder is ours alone while the block runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint import CheckpointSettings, compat
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import Disk, LocalDisk
from stream_balance.edge.checkpoint.fit_journal import Entry, FitJournal
from stream_balance.edge.checkpoint.format import Header
from stream_balance.edge.checkpoint.keeper import About, Keeper
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.checkpoint.store import Loaded, Store, Tell, untold
from stream_balance.edge.checkpoint.writer import ForkWriter, InlineWriter, Writer
from stream_balance.errors import SettingsError
from stream_balance.service import versions
from stream_balance.settings import Settings

_FACTORY = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")
KEY_BYTES_MIN = 16


@dataclass(frozen=True, slots=True)
class Saving:
    """An open folder: `keeper` saves; `loaded` is what was there; `plan` the merge decisions taken after it;
    `journal` what became of fits in child processes."""

    settings: CheckpointSettings
    keeper: Keeper
    loaded: Loaded | None
    plan: list[dict[str, int]]
    journal: FitJournal

    @property
    def pipeline(self) -> Pipeline | None:
        """The saved pipeline, with all it has learned and holds."""
        if self.loaded is None:
            return None
        pipeline: Pipeline = self.loaded.state["pipeline"]
        return pipeline

    @property
    def position(self) -> dict[str, Any] | None:
        """Where its input goes on."""
        return None if self.loaded is None else self.loaded.header.position


def state_settings(settings: Settings, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that a state depends on; `more` is what else it was made with (how a table is read)."""
    return {
        "core": settings.core().model_dump(mode="json"),
        "seed": settings.seed,
        "wire": {"classes": list(settings.wire.classes)},
        "privacy": {"hash_user_ids": settings.privacy.hash_user_ids},
        **(more or {}),
    }


def trusted_modules(settings: Settings) -> list[str]:
    """Modules whose classes may be in the state: those of configured factories, and those listed."""
    found = list(settings.checkpoint.trusted_modules)
    values: list[Any] = [settings.core().model_dump(mode="json")]
    while values:
        value = values.pop()
        if isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str) and (match := _FACTORY.fullmatch(value)):
            found.append(match[1])
    return found


def read_key(path: Path | None, of: str = "checkpoint.hmac_key_file") -> bytes | None:
    """A signing key; a trailing line end is cut off. Raises SettingsError, which says what it is the key `of`."""
    if path is None:
        return None
    try:
        key = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise SettingsError(f"{of} {str(path)!r} cannot be read: {error.strerror}.") from error
    if len(key) < KEY_BYTES_MIN:
        raise SettingsError(
            f"{of} {str(path)!r} has {len(key)} bytes, expected at least {KEY_BYTES_MIN}. Make one with 'openssl rand "
            "-hex 32'."
        )
    return key


def open_store(folder: Path, settings: Settings, tell: Tell = untold) -> tuple[LocalDisk, Store]:
    """The checkpoints of a folder, for reading and writing."""
    disk = LocalDisk(folder)
    allowed = AllowList(trusted_modules(settings))
    return disk, Store(disk, allowed, key=read_key(settings.checkpoint.hmac_key_file), tell=tell)


def begin(
    settings: Settings,
    input_: str,
    disk: Disk,
    store: Store,
    writer: Writer,
    *,
    more: Mapping[str, Any] | None = None,
    is_ours: Callable[[], bool] = lambda: True,
    tell: Tell = untold,
    follow: Mapping[str, Entry] | None = None,
    **clocks: Any,
) -> Saving:
    """What is there, if it may go on under these settings, and a keeper that goes on; `clocks` are the keeper's.

    Raises SettingsError if it may not, WorldError if it cannot be read.
    """
    ours = state_settings(settings, more)
    about = About(input_, ours, versions(), compat.chosen(ours, state_settings(Settings())))
    loaded = store.newest(_checker(about, settings, tell))
    keeper = Keeper(store, disk, writer, settings.checkpoint, about, is_ours=is_ours, tell=tell, **clocks)
    journal = FitJournal(disk, follow, entries_max=settings.checkpoint.fits_max, key=store.key)
    return Saving(settings.checkpoint, keeper, loaded, keeper.resume(loaded), journal)


@contextmanager
def saving(
    settings: Settings,
    folder: Path | None,
    input_: str,
    tell: Tell,
    *,
    more: Mapping[str, Any] | None = None,
    may_resume: bool = True,
    follow: Mapping[str, Entry] | None = None,
) -> Iterator[Saving | None]:
    """The folder, locked and read; None without a folder. Raises WorldError if another process has it, SettingsError
    if what is there cannot go on under these settings, or may not (`may_resume`).
    """
    if folder is None:
        yield None
        return
    disk, store = open_store(folder, settings, tell)
    lock = FolderLock(folder)
    try:
        if not may_resume and store.sequences():
            raise SettingsError(
                f"checkpoint folder {str(folder)!r} holds checkpoints. Add --resume to go on from the last one, or "
                "name an empty folder to begin again."
            )
        forking = settings.checkpoint.writer == "fork"
        writer = ForkWriter(settings.checkpoint.write_max_s) if forking else InlineWriter()
        saved = begin(settings, input_, disk, store, writer, more=more, is_ours=lock.is_held, tell=tell, follow=follow)
        try:
            yield saved
        finally:
            saved.keeper.close()
            saved.journal.close()
    finally:
        lock.release()


def _checker(about: About, settings: Settings, tell: Tell) -> Callable[[Header, str], None]:
    defaults = state_settings(Settings())

    def check(header: Header, name: str) -> None:
        compat.check_input(header, about.input, name)
        compat.check_settings(header, about.settings, defaults, name)
        different = compat.check_versions(header, about.versions, name, accept=settings.checkpoint.accept_versions)
        if different:
            listed = ", ".join(different)
            tell(f"{name} was written with other versions ({listed}): {compat.consequence(different)}")

    return check

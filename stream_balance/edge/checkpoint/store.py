"""Store: the checkpoints of one folder. In: headers and states. Out: the newest whole one; older ones as a reserve.

A checkpoint is written under a temporary name, synced, renamed, and the folder synced; until then the one before
counts. A file that turns out damaged is passed over, loudly, for the one before it.
"""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from stream_balance.edge.checkpoint import format as fmt
from stream_balance.edge.checkpoint.allow import AllowList, NotAllowed, load, save
from stream_balance.edge.checkpoint.disk import Disk, disk_error
from stream_balance.edge.checkpoint.format import Damaged, Header, Summing, Trailer
from stream_balance.edge.checkpoint.layout import is_of_core, layout, layouts, name_of
from stream_balance.edge.checkpoint.migrations import MIGRATIONS, Migration, Path
from stream_balance.errors import SettingsError, StreamBalanceError, WorldError

Tell = Callable[..., None]  # words, and the numbers they are about as named fields
_CHECKPOINT = re.compile(r"checkpoint-(\d{10})\.sbc")
NAMED_MAX = 10  # classes named in a message
_TEMPORARY = re.compile(r"checkpoint-\d{10}\.tmp")


def _nothing(_found: Any) -> None:
    """Of an older format: its migrations know what has changed."""


def _compare(then: Mapping[str, str], other: set[str], found: Any) -> None:
    """Note a class of the core that looked different when the state was written."""
    if is_of_core(found) and then.get(name_of(found)) != layout(found):
        other.add(name_of(found))


def _of_other_classes(name: str, other: set[str]) -> SettingsError:
    shown = ", ".join(sorted(other)[:NAMED_MAX])
    more = f" and {len(other) - NAMED_MAX} more" if len(other) > NAMED_MAX else ""
    return SettingsError(
        f"{name} has format {fmt.FORMAT}, but what it holds of {shown}{more} has other attributes than these classes "
        "have in this version. Start the version that wrote it, or name an empty folder to begin again. (In "
        "development: a change of what is saved takes a new format and a migration.)"
    )


def untold(_words: str, **_fields: Any) -> None:
    """Nobody listens."""


def file_name(sequence: int) -> str:
    """The file of a checkpoint."""
    return f"checkpoint-{sequence:010d}.sbc"


def temporary_name(sequence: int) -> str:
    """Its name while it is written."""
    return f"checkpoint-{sequence:010d}.tmp"


def numbers(disk: Disk) -> list[int]:
    """The checkpoints of a folder, oldest first. Raises OSError."""
    return [int(match[1]) for name in disk.names() if (match := _CHECKPOINT.fullmatch(name))]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint read back."""

    header: Header
    state: Any


class Store:
    """Checkpoints of one folder, newest last. `tell` is told of what a person should know.

    `passed_over` counts damaged files met while loading.
    """

    def __init__(
        self,
        disk: Disk,
        allowed: AllowList,
        *,
        key: bytes | None = None,
        tell: Tell = untold,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        self._disk = disk
        self._allowed = allowed
        self.key = key
        self._tell = tell
        self._migrations = migrations
        self.passed_over = 0
        self._damaged: set[int] = set()  # as far as they were met

    # Reading

    def sequences(self) -> list[int]:
        """The numbers of the checkpoints there are, oldest first."""
        with self._words("cannot be listed"):
            return numbers(self._disk)

    def header(self, sequence: int) -> tuple[Header, int]:
        """Header and size in bytes, unchecked. Raises Damaged."""
        name = file_name(sequence)
        with self._words(f"{name} cannot be read"), self._disk.open(name) as source:
            return fmt.read_header(source, name), self._disk.size(name)

    def verify(self, sequence: int) -> tuple[Header, Trailer]:
        """Read the whole file and check its sum and signature. Raises Damaged or SettingsError."""
        with self._opened(sequence) as source:
            return self._verify(source, sequence)

    def newest(self, check: Callable[[Header, str], None] = lambda _header, _name: None) -> Loaded | None:
        """The newest whole checkpoint; None if there is none at all. `check(header, name)` may refuse it.

        Raises WorldError if there are only damaged ones, SettingsError for one that may not be taken.
        """
        sequences = self.sequences()
        for sequence in reversed(sequences):
            with self._opened(sequence) as source:
                try:
                    header, _ = self._verify(source, sequence)
                except Damaged as error:
                    self.passed_over += 1
                    self._tell(f"{error}; the checkpoint before it is taken")
                    continue
                check(header, file_name(sequence))
                return self._load(source, sequence)
        if sequences:
            raise WorldError(
                f"checkpoint.dir {self._disk.where!r}: none of the {len(sequences)} checkpoints is whole. Restore one "
                "from a backup, or name an empty folder to begin again."
            )
        return None

    def load(self, sequence: int) -> Loaded:
        """Header and state of a file that has been verified. Raises SettingsError for a state that cannot be taken."""
        with self._opened(sequence) as source:
            return self._load(source, sequence)

    @contextmanager
    def _opened(self, sequence: int) -> Iterator[BinaryIO]:
        """The file, opened once to be checked and loaded. Under a key it is in memory as a whole: who may not sign may
        still write, and must not change it between the two.
        """
        name = file_name(sequence)
        with self._words(f"{name} cannot be read"), self._disk.open(name) as source:
            yield source if self.key is None else io.BytesIO(source.read())

    def _verify(self, source: BinaryIO, sequence: int) -> tuple[Header, Trailer]:
        name = file_name(sequence)
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        try:
            trailer = fmt.check(source, size, name, self.key)
        except Damaged:
            self._damaged.add(sequence)
            raise
        source.seek(0)
        return fmt.read_header(source, name), trailer

    def _load(self, source: BinaryIO, sequence: int) -> Loaded:
        name = file_name(sequence)
        source.seek(0)
        header = fmt.read_header(source, name)
        path = Path(header.format, fmt.FORMAT, self._migrations)
        other: set[str] = set()
        meet = partial(_compare, header.layouts, other) if header.format == fmt.FORMAT else _nothing
        collecting = gc.isenabled()
        gc.disable()  # a million new objects, none of them garbage
        try:
            state = load(source, self._allowed, path.moved(), meet)
            if other:
                raise _of_other_classes(name, other)
            return Loaded(header, path.change(state))
        except NotAllowed as error:
            raise SettingsError(
                f"{name} names {error.name!r}, which is not on the list of what a checkpoint may hold. If it is part "
                "of your model, add its module to checkpoint.trusted_modules; if not, do not trust the file."
            ) from None
        except (StreamBalanceError, OSError):
            raise
        except Exception as error:  # a pickle that does not fit the classes of today can fail in any way
            if other:
                raise _of_other_classes(name, other) from error
            raise SettingsError(
                f"{name} is whole, but its state is not one of this version ({type(error).__name__}: {error}). Start "
                "the version that wrote it, or name an empty folder to begin again."
            ) from error
        finally:
            if collecting:
                gc.enable()

    # Writing

    def write(self, header: Header, state: Any) -> Callable[[], int]:
        """Ready to write under the temporary name: the returned function does it, syncs, and gives the size in bytes.

        It may be called in a forked child: what takes locks is done before.
        """
        name, target = temporary_name(header.sequence), Summing(self.key)

        def run() -> int:
            output = self._disk.create(name)
            whole = replace(header, layouts=layouts())
            try:
                target.attach(output)
                size = fmt.write(target, whole, lambda into: save(state, into, self._allowed))
                output.sync()
            finally:
                output.close()
            return size

        return run

    def install(self, sequence: int) -> None:
        """Make a written checkpoint the newest. Raises OSError."""
        self._disk.rename(temporary_name(sequence), file_name(sequence))
        self._disk.sync_names()

    def prune(self, keep: int) -> list[int]:
        """Remove all before the last `keep` that are not known to be damaged; return what is left. Raises OSError.

        A damaged one among those stays too, to be looked at. Where all are damaged, all stay. On return they are gone
        for good: the journals after them may go, and no power failure brings back a checkpoint without its journal.
        """
        sequences = self.sequences()
        whole = [sequence for sequence in sequences if sequence not in self._damaged][-keep:]
        removed = [sequence for sequence in sequences if whole and sequence < whole[0]]
        for sequence in removed:
            self._disk.remove(file_name(sequence))
        if removed:
            self._disk.sync_names()
        return sequences[len(removed) :]

    def clear_temporary(self) -> None:
        """Remove what killed writers left. Raises OSError."""
        for name in self._disk.names():
            if _TEMPORARY.fullmatch(name):
                self._disk.remove(name)

    @contextmanager
    def _words(self, did: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_error(self._disk, did, error) from error

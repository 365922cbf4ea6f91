"""Disk: the folder that checkpoints and the merge journal live in, as the few operations they need.

Names are plain file names within the folder. What is promised, and what a test's disk takes away: written data is safe
only after `sync` of the file, and a name (made, renamed, removed) only after `sync_names`. A rename replaces at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from stream_balance.errors import SettingsError, WorldError


class Output(Protocol):
    """A file being written."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int: ...

    def sync(self) -> None:
        """Everything written is safe."""

    def close(self) -> None: ...


class Disk(Protocol):
    """A folder. Every method raises OSError."""

    @property
    def where(self) -> str:
        """What messages call it."""

    def names(self) -> list[str]: ...

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> BinaryIO: ...

    def create(self, name: str) -> Output:
        """A new file; one of that name is replaced."""

    def sync_file(self, name: str) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None: ...

    def room(self) -> int | None:
        """Bytes that are free; None where nobody can say."""


class LocalFile:
    """A file of a local folder, unbuffered: whoever writes small pieces gathers them first."""

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """All of it."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += os.write(self._fd, view[done:])
        return done

    def sync(self) -> None:
        """Raises FileNotFoundError if the file was deleted meanwhile: what is written then is written to nothing."""
        os.fsync(self._fd)
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(2, "the file was deleted while it was written", str(self._path))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LocalDisk:
    """A local folder; made if it is missing, unless there is no `make`. Its files have `mode`."""

    def __init__(self, folder: Path, *, make: bool = True, mode: int = 0o600) -> None:
        self.folder = folder
        self._mode = mode
        if not make:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(
                f"checkpoint.dir {str(folder)!r} cannot be made: {error.strerror}. Name a folder that can be written."
            ) from error

    @property
    def where(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def size(self, name: str) -> int:
        return os.stat(self.folder / name).st_size

    def open(self, name: str) -> BinaryIO:
        return (self.folder / name).open("rb")

    def create(self, name: str) -> LocalFile:
        return LocalFile(self.folder / name, self._mode)

    def sync_file(self, name: str) -> None:
        with _opened(self.folder / name) as fd:
            os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.folder / old, self.folder / new)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.folder / name)

    def sync_names(self) -> None:
        with _opened(self.folder) as fd:
            os.fsync(fd)

    def room(self) -> int | None:
        try:
            found = os.statvfs(self.folder)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def disk_error(disk: Disk, did: str, error: OSError, do: str = "") -> WorldError:
    """An OSError in words; `do` is a sentence on what to do."""
    return WorldError(f"checkpoint.dir {disk.where!r}: {did}: {error.strerror or error}. {do}".rstrip())

"""Lock: one writer a folder. The file says who: process, host, since when. The lock itself is the system's (flock),
so that it ends with the process however that ends, and nobody has to judge whether a process id is stale.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from stream_balance.errors import SettingsError, WorldError

NAME = "lock"


class FolderLock:
    """Held from birth until `release`. Raises WorldError naming the one who holds it."""

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self._path = folder / NAME
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_writable(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):  # the lock's file may be there from better days
            os.close(self._fd)
            raise _not_writable(folder, PermissionError(13, "Permission denied"))
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _described(os.read(self._fd, 4096))
            os.close(self._fd)
            if not isinstance(error, BlockingIOError):
                raise WorldError(
                    f"checkpoint.dir {str(folder)!r} cannot be locked: {error.strerror}. Its file system must know "
                    "flock."
                ) from error
            raise WorldError(
                f"checkpoint.dir {str(folder)!r} is in use by {holder}. Stop that one, or name another folder."
            ) from None
        since = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(about).encode() + b"\n", 0)
        except OSError:
            pass  # a full disk: it is held all the same, only the name is missing

    def is_held(self) -> bool:
        """Whether the file at this place is still the one that is locked; not so once the folder was replaced."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two hold locks on two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _not_writable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"checkpoint.dir {str(folder)!r} cannot be written: {error.strerror}. Name a folder that can be."
    )


def _described(content: bytes) -> str:
    try:
        about = json.loads(content)
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"

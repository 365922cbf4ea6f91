"""A disk that keeps its word and no more: data is safe after a sync of the file, names after a sync of the folder.

When the power fails, each file keeps what was synced and any beginning of the rest, its last piece perhaps as zeros;
of the changes of names since the last sync any may be missing. A killed process alone loses nothing. Full for a while
if told so: whoever writes then is refused, perhaps after a part.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Literal

from tests.simulation.fate import Fate

Change = tuple[Literal["name", "remove"], str, "Inode | None"]


class Inode:
    """A file's content: all of it, and how much of it is safe."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.safe = 0


class SimulatedDisk:
    """A folder of one service, over all its lives."""

    where = "the simulated disk"

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._names: dict[str, Inode] = {}
        self._safe_names: dict[str, Inode] = {}
        self._changes: list[Change] = []  # since the last sync of names
        self.full_until_s = -1.0

    # Disk

    def names(self) -> list[str]:
        return sorted(self._names)

    def size(self, name: str) -> int:
        return len(self._inode(name).data)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(bytes(self._inode(name).data))

    def create(self, name: str) -> SimulatedFile:
        self._refuse_if_full()
        with_ = self._fate.passing(f"disk.create:{kind(name)}")
        inode = Inode()
        self._change("name", name, inode)
        if with_ is not None:
            self._fate.ends()
        return SimulatedFile(self, self._fate, name, inode)

    def sync_file(self, name: str) -> None:
        inode = self._inode(name)
        moment = self._fate.passing(f"disk.sync_file:{kind(name)}")
        inode.safe = len(inode.data)
        if moment is not None:
            self._fate.ends()

    def rename(self, old: str, new: str) -> None:
        moment = self._fate.passing(f"disk.rename:{kind(new)}")
        inode = self._inode(old)
        # One change for the folder: the new name is there and the old one is not, or neither.
        self._change("name", new, inode)
        self._change("remove", old, None)
        if moment is not None:
            self._fate.ends()

    def remove(self, name: str) -> None:
        if name not in self._names:
            return
        moment = self._fate.passing(f"disk.remove:{kind(name)}")
        self._change("remove", name, None)
        if moment is not None:
            self._fate.ends()

    def sync_names(self) -> None:
        moment = self._fate.passing("disk.sync_names")
        if moment == "within":
            self._fate.ends()
        self._safe_names = dict(self._names)
        self._changes.clear()
        if moment is not None:
            self._fate.ends()

    def room(self) -> int | None:
        return None

    # The world's side

    def power_fails(self) -> None:
        """Keep what is safe, and by chance some of the rest."""
        rng = self._fate.rng
        names = dict(self._safe_names)
        for change, name, inode in self._changes:
            if rng.random() < 0.5:
                if change == "remove":
                    names.pop(name, None)
                elif inode is not None:
                    names[name] = inode
        for inode in dict.fromkeys(names.values()):  # in an order that is the same each time
            kept = rng.randint(inode.safe, len(inode.data))
            torn = min(rng.choice((0, 0, 1, 7)), kept - inode.safe)
            inode.data[kept:] = b""
            inode.data[kept - torn :] = bytes(torn)
            inode.safe = len(inode.data)
        self._names, self._safe_names, self._changes = names, dict(names), []

    def rots(self, name: str) -> None:
        """One bit of a file is another, and nobody has noticed."""
        data = self._inode(name).data
        data[self._fate.rng.randrange(len(data))] ^= 1 << self._fate.rng.randrange(8)

    def would_stay(self) -> SimulatedDisk:
        """What is certain to be there after a power failure at this moment."""
        other = SimulatedDisk(Fate(0))
        for name, inode in self._safe_names.items():
            kept = Inode()
            kept.data = bytearray(inode.data[: inode.safe])
            other._names[name] = kept
        return other

    def unsafe(self, its_kind: str) -> list[str]:
        """The files of a kind that a power failure might take something of."""
        return [
            name
            for name, inode in self._names.items()
            if kind(name) == its_kind and (inode.safe < len(inode.data) or self._safe_names.get(name) is not inode)
        ]

    def _inode(self, name: str) -> Inode:
        if name not in self._names:
            raise FileNotFoundError(2, "No such file or directory", name)
        return self._names[name]

    def _change(self, change: Literal["name", "remove"], name: str, inode: Inode | None) -> None:
        self._changes.append((change, name, inode))
        if inode is None:
            del self._names[name]
        else:
            self._names[name] = inode

    def _refuse_if_full(self) -> None:
        if self._fate.now_s() < self.full_until_s:
            raise OSError(28, "No space left on device")


class SimulatedFile:
    """A file being written."""

    def __init__(self, disk: SimulatedDisk, fate: Fate, name: str, inode: Inode) -> None:
        self._disk = disk
        self._fate = fate
        self._kind = kind(name)
        self._inode = inode

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        moment = self._fate.passing(f"disk.write:{self._kind}")
        if moment == "within":
            self._inode.data += data[: self._fate.rng.randint(0, len(data))]
            self._fate.ends()
        if self._fate.now_s() < self._disk.full_until_s:
            self._inode.data += data[: self._fate.rng.randint(0, len(data))]
        self._disk._refuse_if_full()
        self._inode.data += data
        if moment is not None:
            self._fate.ends()
        return len(data)

    def sync(self) -> None:
        moment = self._fate.passing(f"disk.sync:{self._kind}")
        if moment == "within":
            self._fate.ends()
        self._inode.safe = len(self._inode.data)
        if moment is not None:
            self._fate.ends()
        if self._inode not in self._disk._names.values():
            raise FileNotFoundError(2, "the file was deleted while it was written")

    def close(self) -> None:
        return


def kind(name: str) -> str:
    """Temporary, checkpoint or journal, of merge or fits; of a recording segment or manifest: what crash points are
    named by.
    """
    for beginning in ("fits", "events", "recording"):
        if name.startswith(beginning):
            return beginning
    if name.endswith(".tmp"):
        return "temporary"
    return "journal" if name.startswith("journal") else "checkpoint"

"""Segments: what a recording's folder holds. In: a folder. Out: its manifest, its whole segments in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from stream_balance.edge.checkpoint.disk import Disk, LocalDisk
from stream_balance.errors import SettingsError

MANIFEST = "recording.json"
VERSION = 1
MERGED, TAKEN = "merged", "taken"  # whose order a recording has: equal times are put in order when it is read, or not


def recording_disk(folder: Path) -> LocalDisk:
    """A recording's folder; its files are whoever's may read the folder. It is not made here."""
    return LocalDisk(folder, make=False, mode=0o666)


def read_manifest(disk: Disk) -> dict[str, Any] | None:
    """The manifest of a recording; None where there is none. Raises SettingsError for one that is not ours."""
    path = f"{disk.where}/{MANIFEST}"
    try:
        with disk.open(MANIFEST) as source:
            manifest: Any = orjson.loads(source.read())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(f"{path!r} cannot be read: {error}. Name another folder.") from error
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise SettingsError(f"{path!r} is no recording of version {VERSION}. Name another folder.")
    return manifest


def segments(folder: Path) -> list[Path]:
    """The whole segments of a recording, in order. Raises SettingsError if the folder is none, or one is missing."""
    manifest = read_manifest(recording_disk(folder))
    if manifest is None:
        raise SettingsError(f"{str(folder)!r} is a folder without {MANIFEST}; name a log, or a recording's folder.")
    return [folder / segment["name"] for segment in manifest["segments"]]


def is_as_taken(folder: Path) -> bool:
    """Whether a recording has the order in which a service took its records."""
    return (read_manifest(recording_disk(folder)) or {}).get("order") == TAKEN

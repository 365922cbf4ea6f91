"""Segments: what a recording's folder holds. In: a folder. Out: its manifest, its whole segments in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from stream_balance.errors import SettingsError

MANIFEST = "recording.json"
VERSION = 1
MERGED, TAKEN = "merged", "taken"  # whose order a recording has: equal times are put in order when it is read, or not


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a recording; None where there is none. Raises SettingsError for one that is not ours."""
    path = folder / MANIFEST
    try:
        manifest: Any = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(f"{str(path)!r} cannot be read: {error}. Name another folder.") from error
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise SettingsError(f"{str(path)!r} is no recording of version {VERSION}. Name another folder.")
    return manifest


def segments(folder: Path) -> list[Path]:
    """The whole segments of a recording, in order. Raises SettingsError if the folder is none, or one is missing."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise SettingsError(f"{str(folder)!r} is a folder without {MANIFEST}; name a log, or a recording's folder.")
    return [folder / segment["name"] for segment in manifest["segments"]]


def is_as_taken(folder: Path) -> bool:
    """Whether a recording has the order in which a service took its records."""
    return (read_manifest(folder) or {}).get("order") == TAKEN

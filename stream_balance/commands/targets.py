"""Targets: what a command is to write, checked before its work, which may take hours. In: options and paths. Out: an
error, or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

from stream_balance.edge.checkpoint.fit_journal import FILE
from stream_balance.edge.segments import MANIFEST
from stream_balance.errors import SettingsError

STANDARD_OUTPUT = "-"  # as a string; a Path of that name is a file
_IN_FOLDERS = ("*.zst", MANIFEST, FILE, "*.sbc")  # of recordings and checkpoints: what is read there


def file_or_stdout(parameter: typer.CallbackParam, target: str | None) -> str | None:
    """For an option that takes a file or -: the target, checked."""
    if target is not None and target != STANDARD_OUTPUT:
        check_file(parameter.opts[0], target)
    return target


def check_file(option: str, target: str | Path) -> None:
    """Raises SettingsError if no file can be written there."""
    told, folder = f"{option} {str(target)!r}", str(Path(target).parent)
    if target == "":
        raise SettingsError(f"{told}: expected a file, or - for standard output.")
    if os.path.isdir(target):
        raise SettingsError(f"{told} is a folder. Name a file in it.")
    if not os.path.isdir(folder):
        raise SettingsError(f"{told}: {folder!r} is no folder. Create it, or name another one.")
    if not is_special(target) and not os.access(folder, os.W_OK):
        raise SettingsError(f"{told}: nothing may be written to {folder!r}. Name another folder.")


def is_special(target: str | Path) -> bool:
    """Whether it is a pipe or a device: written where it is, and never the same as another."""
    return os.path.exists(target) and not os.path.isfile(target)


def check_apart(read: Iterable[Path | None], written: Mapping[str, str | Path | None]) -> None:
    """Raises SettingsError if what is to be written, by its option, is one of the files read, or another option's."""
    inputs = [file for path in read if path is not None for file in _files(path)]
    before: dict[str, str | Path] = {}
    for option, target in written.items():
        if target is None:
            continue
        for file in inputs:
            if _is_same(target, file):
                raise SettingsError(
                    f"{option} {str(target)!r} would change {str(file)!r}, which is read. Name another file."
                )
        for other, taken in before.items():
            if _is_same(target, taken):
                raise SettingsError(
                    f"{other} {str(taken)!r} and {option} {str(target)!r} are one and the same. Give each a file of "
                    "its own."
                )
        before[option] = target


def _files(path: Path) -> list[Path]:
    """Itself; of a folder the files in it that are read."""
    return [file for name in _IN_FOLDERS for file in path.glob(name)] if path.is_dir() else [path]


def _is_same(one: str | Path, other: str | Path) -> bool:
    """Whatever the ways to it are: relative, through links, or by another name."""
    if STANDARD_OUTPUT in (one, other) or is_special(one):
        return one == other == STANDARD_OUTPUT
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)

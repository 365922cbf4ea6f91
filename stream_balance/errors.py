"""Errors a person meets. Each names the thing, what was found, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class StreamBalanceError(Exception):
    """Base of every error that is shown to a person as one message, never as a traceback."""

    exit_code = 1


class SettingsError(StreamBalanceError):
    """The settings, flags or input files named by them are wrong: refuse to start."""

    exit_code = 2


class WorldError(StreamBalanceError):
    """The world (broker, disk, network) let us down, beyond what was agreed to bear."""

    exit_code = 1


class BadRecord(StreamBalanceError):  # noqa: N818  # the design's word; not a failure of ours
    """One record that cannot be read. `reason` is a short, bounded word for the counter.

    Touches nothing but counters; the record's bytes go to the dead letters.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def to_keep(self) -> Self:
        """Itself without the frames that it came through: they hold whole batches of records, in a ring with it."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of what is known, with a space before it; nothing where none is near.

    >>> did_you_mean("smot", ["none", "smote"]), did_you_mean("Y", ["id", "y"]), did_you_mean("x", ["none"])
    (" Did you mean 'smote'?", " Did you mean 'y'?", '')
    """
    names = list(known)
    near = [other for other in names if other.lower() == name.lower()] or difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""

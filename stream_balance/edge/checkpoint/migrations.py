"""Migrations: how the state of an older format becomes that of the present one. One step a format, each explicit.

When a change of the core makes states of the last release unreadable: raise `format.FORMAT` by one and add here what
the step takes, under the old number. `tests/data/checkpoints` holds files of former versions; a test loads each one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_balance.edge.checkpoint.allow import Name
from stream_balance.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: classes that were renamed or moved (old name -> new), then a change of the loaded state."""

    moved: Mapping[Name, Name] = field(default_factory=dict)
    change: Callable[[Any], Any] = lambda state: state


def _from_1(state: Any) -> Any:
    """Imported when it is needed: it knows the core, which the rest of this room does not."""
    from stream_balance.edge.checkpoint.from_1 import migrate  # noqa: PLC0415

    return migrate(state)


_FROM_1 = "stream_balance.edge.checkpoint.from_1"
_CALIBRATE, _STRAIGHTEN = "stream_balance.core.calibrate", "stream_balance.core.straighten"
_MOVED_SINCE_1: dict[Name, Name] = {
    (_CALIBRATE, "_Line"): (_FROM_1, "FormerLine"),
    (_STRAIGHTEN, "Moments"): ("stream_balance.core.line", "Moments"),
    (_STRAIGHTEN, "Trust"): (_FROM_1, "FormerTrust"),
    (_STRAIGHTEN, "Straightener"): (_FROM_1, "FormerStraightener"),
}
# From this format to the next.
MIGRATIONS: dict[int, Migration] = {1: Migration(_MOVED_SINCE_1, _from_1)}


class Path:
    """The steps from one format to another. Raises SettingsError if one is missing."""

    def __init__(self, since: int, to: int, migrations: Mapping[int, Migration] = MIGRATIONS) -> None:
        missing = [number for number in range(since, to) if number not in migrations]
        if missing:
            raise SettingsError(
                f"checkpoint has format {since}, this version knows {to} and no way from {missing[0]} to "
                f"{missing[0] + 1}. Start the version that wrote it, or name an empty folder to begin again."
            )
        self._steps = [migrations[number] for number in range(since, to)]

    def moved(self) -> dict[Name, Name]:
        """Names then -> names now."""
        found: dict[Name, Name] = {}
        for step in self._steps:
            found = {old: step.moved.get(new, new) for old, new in found.items()} | {
                old: new for old, new in step.moved.items() if old not in found
            }
        return found

    def change(self, state: Any) -> Any:
        """The state as it is now."""
        for step in self._steps:
            state = step.change(state)
        return state

"""Progress: a bar over the bytes of a log, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stream_balance.commands.output import STDERR


@contextmanager
def progress_bar(total: int, done: Callable[[], int], quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar over `total` bytes with the time that is left; call the yielded function at each turn."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=STDERR, disable=quiet or not STDERR.is_terminal, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("replay", total=total)
        yield lambda count: progress.update(task, completed=done(), description=f"{count:,} records")

"""Where a finished report goes: a table on the terminal, JSON in a file or on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from stream_balance.commands.targets import STANDARD_OUTPUT, is_special
from stream_balance.edge.console import one_class_warning, render_report
from stream_balance.edge.deadletter_file import DeadLetterFile
from stream_balance.errors import WorldError

STDERR = Console(stderr=True)


def tell(words: str, **fields: object) -> None:
    """A warning for the person at the terminal, and the numbers it is about."""
    about = "".join(f" {name}={value}" for name, value in fields.items())
    STDERR.print(f"warning: {words}{about}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def write_report(report: dict[str, Any], target: str | None, title: str) -> None:
    """Print the table (to standard error if standard output gets the JSON) and write the JSON if asked."""
    Console(stderr=target == STANDARD_OUTPUT).print(render_report(report, title))
    warning = one_class_warning(report)
    if warning is not None:
        tell(warning)
    if target is not None:
        write("--report", target, as_json(report))


def as_json(document: dict[str, Any]) -> bytes:
    """As people and machines can read it."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write(option: str, target: str, content: bytes) -> None:
    """To a file, or to standard output. A file is written beside and renamed: half of one is never left behind."""
    if target == STANDARD_OUTPUT:
        try:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # whoever reads has seen enough
            raise
        except OSError as error:
            raise WorldError(
                f"{option} -: standard output cannot be written: {error.strerror}. Name a file with room."
            ) from error
        return
    path = Path(target)
    try:
        if is_special(path):
            path.write_bytes(content)
            return
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise WorldError(
            f"{option} {target!r} cannot be written: {error.strerror}. Name a folder that exists."
        ) from error


@contextmanager
def dead_letter_file(path: Path | None) -> Iterator[DeadLetterFile | None]:
    """Where bad records are kept while the block runs; None = they are only counted."""
    if path is None:
        yield None
        return
    with DeadLetterFile(path) as kept:
        yield kept

"""`generate`: the simulated shop as an event log."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
import zstandard

from stream_balance.commands.options import Config, Seed, Set, gather
from stream_balance.commands.targets import check_apart, check_file
from stream_balance.errors import WorldError
from stream_balance.simulation.shop import generate as shop_events


@contextmanager
def open_log(path: Path) -> Iterator[IO[bytes]]:
    """A log for writing, compressed as its suffix says. Written beside and renamed: half a log is never left behind."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as plain:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=plain, mode="wb", filename="", mtime=0) as stream:
                    yield stream  # type: ignore[misc]  # writes bytes
            elif path.suffix == ".zst":
                with zstandard.ZstdCompressor().stream_writer(plain, closefd=False) as stream:
                    yield stream
            else:
                yield plain
        temporary.replace(path)
    except OSError as error:
        raise WorldError(f"{str(path)!r} cannot be written: {error.strerror}. Name a folder that exists.") from error
    finally:
        temporary.unlink(missing_ok=True)


def generate(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LOG", help="JSONL; .gz or .zst compress.")],
    events: Annotated[int, typer.Option(min=1, help="How many events.")] = 10_000,
    config: Config = None,
    assignments: Set = None,
    seed: Seed = None,
) -> None:
    """Write the simulated shop's events as a log; the same seed writes the same bytes.

    Example: stream-balance generate --events 100000 --seed 7 -o shop.jsonl.zst
    """
    settings = gather(config, assignments, seed=seed)
    check_file("--output", output)
    check_apart([config], {"--output": output})
    count = 0
    with open_log(output) as log:
        for line in shop_events(events, settings.seed, settings.shop):
            log.write(line + b"\n")
            count += 1
    typer.echo(f"{count} events in {output}", err=True)

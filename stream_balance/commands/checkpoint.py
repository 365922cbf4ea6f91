"""`checkpoint inspect|verify|prune`: what a folder of checkpoints holds, whether it is whole, and less of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.edge.checkpoint import compat
from stream_balance.edge.checkpoint.disk import Disk, disk_error
from stream_balance.edge.checkpoint.entries import whole_entries
from stream_balance.edge.checkpoint.fit_journal import FILE as FITS
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.journal import MergeJournal, segment_name, segments
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.errors import SettingsError, StreamBalanceError, WorldError
from stream_balance.saving import open_store
from stream_balance.service import versions
from stream_balance.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Checkpoints: inspect, verify, prune.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of checkpoints.")]


def _opened(folder: Path, settings: Settings) -> tuple[Disk, Store]:
    if not folder.is_dir():
        raise SettingsError(f"{str(folder)!r} is not a folder. Name one that holds checkpoints.")
    return open_store(folder, settings)


def _described(store: Store, sequence: int) -> dict[str, Any]:
    """The header as plain data; the settings only by their hash."""
    try:
        header, size = store.header(sequence)
    except (Damaged, SettingsError) as error:
        return {"file": file_name(sequence), "error": str(error)}
    fields = asdict(header)
    del fields["settings"]
    return {"file": file_name(sequence), "bytes": size, **fields}


@app.command()
def inspect(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Everything in the headers, as JSON.")] = False,
) -> None:
    """Show what each checkpoint says of itself; the state is not read, and nothing is checked.

    Example: stream-balance checkpoint inspect state
    """
    _, store = _opened(folder, gather(None, None))
    found = [_described(store, sequence) for sequence in store.sequences()]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        typer.echo(f"{folder}: no checkpoints")
        return
    for each in found:
        if "error" in each:
            typer.echo(each["error"])
            continue
        counts, versions = each["counts"], each["versions"]
        events = counts.get("search", 0) + counts.get("purchase", 0)
        by = ", ".join(f"{name} {versions[name]}" for name in ("stream_balance", "river", "python") if name in versions)
        typer.echo(f"{each['file']}  {each['bytes'] / 1e6:.1f} MB  {each['created']}  {each['input']}")
        typer.echo(f"  {events:,} events, {counts.get('impressions', 0):,} impressions; {by}")
        typer.echo(f"  goes on at {_placed(each['position'])}")


def _placed(position: dict[str, Any]) -> str:
    if "records" in position:
        return f"record {position['records'] + 1:,}"
    return ", ".join(f"{lane}: {offset}" for lane, offset in sorted(position.get("offsets", {}).items()))


@app.command()
def verify(folder: Folder, config: Config = None, assignments: Set = None) -> None:
    """Read every checkpoint wholly: checksum, signature if a key is set, the versions of libraries, and the state; and
    the journals beside them. Exit 1 if one cannot be taken. Settings are compared by the service that takes it.

    Example: stream-balance checkpoint verify state
    """
    settings = gather(config, assignments)
    disk, store = _opened(folder, settings)
    sequences, bad = store.sequences(), 0
    if not sequences:
        raise WorldError(f"{str(folder)!r} holds no checkpoints.")
    for sequence in sequences:
        try:
            header, trailer = store.verify(sequence)
            accept = settings.checkpoint.accept_versions
            different = compat.check_versions(header, versions(), file_name(sequence), accept=accept)
            store.load(sequence)
        except StreamBalanceError as error:
            bad += 1
            typer.echo(f"BAD  {error}")
        else:
            signed = ", signed" if trailer.signed else ""
            other = f", {', '.join(different)}" if different else ""
            typer.echo(f"ok   {file_name(sequence)}  sha256 {trailer.sha256.hex()}{signed}{other}")
    journals = [name for name in (*map(segment_name, segments(disk)), FITS) if name in disk.names()]
    damaged = sum(not _is_whole(disk, name) for name in journals)
    if bad or damaged:
        raise WorldError(
            f"{bad} of {len(sequences)} checkpoints and {damaged} of {len(journals)} journals in {str(folder)!r} "
            "cannot be taken."
        )


def _is_whole(disk: Disk, name: str) -> bool:
    """Say whether a journal lost an entry; one that is being written is none yet."""
    try:
        with disk.open(name) as source:
            found, dropped = whole_entries(source.read(), name)
    except Damaged as error:
        typer.echo(f"BAD  {error}")
        return False
    except OSError as error:
        raise disk_error(disk, f"{name} cannot be read", error) from error
    rest = f", {dropped} bytes of an unfinished one" if dropped else ""
    typer.echo(f"ok   {name}  entries: {len(found)}{rest}")
    return True


@app.command()
def prune(
    folder: Folder,
    keep: Annotated[int, typer.Option(min=1, help="How many of the last whole ones stay.")] = 1,
) -> None:
    """Remove all but the last whole checkpoints, and the journals that only those needed. Refused while a service uses
    the folder, and where no checkpoint is whole.

    Example: stream-balance checkpoint prune state --keep 1
    """
    disk, store = _opened(folder, gather(None, None))
    lock = FolderLock(folder)
    try:
        before = store.sequences()
        damaged = _damaged_among_last(store, before, keep)
        if damaged and len(damaged) == len(before):
            raise WorldError(f"none of the {len(before)} checkpoints in {str(folder)!r} is whole: nothing was removed.")
        kept = store.prune(keep)
        if kept:
            MergeJournal(disk).forget(kept[0])
        store.clear_temporary()
    except OSError as error:
        raise WorldError(f"{str(folder)!r} cannot be pruned: {error.strerror}.") from error
    finally:
        lock.release()
    typer.echo(f"{len(before) - len(kept)} removed, {len(kept)} kept")
    for each in damaged:
        typer.echo(f"BAD  {each}")


def _damaged_among_last(store: Store, sequences: list[int], keep: int) -> list[Damaged]:
    """What is wrong with those that are no checkpoints any more, looked at from the newest to the last of `keep` whole
    ones.
    """
    found: list[Damaged] = []
    for number, sequence in enumerate(reversed(sequences)):
        if number - len(found) == keep:
            break
        try:
            store.verify(sequence)
        except Damaged as error:
            found.append(error)
    return found

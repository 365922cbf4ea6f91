"""`checkpoint inspect|verify|prune|sign`: what a folder holds, whether it is whole, less of it, its key."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.edge.checkpoint import compat
from stream_balance.edge.checkpoint.disk import Disk, disk_error
from stream_balance.edge.checkpoint.entries import read_entries
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.journal import MergeJournal
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.checkpoint.sign import journals, sign
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.errors import SettingsError, StreamBalanceError, WorldError
from stream_balance.saving import open_store, read_key
from stream_balance.service import versions
from stream_balance.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Checkpoints: inspect, verify, prune, sign.")

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
    the journals beside them, with their signatures. Exit 1 if one cannot be taken. Settings are compared by the service
    that takes it.

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
    names = journals(disk)
    damaged = sum(not _is_whole(disk, name, store.key) for name in names)
    if bad or damaged:
        raise WorldError(
            f"{bad} of {len(sequences)} checkpoints and {damaged} of {len(names)} journals in {str(folder)!r} "
            "cannot be taken."
        )


def _is_whole(disk: Disk, name: str, key: bytes | None) -> bool:
    """Say whether a journal lost an entry, or has one that our key did not sign; what is being written is none yet."""
    try:
        with disk.open(name) as source:
            found, dropped = read_entries(source.read(), name, key)
    except (Damaged, SettingsError) as error:
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


@app.command("sign")
def sign_(
    folder: Folder,
    config: Config = None,
    assignments: Set = None,
    old_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The key that the folder is signed with, if it is.", show_default=False),
    ] = None,
) -> None:
    """Sign checkpoints and journals with checkpoint.hmac_key_file: where there was no key, you vouch for what is there;
    where there was one, it is changed. Refused while a service uses the folder. Killed in between, it can be repeated.

    Example: stream-balance checkpoint sign state --set checkpoint.hmac_key_file=key
    """
    settings = gather(config, assignments)
    key, old = read_key(settings.checkpoint.hmac_key_file), read_key(old_key, "--old-key")
    if key is None:
        raise SettingsError(
            "there is no key to sign with. Set checkpoint.hmac_key_file; make one with 'openssl rand -hex 32'."
        )
    disk, _ = _opened(folder, settings)
    lock = FolderLock(folder)
    try:
        done = sign(disk, key, old)
    except OSError as error:
        raise disk_error(disk, "cannot be signed", error, "What is signed stays so; repeat it.") from error
    finally:
        lock.release()
    typer.echo(f"{len(done.anew)} files signed, {len(done.before)} had been")
    for each in done.damaged:
        typer.echo(f"BAD  {each}")

"""`checkpoint inspect|verify|prune|sign` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_balance.edge.checkpoint.entries import line_of
from stream_balance.edge.checkpoint.fit_journal import FILE
from stream_balance.edge.checkpoint.journal import segment_name
from stream_balance.edge.checkpoint.lock import FolderLock
from tests.test_cli import TOY, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three checkpoints of a table."""
    state = tmp_path / "state"
    table = ("replay", TOY, "--rows", "--label", "bought", "--positive", "yes", "--checkpoint-dir", state)
    done = run(*table, "--set", "checkpoint.interval_events=64", "--set", "checkpoint.writer=inline")
    assert done.returncode == 0, done.stderr
    return state


def test_the_commands_show_check_and_remove(folder: Path) -> None:
    shown = run("checkpoint", "inspect", folder)
    assert shown.returncode == 0
    assert shown.stdout.count("goes on at record") == 3
    found = json.loads(run("checkpoint", "inspect", folder, "--json").stdout)
    assert [each["input"] for each in found] == ["table"] * 3
    assert found[-1]["position"]["records"] > found[0]["position"]["records"]
    assert run("checkpoint", "verify", folder).stdout.count("ok ") == 3
    damaged = folder / found[1]["file"]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    bad = run("checkpoint", "verify", folder)
    assert bad.returncode == 1
    assert f"BAD  {damaged.name}" in bad.stdout
    for each in found:  # what came after each of them
        (folder / segment_name(each["sequence"])).touch()
    pruned = run("checkpoint", "prune", folder, "--keep", "1")
    assert pruned.stdout == "2 removed, 1 kept\n"
    assert [path.name for path in folder.glob("*.sbc")] == [found[-1]["file"]]
    assert [path.name for path in folder.glob("journal-*")] == [segment_name(found[-1]["sequence"])]


def test_prune_keeps_the_last_whole_ones_and_removes_none_where_none_is_whole(folder: Path) -> None:
    files = sorted(folder.glob("*.sbc"))
    files[-1].write_bytes(files[-1].read_bytes()[:-20])
    pruned = run("checkpoint", "prune", folder, "--keep", "1")
    assert pruned.stdout.startswith(f"1 removed, 2 kept\nBAD  {files[-1].name}")
    assert sorted(folder.glob("*.sbc")) == files[1:]
    files[1].write_bytes(b"rotten")
    refused = run("checkpoint", "prune", folder)
    assert refused.returncode == 1
    assert "none of the 2 checkpoints" in refused.stderr
    assert sorted(folder.glob("*.sbc")) == files[1:]


def test_verify_looks_at_the_journals_too(folder: Path) -> None:
    merged, fits = folder / "journal-0000000003.jsonl", folder / FILE
    entries = [line_of(b'{"s/0":%d}' % number) for number in range(3)]
    merged.write_bytes(b"".join(entries)[:-4])
    fits.write_bytes(b"".join(entries))
    done = run("checkpoint", "verify", folder)
    assert (done.returncode, done.stdout.count("ok ")) == (0, 5)
    assert f"{merged.name}  entries: 2, {len(entries[2]) - 4} bytes of an unfinished one" in done.stdout
    fits.write_bytes(entries[0][1:] + entries[1])
    done = run("checkpoint", "verify", folder)
    assert done.returncode == 1
    assert f"BAD  {FILE} is damaged: its entry 1 is not whole" in done.stdout
    assert "0 of 3 checkpoints and 1 of 2 journals" in done.stderr


def test_a_folder_in_use_is_not_pruned_and_none_is_not_made(folder: Path, tmp_path: Path) -> None:
    lock = FolderLock(folder)
    refused = run("checkpoint", "prune", folder)
    lock.release()
    assert refused.returncode == 1
    assert "in use by process" in refused.stderr
    for name in ("inspect", "verify", "prune"):
        done = run("checkpoint", name, tmp_path / "nowhere")
        assert done.returncode == 2
        assert "not a folder" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_comes_under_a_key_and_under_another(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("0123456789abcdef\n")
    second.write_text("fedcba9876543210\n")
    journal = folder / segment_name(3)
    journal.write_bytes(line_of(b'{"s/0":7}'))
    under = {key: ("--set", f"checkpoint.hmac_key_file={key}") for key in (first, second)}
    refused = run("checkpoint", "verify", folder, *under[first])
    assert refused.returncode == 1
    assert refused.stdout.count("BAD") == 4
    assert "'stream-balance checkpoint sign'" in refused.stdout
    assert run("checkpoint", "sign", folder, *under[first]).stdout == "4 files signed, 0 had been\n"
    assert run("checkpoint", "sign", folder, *under[first]).stdout == "0 files signed, 4 had been\n"
    held = run("checkpoint", "verify", folder, *under[first])
    assert (held.returncode, held.stdout.count(", signed"), held.stdout.count("ok ")) == (0, 3, 4)
    other = run("checkpoint", "sign", folder, *under[second])
    assert other.returncode == 2
    assert "is signed with another key, and no --old-key was given: nothing was signed" in other.stderr
    assert run("checkpoint", "sign", folder, *under[second], "--old-key", first).stdout.startswith("4 files signed")
    assert run("checkpoint", "verify", folder, *under[first]).returncode == 1
    # Its service goes on.
    table = ("replay", TOY, "--rows", "--label", "bought", "--positive", "yes", "--checkpoint-dir", folder, "--resume")
    done = run(*table, *under[second])
    assert done.returncode == 0, done.stderr


def test_what_sign_refuses(folder: Path, tmp_path: Path) -> None:
    done = run("checkpoint", "sign", folder)
    assert done.returncode == 2
    assert "there is no key to sign with" in done.stderr
    short, key = tmp_path / "short", tmp_path / "key"
    short.write_text("short")
    key.write_text("0123456789abcdef")
    under = ("--set", f"checkpoint.hmac_key_file={key}")
    done = run("checkpoint", "sign", folder, *under, "--old-key", short)
    assert done.returncode == 2
    assert f"--old-key {str(short)!r} has 5 bytes" in done.stderr
    lock = FolderLock(folder)
    done = run("checkpoint", "sign", folder, *under)
    lock.release()
    assert done.returncode == 1
    assert "in use by process" in done.stderr

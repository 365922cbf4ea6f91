"""Checkpoint files: whole or refused; the one before is taken for a damaged one; settings and versions must agree."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_balance.edge.checkpoint import compat
from stream_balance.edge.checkpoint import format as fmt
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.format import Damaged, Header
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.checkpoint.migrations import Migration
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.errors import SettingsError, WorldError
from stream_balance.saving import state_settings
from stream_balance.settings import Settings
from tests.simulation.disk import SimulatedDisk
from tests.simulation.fate import Fate

KEY = b"0123456789abcdef"


def store_of(folder: Path, **more: Any) -> Store:
    return Store(LocalDisk(folder), AllowList(), **more)


def header_of(sequence: int, **more: Any) -> Header:
    settings = state_settings(Settings())
    versions = {"river": "0.26.1", "numpy": "2.4.0", "python": "3.11.7", "scikit_learn": "1.8.0", "torch": "2.13.0"}
    position, sum_ = {"offsets": {"s/0": 7}}, compat.settings_hash(settings)
    header = Header(sequence, "2026-03-01T00:00:00+00:00", "kafka", position, settings, sum_, versions, {"search": 3})
    return replace(header, **more)


def made(store: Store, *sequences: int, state: Any = None, **more: Any) -> None:
    for sequence in sequences:
        store.write(header_of(sequence, **more), state if state is not None else {"n": sequence})()
        store.install(sequence)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    assert store.newest() is None
    state = {"rows": [bytes(100_000), "x" * 3_000_000], "n": 1.5}
    made(store, 1, state=state)
    loaded = store.newest()
    assert loaded is not None
    assert loaded.state == state
    assert replace(loaded.header, layouts={}) == header_of(1)
    assert [path.name for path in tmp_path.iterdir()] == [file_name(1)]


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    made(store, 1, 2, 3, 5, 8)
    assert store.prune(3) == [3, 5, 8]
    assert store.sequences() == [3, 5, 8]


def test_no_power_failure_brings_back_what_was_pruned() -> None:
    """The journals after it go next: it would be taken up without them (seen where the newest rotted as well)."""
    for seed in range(20):
        fate = Fate(seed)
        fate.live(None)
        disk = SimulatedDisk(fate)
        store = Store(disk, AllowList())
        made(store, 1, 2)
        assert store.prune(1) == [2]
        disk.power_fails()
        assert store.sequences() == [2]


def test_a_damaged_one_does_not_count_among_those_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    made(store, 1, 2, 3, 5, 8)
    (tmp_path / file_name(8)).write_bytes(b"rotten")
    loaded = store.newest()
    assert loaded is not None
    assert loaded.state == {"n": 5}
    assert store.prune(2) == [3, 5, 8]
    for sequence in (3, 5):
        (tmp_path / file_name(sequence)).write_bytes(b"rotten")
        with pytest.raises(Damaged):
            store.verify(sequence)
    assert store.prune(1) == [3, 5, 8], "where none is whole, none goes"


def test_a_file_of_something_else_is_not_called_cut(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    made(store, 1)
    (tmp_path / file_name(1)).write_bytes(b"a page of text\n" * 40)
    with pytest.raises(Damaged, match="does not begin as a checkpoint: something else was put in its place"):
        store.verify(1)


@pytest.mark.parametrize("key", [None, KEY], ids=["unsigned", "signed"])
def test_a_file_cut_anywhere_or_with_any_byte_changed_is_damaged(tmp_path: Path, key: bytes | None) -> None:
    store = store_of(tmp_path, key=key)
    made(store, 1, state=list(range(50)))
    path = tmp_path / file_name(1)
    whole = path.read_bytes()
    rng = random.Random(1)
    for size in {*range(40), *range(len(whole) - 90, len(whole)), *rng.sample(range(len(whole)), 50)}:
        path.write_bytes(whole[:size])
        with pytest.raises(Damaged):
            store.verify(1)
    # The signature itself is held against the key, not against the sum.
    signature = range(len(whole) - 40, len(whole) - 8)
    for place in {*range(20), *range(len(whole) - 90, len(whole)), *rng.sample(range(len(whole)), 200)}:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        if place not in signature:
            with pytest.raises(Damaged):
                store.verify(1)
        elif key is not None:
            with pytest.raises(SettingsError, match="another key"):
                store.verify(1)


def test_a_damaged_one_is_passed_over_loudly_for_the_one_before(tmp_path: Path) -> None:
    told: list[str] = []
    store = store_of(tmp_path, tell=told.append)
    made(store, 1, 2, 3)
    for sequence, keep in ((3, 100), (2, 0)):
        path = tmp_path / file_name(sequence)
        path.write_bytes(path.read_bytes()[:keep])
    loaded = store.newest()
    assert loaded is not None
    assert loaded.state == {"n": 1}
    assert [file_name(3) in told[0], file_name(2) in told[1], store.passed_over] == [True, True, 2]
    (tmp_path / file_name(1)).write_bytes(b"")
    with pytest.raises(WorldError, match="none of the 3 checkpoints is whole"):
        store.newest()


@pytest.mark.parametrize("how", ["in its place", "in the same file"])
def test_what_is_checked_under_a_key_is_what_is_loaded(tmp_path: Path, how: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    made(store_of(ours, key=KEY), 1, state={"whose": "ours"})
    made(store_of(theirs), 1, state={"whose": "theirs"})
    path, forged = ours / file_name(1), (theirs / file_name(1)).read_bytes()

    def exchange(_header: Header, _name: str) -> None:
        """Somebody who may write, but has no key, in the moment after it was checked."""
        if how == "in its place":
            (theirs / "forged").write_bytes(forged)
            (theirs / "forged").rename(path)
        else:
            path.write_bytes(forged)

    loaded = store_of(ours, key=KEY).newest(exchange)
    assert loaded is not None
    assert loaded.state == {"whose": "ours"}
    with pytest.raises(SettingsError, match="is not signed"):
        store_of(ours, key=KEY).newest()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (b"\x80\x04cbuiltins\nbytearray\nI9000000000000000000\n\x85R.", "MemoryError|OverflowError"),
        (b"\x80\x04cbuiltins\nint\nX\x01\x00\x00\x00x\x85R.", "ValueError"),
        (b"\x80\x04cbuiltins\nrange\n)R.", "TypeError"),
        (b"\x80\x04", "EOFError|UnpicklingError"),  # it reads on into the trailer
        (b"nothing of the kind", "UnpicklingError"),
    ],
)
def test_a_state_that_cannot_be_made_is_refused_in_words(tmp_path: Path, state: bytes, said: str) -> None:
    target = fmt.Summing()
    output = LocalDisk(tmp_path).create(file_name(1))
    target.attach(output)
    fmt.write(target, header_of(1), lambda into: into.write(state))
    output.close()
    with pytest.raises(SettingsError, match=rf"is whole, but its state is not one of this version \(({said})"):
        store_of(tmp_path).newest()


def test_only_what_our_key_signed_is_taken(tmp_path: Path) -> None:
    made(store_of(tmp_path), 1)
    with pytest.raises(SettingsError, match="not signed"):
        store_of(tmp_path, key=KEY).newest()
    made(store_of(tmp_path, key=KEY), 2)
    with pytest.raises(SettingsError, match="another key"):
        store_of(tmp_path, key=KEY[::-1]).newest()
    loaded = store_of(tmp_path, key=KEY).newest()
    assert loaded is not None
    assert loaded.header.sequence == 2


def test_a_newer_format_is_refused_by_name_and_not_passed_over(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    made(store, 1)
    made(store, 2, format=fmt.FORMAT + 1)
    with pytest.raises(SettingsError, match=f"format {fmt.FORMAT + 1}, this version knows formats up to {fmt.FORMAT}"):
        store.newest()


def test_an_older_format_goes_the_way_of_its_migrations(tmp_path: Path) -> None:
    steps = {
        fmt.FORMAT - 2: Migration(change=lambda state: {**state, "a": 1}),
        fmt.FORMAT - 1: Migration(
            moved={("old.place", "Fifo"): ("collections", "deque")}, change=lambda state: {**state, "b": state["a"] + 1}
        ),
    }
    store = store_of(tmp_path, migrations=steps)
    made(store, 1, format=fmt.FORMAT - 2)
    loaded = store.newest()
    assert loaded is not None
    assert loaded.state == {"n": 1, "a": 1, "b": 2}
    with pytest.raises(SettingsError, match=f"no way from {fmt.FORMAT - 2}"):
        store_of(tmp_path).newest()


def test_a_state_of_unknown_classes_is_refused_by_name(tmp_path: Path) -> None:
    made(Store(LocalDisk(tmp_path), AllowList(["pathlib"])), 1, state=Path("x"))
    with pytest.raises(SettingsError, match=r"names 'pathlib\.PosixPath'.*trusted_modules"):
        store_of(tmp_path).newest()


def test_a_class_that_this_version_does_not_have_is_named(tmp_path: Path) -> None:
    data = b"\x80\x04\x8c\x1bstream_balance.core.records\x8c\x06Gossip\x93."
    store = store_of(tmp_path)
    target, output = fmt.Summing(), LocalDisk(tmp_path).create(file_name(1))
    target.attach(output)
    fmt.write(target, header_of(1), lambda into: into.write(data) and None)
    output.close()
    with pytest.raises(SettingsError, match=r"not one of this version .*Gossip"):
        store.newest()


def test_other_settings_are_refused_with_what_differs() -> None:
    defaults = state_settings(Settings())
    now = state_settings(
        Settings.model_validate({"seed": 3, "join": {"window_s": 60}, "wire": {"classes": ["a", "b"]}})
    )
    with pytest.raises(SettingsError) as refused:
        compat.check_settings(header_of(1), now, defaults, "c")
    told = str(refused.value)
    assert "seed was 0, is 3" in told
    assert "core.join.window_s was 1800.0, is 60.0" in told
    assert 'wire.classes was ["bought"], is ["a", "b"]' in told
    assert "empty folder" in told


def test_operational_settings_may_change() -> None:
    now = Settings.model_validate(
        {"http": {"port": 1}, "kafka": {"bootstrap": "b:1"}, "log": {"level": "error"}, "checkpoint": {"keep": 9}}
    )
    compat.check_settings(header_of(1), state_settings(now), state_settings(Settings()), "c")


def test_a_setting_that_came_later_counts_as_its_default() -> None:
    header = header_of(1)
    older = json.loads(json.dumps(header.settings))
    del older["core"]["drift"]
    header = replace(header, settings=older, settings_hash=compat.settings_hash(older))
    defaults = state_settings(Settings())
    compat.check_settings(header, defaults, defaults, "c")
    changed = json.loads(json.dumps(defaults))
    name, value = next((k, v) for k, v in changed["core"]["drift"].items() if isinstance(v, float))
    changed["core"]["drift"][name] = value / 2
    with pytest.raises(SettingsError, match=f"core.drift.{name}"):
        compat.check_settings(header, changed, defaults, "c")


def test_a_setting_that_went_counts_only_if_it_was_chosen() -> None:
    defaults = state_settings(Settings())
    older = json.loads(json.dumps(defaults))
    older["core"]["calibrate"]["patience"] = 7
    header = replace(header_of(1), settings=older, settings_hash=compat.settings_hash(older), chosen=["seed"])
    compat.check_settings(header, defaults, defaults, "c")
    compat.check_settings(replace(header, chosen=None), defaults, defaults, "c")
    with pytest.raises(
        SettingsError, match=r"c was made .* not know any more: calibrate\.patience = 7\..*empty folder"
    ):
        compat.check_settings(replace(header, chosen=["core.calibrate.patience"]), defaults, defaults, "c")


@pytest.mark.parametrize(("discount", "told"), [(0.9999, False), (0.9, True)])
def test_a_file_that_does_not_say_what_was_chosen_is_asked_by_the_former_default(discount: float, told: bool) -> None:
    defaults = state_settings(Settings())
    older = json.loads(json.dumps(defaults))
    older["core"]["calibrate"]["trust_discount"] = discount
    header = replace(header_of(1), settings=older, settings_hash=compat.settings_hash(older), chosen=None)
    with pytest.raises(SettingsError, match=r"calibrate\.trust_discount = 0\.9\.") if told else nullcontext():
        compat.check_settings(header, defaults, defaults, "c")


def test_another_kind_of_input_is_refused() -> None:
    with pytest.raises(SettingsError, match="belongs to a run over Kafka, this is a replay of a log"):
        compat.check_input(header_of(1), "log", "c")


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        ({}, ""),
        ({"numpy": "2.9.9"}, ""),
        ({"river": "0.26.9"}, ""),
        ({"river": "0.27.0"}, "river 0.26.1 (here 0.27.0)"),
        ({"numpy": "3.0.0"}, "numpy 2.4.0 (here 3.0.0)"),
        ({"python": "3.12.1"}, "python 3.11.7 (here 3.12.1)"),
        ({"scikit_learn": "1.9.0", "torch": "none"}, ""),
    ],
)
def test_libraries_too_far_apart_are_refused_and_near_ones_told(now: dict[str, str], refused: str) -> None:
    header = header_of(1)
    versions = header.versions | now
    if refused:
        with pytest.raises(SettingsError) as error:
            compat.check_versions(header, versions, "c", accept=False)
        assert refused in str(error.value)
        assert "accept_versions" in str(error.value)
    different = compat.check_versions(header, versions, "c", accept=True)
    assert len(different) == len(now)
    assert ("booster" in compat.consequence(different)) == ("torch" in now)


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom stream_balance.edge.checkpoint.lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WorldError, match=f"in use by process {holder.pid} on .* since "):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        lock = FolderLock(tmp_path)  # it ends with its process
    assert lock.is_held()
    (tmp_path / "lock").unlink()
    assert not lock.is_held()
    (tmp_path / "lock").touch()  # another one of that name
    assert not lock.is_held()
    lock.release()

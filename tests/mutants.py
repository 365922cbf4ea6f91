"""Mistakes that would lose or double something, each made in a copy of the project: is there a test that sees it?

    python -m tests.mutants                  # all; exit 1 if one stays unseen
    python -m tests.mutants journal lock     # those whose name has one of these words

Where a mistake shows by chance alone (a power failure at the right moment), seeds of the simulation are run until one
fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
EDGE = "stream_balance/edge/"
CHECKPOINT = EDGE + "checkpoint/"
KEEPER, LIVES = "tests/edge/test_keeper.py", "tests/simulation/test_lives.py"
MERGE, STORE = "tests/edge/test_merge.py", "tests/edge/test_checkpoint_store.py"
DISK, FITS = "tests/edge/test_disk.py", "tests/edge/test_fit_journal.py"
ENTRIES, SIGNED = "tests/edge/test_entries.py", "tests/edge/test_signed_journals.py"
SIGN = "tests/edge/test_sign.py"


@dataclass(frozen=True)
class Mutant:
    """In `file` the only `old` becomes `new`; `tests` are to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant("a checkpoint is not synced", CHECKPOINT + "store.py", "                output.sync()\n", "", LIVES),
    Mutant("its name is not synced", CHECKPOINT + "store.py",
           "file_name(sequence))\n        self._disk.sync_names()", "file_name(sequence))", LIVES),
    Mutant("journals go before it is safe that their checkpoints are gone", CHECKPOINT + "store.py",
           "        if removed:\n            self._disk.sync_names()\n", "", STORE),
    Mutant("a bad share is forgotten at a restart", "stream_balance/live_saving.py",
           'restore(loaded.state.get("bad_share", ()))', "restore(())", "tests/integration/test_dlq.py"),
    Mutant("damaged checkpoints count among those kept", CHECKPOINT + "store.py",
           "if sequence not in self._damaged][-keep:]", "][-keep:]", STORE),
    Mutant("a state makes models of any module", CHECKPOINT + "allow.py",
           "factories_from.set(allowed.trusted)", "factories_from.set(None)", "tests/edge/test_checkpoint_allow.py"),
    Mutant("a journal entry is not synced", CHECKPOINT + "journal.py",
           "self._file.write(line)\n        self._file.sync()", "self._file.write(line)", LIVES),
    Mutant("a new journal's name is not synced", CHECKPOINT + "journal.py",
           "        if fresh:\n            self._disk.sync_names()\n", "", LIVES),
    Mutant("a journal left by a killed process is relied upon unsynced", CHECKPOINT + "journal.py",
           "            self._disk.sync_file(name)\n", "", LIVES),
    Mutant("the names left by a killed process are relied upon unsynced", CHECKPOINT + "journal.py",
           "        # So is the name of a checkpoint whose process was killed between rename and sync.\n"
           "        self._disk.sync_names()\n", "", LIVES),
    Mutant("one journal segment too many is forgotten", CHECKPOINT + "keeper.py",
           "self.journal.forget(kept[0])", "self.journal.forget(kept[0] + 1)", KEEPER),
    Mutant("all journal segments but the present one are forgotten", CHECKPOINT + "keeper.py",
           "self.journal.forget(kept[0])", "self.journal.forget(kept[-1])", KEEPER),
    Mutant("no journal segment is ever forgotten", CHECKPOINT + "keeper.py",
           "            self.journal.forget(kept[0])\n", "", KEEPER),
    Mutant("the journal of the checkpoint itself is not followed", CHECKPOINT + "journal.py",
           "number < since", "number <= since", KEEPER),
    Mutant("an unfinished journal entry is believed", CHECKPOINT + "entries.py",
           'line.endswith(b"\\n") and line[8:9] == b" " and line[:8] == b"%08x" % zlib.crc32(line[9:-1])',
           'line.endswith(b"\\n")', ENTRIES),
    Mutant("a damaged journal is followed to where it is whole", CHECKPOINT + "entries.py",
           '            if b"\\n" in content[read:-1] or any(', "            if False and any(", ENTRIES),
    Mutant("two damaged entries at the end are taken for an unfinished one", CHECKPOINT + "entries.py",
           'if b"\\n" in content[read:-1] or any(', "if any(", ENTRIES),
    Mutant("two journal entries that ran together are taken for an unfinished one", CHECKPOINT + "entries.py",
           "_LINES.finditer(content, read + 1)", "_LINES.finditer(content, read + len(line))", ENTRIES),
    Mutant("a journal's signatures are not looked at", CHECKPOINT + "entries.py",
           "wrong = Chain(key, name).first_wrong(lines)", "wrong = None", SIGNED),
    Mutant("each entry of a journal is signed for itself", CHECKPOINT + "entries.py",
           'self._last + b"\\n" + entry', "entry", SIGNED),
    Mutant("a journal's signatures do not say which file they are of", CHECKPOINT + "entries.py",
           "self._last = name.encode()", 'self._last = b""', SIGNED),
    Mutant("sign vouches for what somebody else has signed", CHECKPOINT + "sign.py",
           "    if expected:\n        return\n", "    return\n", SIGN),
    Mutant("sign puts files in place that are not synced", CHECKPOINT + "sign.py", "        output.sync()\n", "", SIGN),
    Mutant("a checkpoint copies the state in the loop", CHECKPOINT + "keeper.py",
           "self._store.write(header, snapshot.state)",
           'self._store.write(header, __import__("copy").deepcopy(snapshot.state))',
           "tests/edge/test_checkpoint_cost.py"),
    Mutant("a bad record keeps the batch that it came in", EDGE + "kafka/decode.py", "bad.to_keep()", "bad",
           "tests/edge/test_kept_frames.py"),
    Mutant("a segment begins with a difference to the one before", CHECKPOINT + "journal.py",
           "        self._number = number\n        self._last = {}\n", "        self._number = number\n", KEEPER),
    Mutant("a new life writes over the journal of the last", CHECKPOINT + "keeper.py",
           "max(numbers, default=0) + 1", "max(numbers, default=0)", KEEPER),
    Mutant("what is taken is journaled after its effect", "stream_balance/live.py",
           "            if self._saving is not None:\n                self._saving.decided()\n"
           '            self._telemetry.enter("work")\n'
           "            began_s = self._now_s()\n"
           "            self._take(records)\n",
           '            self._telemetry.enter("work")\n'
           "            began_s = self._now_s()\n"
           "            self._take(records)\n"
           "            if self._saving is not None:\n                self._saving.decided()\n", LIVES),
    Mutant("the journal is not followed", "stream_balance/live_saving.py",
           "        self._source.follow(plan)\n", "        return\n", LIVES),
    Mutant("a checkpoint made while the journal is followed forgets the rest of it", "stream_balance/live_saving.py",
           '"plan": _as_named(source.plan())', '"plan": []', LIVES),
    Mutant("there is no checkpoint before the first event", "stream_balance/live_saving.py",
           "            self._keeper.finish(self._snapshot, self._session.serve, "
           "self._now_s() + self._saving.settings.write_max_s)\n", "", LIVES),
    Mutant("offsets are committed before the checkpoint", "stream_balance/live_saving.py",
           "            keeper.start(self._snapshot(), lambda: self._sink.is_acknowledged(mark))\n",
           "            self._source.commit(self._source.positions())\n"
           "            keeper.start(self._snapshot(), lambda: self._sink.is_acknowledged(mark))\n", LIVES),
    Mutant("a checkpoint passes outputs that are not acknowledged", CHECKPOINT + "keeper.py",
           "        if not under_way.may_settle():\n            return None\n", "", LIVES),
    Mutant("a stop does not wait for its outputs", "stream_balance/live.py",
           '        self._telemetry.enter("flush")\n        self._flush()\n        self._saving.end(until_s, within_s)',
           "        self._saving.end(until_s, within_s)", LIVES),
    Mutant("a stop waits for its offsets as long as any checkpoint does", "stream_balance/live.py",
           "within_s = STOP_COMMIT_S if self._stop.is_set() else None", "within_s = None", LIVES),
    Mutant("each partition goes on one record too late", "stream_balance/live_saving.py",
           'position = {"offsets": named(source.positions())',
           'position = {"offsets": {key: offset + 1 for key, offset in named(source.positions()).items()}', LIVES),
    Mutant("each partition goes on one record too early", "stream_balance/live_saving.py",
           'position = {"offsets": named(source.positions())',
           'position = {"offsets": {key: max(0, offset - 1) for key, offset in named(source.positions()).items()}',
           LIVES),
    Mutant("bad records that wait are passed", EDGE + "merge.py",
           "            next_offsets[key] = min(next_offsets[key], record.offset)\n", "            pass\n", MERGE),
    Mutant("pruning keeps the oldest", CHECKPOINT + "store.py",
           "removed = [sequence for sequence in sequences if whole and sequence < whole[0]]",
           "removed = [sequence for sequence in sequences if whole and sequence > whole[0]]", STORE),
    Mutant("pruning keeps one too few", CHECKPOINT + "store.py",
           "if whole and sequence < whole[0]]", "if whole and sequence <= whole[0]]", STORE),
    Mutant("the SHA-256 is not looked at", CHECKPOINT + "format.py",
           "if total.digest() != sha256:", "if False:", STORE),
    Mutant("the signature is not looked at", CHECKPOINT + "format.py",
           "    if key is not None and not trailer.is_by(key):\n", "    if False:\n", STORE),
    Mutant("an unsigned file is taken although there is a key", CHECKPOINT + "format.py",
           "    if key is not None and not trailer.is_by(key):\n",
           "    if key is not None and trailer.signed and not trailer.is_by(key):\n", STORE),
    Mutant("a damaged file is taken", CHECKPOINT + "store.py",
           "                    header, _ = self._verify(source, sequence)\n",
           "                    header, _ = self.header(sequence)\n", STORE),
    Mutant("what is loaded under a key is not what was checked", CHECKPOINT + "store.py",
           "source if self.key is None else io.BytesIO(source.read())", "source", STORE),
    Mutant("a newer format is read", CHECKPOINT + "format.py",
           'if values["format"] > FORMAT:', "if False:", STORE),
    Mutant("other settings are taken", CHECKPOINT + "compat.py",
           "    if header.settings_hash == settings_hash(settings):\n        return\n", "    return\n", STORE),
    Mutant("the folder is not locked", CHECKPOINT + "lock.py",
           "            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "            pass\n", STORE),
    Mutant("a lock on a replaced folder counts", CHECKPOINT + "lock.py",
           "return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)", "return True", STORE),
    Mutant("a folder that is not ours any more is written to", CHECKPOINT + "keeper.py",
           "        if not self._is_ours():\n", "        if False:\n", KEEPER),
    Mutant("the disk does not sync files", CHECKPOINT + "disk.py",
           "        os.fsync(self._fd)\n        if os", "        if os", DISK),
    Mutant("the disk does not sync files of others", CHECKPOINT + "disk.py",
           "with _opened(self.folder / name) as fd:\n            os.fsync(fd)",
           "with _opened(self.folder / name):\n            pass", DISK),
    Mutant("the disk does not sync the folder", CHECKPOINT + "disk.py",
           "with _opened(self.folder) as fd:\n            os.fsync(fd)",
           "with _opened(self.folder):\n            pass", DISK),
    Mutant("a refusal is not journaled", EDGE + "fits.py",
           "        journal.refuse(kind, request, outcome.reason)\n", "", FITS),
    Mutant("an early entry is journaled after it", EDGE + "fits.py",
           "        self._journal.enter(kind, request, events, outcome.result if isinstance(outcome, Trained) else "
           "outcome.reason)\n", "", FITS),
    Mutant("fits are journaled without a sync", CHECKPOINT + "fit_journal.py",
           "                self._write(self._file, names)\n                self._file.sync()\n",
           "                self._write(self._file, names)\n", FITS),
)  # fmt: skip


def seen_by(mutant: Mutant, folder: Path) -> str | None:
    """The test that fails with the mistake in place; None if none does."""
    path = folder / mutant.file
    right = path.read_text()
    assert right.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has its place {right.count(mutant.old)} times"
    path.write_text(right.replace(mutant.old, mutant.new))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", mutant.tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        path.write_text(right)
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode == 0:
        return None
    return failed[0] if failed else f"{mutant.tests} ends with {done.returncode}: {done.stdout[-300:]}"


def main() -> None:
    """Try them; exit 1 if one stays unseen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*")
    words = parser.parse_args().words
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    unseen = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
        shutil.copytree(ROOT, folder, ignore=ignored)
        for mutant in chosen:
            began = time.monotonic()
            found = seen_by(mutant, folder)
            unseen += found is None
            print(f"{mutant.name}: {found or 'NOT SEEN'} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(chosen) - unseen} of {len(chosen)} mistakes are seen")
    sys.exit(1 if unseen else 0)


if __name__ == "__main__":
    main()

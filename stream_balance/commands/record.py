"""`record`: the topics as an event log, in the order a service takes them in; so a bad night can be taken home."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.commands.output import STDERR
from stream_balance.commands.signals import stop_on_signals
from stream_balance.edge.carried import carry
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.lock import FolderLock
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.log import make_log
from stream_balance.edge.recording import Recording
from stream_balance.live_saving import lanes, named
from stream_balance.service import make_codec


def record(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the segments go; goes on where it stopped.")],
    config: Config = None,
    assignments: Set = None,
    bootstrap: Annotated[str | None, typer.Option(help="Broker address.", show_default="127.0.0.1:9092")] = None,
    segments_max: Annotated[
        int | None, typer.Option("--keep", min=1, help="Keep only so many segments.", show_default="all")
    ] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Leave once every partition is read to its end.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Checkpoint folder of the service: what it journaled of its fits goes along.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the records of both topics to rotating, compressed segments; until SIGTERM or Ctrl-C.

    Every record is kept as it came, with its record time, broken ones too. `replay DIR` and `produce DIR` read it.
    Commits nothing: a service that reads the same topics is not touched.

    With --journal a replay is told which fits of the service were refused, and which entered early. It is copied as
    each segment is closed; a service that is behind the recording has then not come to the last ones yet.

    Example: stream-balance record night -c settings.toml
    """
    settings = gather(config, assignments, kafka__bootstrap=bootstrap, record__segments_max=segments_max)
    log = make_log(settings.log, sys.stderr)
    recording = Recording(folder, settings.record)
    state = None if journal is None else LocalDisk(journal if journal.is_dir() else journal.parent, make=False)
    lock = FolderLock(folder)
    source = KafkaSource(settings.kafka, make_codec(settings), on_note=log.warning)
    try:
        with stop_on_signals() as stop:
            begin = lanes(recording.positions)
            source.open(begin or None, recording.topic_ids or None)
            log.info("recording", dir=str(folder), next_offsets=named(source.positions()))

            def closed(name: str) -> None:
                carried = (
                    {} if journal is None else {"journaled": carry(LocalDisk(journal, make=False), recording.disk)}
                )
                log.info("segment closed", name=name, records_so_far=recording.records, **carried)

            _follow(source, recording, stop, closed, until_caught_up=until_caught_up)
            if state is not None:
                carry(state, recording.disk)
    finally:
        source.close()
        recording.abandon()
        lock.release()
    STDERR.print(f"{recording.records:,} records in {folder}", highlight=False)


def _follow(
    source: KafkaSource,
    recording: Recording,
    stop: threading.Event,
    closed: Callable[[str], None],
    *,
    until_caught_up: bool,
) -> None:
    """Append whole polls; close a segment only between two of them, where the positions say what has been taken."""
    began_s = time.monotonic()
    while not stop.is_set():
        was_open = recording.is_open
        polled = source.poll(500, 0.5)
        for each in polled:
            recording.append(each.value, each.record_time_us)
        if not was_open:
            began_s = time.monotonic()
        caught_up = until_caught_up and not polled and source.caught_up()
        if caught_up or recording.is_full(time.monotonic() - began_s):
            _rotate(source, recording, closed)
        if caught_up:
            return
    _rotate(source, recording, closed)


def _rotate(source: KafkaSource, recording: Recording, closed: Callable[[str], None]) -> None:
    name = recording.rotate(named(source.positions()), source.topic_ids())
    if name is not None:
        closed(name)

"""`dlq list|replay`: what could not be read, and sending it again once it can be."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_balance.commands.options import Config, Set, gather
from stream_balance.commands.output import STDERR
from stream_balance.edge.codec import Codec
from stream_balance.edge.dead_letter import VERDICTS, DeadLetter, Judge
from stream_balance.edge.deadletter_file import read_letters
from stream_balance.edge.kafka.letters import LetterBox, Resender, Resent
from stream_balance.edge.merge import LaneKey

app = typer.Typer(no_args_is_help=True, help="List what could not be read, or send it again.")
Placed = tuple[LaneKey | None, int, DeadLetter]

File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="A dead-letter file of replay or demo.", show_default="Kafka")
]
Bootstrap = Annotated[str | None, typer.Option(help="Broker address.", show_default="127.0.0.1:9092")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only letters with this reason; may be repeated.")]
Again = Annotated[bool, typer.Option("--again", help="Also those that a replay has dealt with already, sent or not.")]


def _of_file(path: Path) -> Iterator[Placed]:
    return ((None, number, letter) for number, letter in enumerate(read_letters(path)))


def _picked(letters: Iterable[Placed], reasons: list[str] | None) -> Iterator[Placed]:
    return (each for each in letters if not reasons or each[2].reason in reasons)


@app.command("list")
def list_letters(
    file: File = None,
    config: Config = None,
    assignments: Set = None,
    bootstrap: Bootstrap = None,
    reasons: Reasons = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many letters; all are counted.")] = 20,
    again: Again = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of them as JSON lines, with their bytes.")] = False,
) -> None:
    """Count and show the records that could not be read and that no replay has dealt with.

    Example: stream-balance dlq list --reason not_json --limit 5
    """
    settings = gather(config, assignments, kafka__bootstrap=bootstrap)
    judge = Judge(Codec(settings.wire), settings.kafka.topics, sys.maxsize)
    shown, counts, readable = Table("place", "time", "reason", "bytes", "message"), Counter[str](), 0
    with ExitStack() as stack:
        box = None if file else stack.enter_context(LetterBox(settings.kafka))
        letters = box.letters(again=again) if box is not None else _of_file(file or Path())
        for _, _, letter in _picked(letters, reasons):
            if as_json:
                sys.stdout.buffer.write(orjson.dumps(letter.fields(), option=orjson.OPT_APPEND_NEWLINE))
                continue
            counts[letter.reason] += 1
            readable += judge.verdict(letter)[0] == "sendable"
            if sum(counts.values()) <= limit:
                shown.add_row(*map(Text, _row(letter)))
    if as_json:
        return
    if shown.row_count:
        Console().print(shown)
    total = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common()) or "none"
    Console().print(f"{counts.total():,} dead letters: {total}; {readable:,} can be read now", highlight=False)
    if box is not None and box.passed:
        Console().print(f"{box.passed:,} more went through a replay before; --again shows them", highlight=False)
    if box is not None and box.copies:
        Console().print(f"{box.copies:,} more are copies, written again after a kill", highlight=False)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    died = "" if letter.died_us is None else datetime.fromtimestamp(letter.died_us / 1e6, UTC).isoformat("T", "seconds")
    return letter.place, died, letter.reason, f"{len(letter.value):,}", letter.message


@app.command("replay")
def replay_letters(
    file: File = None,
    config: Config = None,
    assignments: Set = None,
    bootstrap: Bootstrap = None,
    reasons: Reasons = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at so many letters.", show_default="all")] = None,
    again: Again = False,
    attempts_max: Annotated[int, typer.Option(min=1, help="Send the same record again at most so often.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, say what would be sent.")] = False,
) -> None:
    """Send what can be read now to its own topic again: the same bytes, key, headers and time.

    What still cannot be read stays where it is; --again offers it again. Letters that come while it runs are left for
    the next time, and a record that has come back `--attempts-max` times is not sent again, so nothing goes in circles.

    Example: stream-balance dlq replay --reason too_many_items --set wire.items_max=1000 --dry-run
    """
    settings = gather(config, assignments, kafka__bootstrap=bootstrap)
    judge = Judge(Codec(settings.wire), settings.kafka.topics, attempts_max)
    with ExitStack() as stack:
        box = None if file else stack.enter_context(LetterBox(settings.kafka))
        letters = _picked(_of_file(file) if file else box.letters(again=again), reasons)  # type: ignore[union-attr]
        if dry_run:
            resent = Resent()
            for _, _, letter in islice(letters, limit):
                verdict = judge.verdict(letter)[0]
                if verdict == "sendable":
                    resent.sent += 1
                else:
                    resent.left[verdict] += 1
            _tell(resent, "would be sent again")
            return
        sender = stack.enter_context(Resender(settings.kafka, judge))
        stopped_at: dict[LaneKey, int] = {}
        for number, (lane, offset, letter) in enumerate(letters):
            if limit is not None and number >= limit:
                assert lane is not None or file
                if lane is not None:
                    stopped_at.setdefault(lane, offset)
                continue
            sender.send(letter)
        sender.flush()
        if box is not None:
            box.dealt_with(reasons or None, stopped_at)
    _tell(sender.resent, "sent again")
    if box is not None and sender.resent.left:
        STDERR.print(
            "What is left is offered again with --again, together with what was sent: choose by --reason.",
            highlight=False,
        )


def _tell(resent: Resent, words: str) -> None:
    Console().print(f"{resent.sent:,} dead letters {words}", highlight=False)
    for verdict, count in sorted(resent.left.items()):
        STDERR.print(f"{count:,} left: {VERDICTS[verdict]}", highlight=False)

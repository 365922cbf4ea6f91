"""The command line: gathers the commands, turns our errors into one message and the documented exit code.

Exit codes: 0 done; 1 the world let us down (broker, disk, port); 2 settings, flags or input named by them are wrong.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from stream_balance.commands import checkpoint, config, dlq, gan
from stream_balance.commands.compare import compare
from stream_balance.commands.demo import demo
from stream_balance.commands.generate import generate
from stream_balance.commands.produce import produce
from stream_balance.commands.record import record
from stream_balance.commands.replay import replay
from stream_balance.commands.run import run
from stream_balance.errors import StreamBalanceError

app = typer.Typer(
    name="stream-balance",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stream-balance {version('stream-balance')}")
        raise typer.Exit


@app.callback()
def _main(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Learns online from search and purchase events and balances them as they arrive.

    Exit codes: 0 done, 1 the world let us down (broker, disk, port), 2 settings or input are wrong.
    """


app.command()(demo)
app.command()(generate)
app.command()(replay)
app.command()(compare)
app.command()(run)
app.command()(produce)
app.command()(record)
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(dlq.app, name="dlq")
app.add_typer(gan.app, name="gan")
app.add_typer(config.app, name="config")


def main() -> None:
    """The console script."""
    try:
        app()
    except StreamBalanceError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output (head, less) has left; nobody is left to tell
        sys.stderr.close()
        sys.exit(0)

"""The command line: finds the command, turns our errors into one message and the documented exit code.

Exit codes: 0 done; 1 the world let us down (broker, disk, port); 2 settings, flags or input named by them are wrong.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_group

from stream_balance.errors import StreamBalanceError

# Each in the module of its name below `commands`: a function, or an app of its own. The order is that of --help.
COMMANDS = ("demo", "generate", "replay", "compare", "run", "produce", "record", "checkpoint", "dlq", "gan", "config")


def _load(name: str) -> Any:
    module, loaded = import_module(f"stream_balance.commands.{name}"), typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        loaded.add_typer(module.app, name=name)
    else:
        loaded.command(name)(getattr(module, name))
    return get_group(loaded).commands[name]


class Commands(TyperGroup):
    """A command is loaded when it is asked for: it starts without what only others need, which is most of the time."""

    def list_commands(self, ctx: object) -> list[str]:
        """All, for --help and completion."""
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        """The command; None where there is none of that name, and all are loaded then, to suggest a near one."""
        for name in (cmd_name,) if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=Commands,
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
    except OSError as error:
        if not _is_stuck(sys.stdout):
            raise
        typer.echo(
            f"error: standard output cannot be written: {error.strerror}. Send it to a file with room.", err=True
        )
        sys.exit(1)


def _is_stuck(output: TextIO) -> bool:
    """Whether nothing more can be written to it; what waits is let go then, or it would be tried again on leaving."""
    try:
        output.write("\n")
        output.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        return True
    return False

"""`config check|show`: what the settings are, and whether they are right."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.service import make_pipeline

app = typer.Typer(no_args_is_help=True, help="Check or show the settings.")


def _toml(document: dict[str, Any], path: str = "") -> list[str]:
    """TOML of nested dicts; what is not set (null) stands as a comment."""
    lines, tables = [], []
    for key, value in document.items():
        if isinstance(value, dict):
            tables.append((f"{path}.{key}" if path else key, value))
        elif value is None:
            lines.append(f"# {key} = (not set)")
        else:
            lines.append(f"{key} = {orjson.dumps(value).decode()}")
    for name, table in tables:
        lines += ["", f"[{name}]", *_toml(table, name)]
    return lines


@app.command()
def check(config: Config = None, assignments: Set = None) -> None:
    """Exit 0 if the settings are right, 2 with one line per mistake if they are not.

    Models and strategies are made as the service would make them; no file with a key is opened, no broker asked.

    Example: stream-balance config check -c settings.toml
    """
    make_pipeline(gather(config, assignments))
    typer.echo("settings are right")


@app.command()
def show(
    config: Config = None,
    assignments: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of TOML.")] = False,
) -> None:
    """Print every setting in force, with defaults, file, environment and flags merged.

    Example: stream-balance config show --set join.window_s=600
    """
    document = gather(config, assignments).model_dump(mode="json")
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() if as_json else "\n".join(_toml(document))
    typer.echo(text)

"""Options that several commands share, and how they become settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_balance.commands.targets import file_or_stdout
from stream_balance.core.arms import MODELS
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.lineup import DEFAULT_ARMS, NONE, chosen
from stream_balance.errors import SettingsError
from stream_balance.settings import Settings, load, nested

Config = Annotated[Path | None, typer.Option("-c", "--config", help="Settings file (TOML).", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.", show_default=False),
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random stream.", show_default="0")]
Strategy = Annotated[
    str | None,
    typer.Option(
        help=f"auto: {', '.join(pair.model for pair in DEFAULT_ARMS)}, mixed; or one arm with {', '.join(STRATEGIES)}.",
        show_default="auto; smote_under if a model is named",
    ),
]
Arms = Annotated[
    str | None,
    typer.Option(metavar="MODEL:STRATEGY,...", help="Arms of your own, side by side and mixed.", show_default=False),
]
MODEL_HELP = f"{', '.join(MODELS)}, or package.module:factory."
Model = Annotated[str | None, typer.Option(help=MODEL_HELP, show_default="logistic, if a strategy is named")]
TargetShare = Annotated[
    float | None,
    typer.Option(help="Share of positives aimed at among the samples learned; .5 = equal classes.", show_default=False),
]
Port = Annotated[int | None, typer.Option(help="HTTP port; 0 takes a free one.", show_default="8000")]
Host = Annotated[str | None, typer.Option(help="HTTP address.", show_default="127.0.0.1")]


ReportTo = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="FILE|-", callback=file_or_stdout, help="Write the report as JSON; - is standard output."
    ),
]
CheckpointDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep checkpoints here, and go on from the last one.", show_default=False),
]


_OF_ONE_ARM = {"strategy": "balance__strategy", "model": "model__name"}


def gather(
    config: Path | None,
    assignments: Iterable[str] | None,
    *,
    seed: int | None = None,
    **dotted: Any,
) -> Settings:
    """Settings from a file, the environment, `--set` and named flags (`balance__strategy="none"`); None = not given."""
    flags: dict[str, Any] = {}
    for assignment in assignments or ():
        key, sign, value = assignment.partition("=")
        if not sign or not key.strip():
            raise SettingsError(f"--set {assignment!r}: expected SECTION.KEY=VALUE, for example join.window_s=600.")
        _put(flags, key.strip().split("."), nested(["v"], value)["v"])
    named = [f"--{flag}" for flag, key in _OF_ONE_ARM.items() if dotted.get(key) is not None]
    if dotted.get("arms__pairs") is not None and named:
        raise SettingsError(
            f"--arms names the model and the strategy of each arm; {' and '.join(named)} would mean nothing. "
            "Leave out the one or the other."
        )
    for name, value in dotted.items():
        if value is not None:
            _put(flags, name.split("__"), value)
    if seed is not None:
        flags["seed"] = seed
    return load(config, flags)


def lineup(settings: Settings) -> str:
    """The arms in a few words."""
    arms = chosen(settings.arms, settings.balance.strategy, settings.model.name)
    if len(arms) == 1:
        return f"strategy {arms[0].strategy}, model {arms[0].model}"
    return "arms " + ", ".join(arm.model if arm.strategy == NONE else arm.name for arm in arms)


def listed(text: str | None) -> list[str] | None:
    """The parts of a list with commas; None = not given."""
    return None if text is None else [part.strip() for part in text.split(",")]


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {'.'.join(path)}: {part!r} is a value, not a section.")
        tree = inner
    tree[path[-1]] = value

"""A process loads what it is for: a command does not wait for libraries of the others, nor a child for its parent's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream_balance.cli import COMMANDS, Commands
from stream_balance.simulation.shop import generate

COMMAND = "import sys; from stream_balance.cli import app; app({arguments!r}, standalone_mode=False)"
SERVED = {"fastapi", "uvicorn", "prometheus_client"}
MODELS = {"river", "sklearn", "scipy", "torch"}
ONLY_OTHERS = SERVED | MODELS | {"kafka", "structlog"}


@pytest.mark.parametrize(
    ("code", "unneeded"),
    [
        (COMMAND.format(arguments=["generate", "--events", "9", "-o", "{log}"]), ONLY_OTHERS),
        (COMMAND.format(arguments=["replay", "{log}", "-q"]), SERVED | {"kafka", "torch", "sklearn", "scipy"}),
        (COMMAND.format(arguments=["config", "check"]), {"torch", "sklearn", "scipy"}),
        ("import sys; import stream_balance.core.arms.booster_fit", SERVED | {"kafka", "river", "torch", "typer"}),
    ],
    ids=["generate", "replay", "config check", "booster"],
)  # fmt: skip
def test_what_a_process_does_not_need_it_does_not_load(code: str, unneeded: set[str], tmp_path: Path) -> None:
    log = tmp_path / "shop.jsonl"
    log.write_bytes(b"".join(line + b"\n" for line in generate(3, seed=1)))
    code = f"{code}; print(*sys.modules)".replace("{log}", str(log))
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "numpy" in loaded
    assert not loaded & unneeded


def test_every_command_is_found_and_a_near_one_suggested() -> None:
    commands = Commands(name="stream-balance")
    assert commands.list_commands(None) == list(COMMANDS)
    assert all(commands.get_command(None, name).help for name in COMMANDS)
    assert commands.get_command(None, "generat") is None
    assert set(commands.commands) == set(COMMANDS)

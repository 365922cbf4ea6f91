"""The README's commands are run as a reader would type them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stream_balance.core.arms.registry import MODELS
from stream_balance.core.balance import STRATEGIES
from stream_balance.core.lineup import DEFAULT_ARMS
from stream_balance.settings import Settings
from tests.conftest import ROOT
from tests.readme_commands import command, commands

# The arms of `auto`, itself, and those of the tail.
ARMS = [*(pair.model for pair in DEFAULT_ARMS), "auto", *(name for name in MODELS if name.startswith("tail_"))]
RUN_ALONE = ("pip install", "produce", "stream-balance run", "bin/activate")
SIMPLE = [line for line in commands() if not any(word in line for word in RUN_ALONE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as after the set-up: the checkout's tests/data, the installed command on the path."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "tests" / "data", path / "tests" / "data")
    return path


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_readme_has_commands_and_both_set_ups() -> None:
    assert len(SIMPLE) >= 8
    assert command("demo").endswith(".venv/bin/stream-balance demo")
    assert command("test").endswith(".venv/bin/pytest")


def test_every_simple_command_of_the_readme_works_in_order(folder: Path) -> None:
    for line in SIMPLE:
        done = shell(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_demo_of_the_set_up_command_runs(folder: Path) -> None:
    line = command("demo").rpartition("&& ")[2].replace(".venv/bin/", "")
    done = shell(f"{line} --max-events 300 --rate 0 --port 0", folder)
    assert done.returncode == 0, done.stderr
    assert "Prequential metrics" in done.stdout


# Limits that bound no buffer: shares, losses, the simulated shop, and how often something is done.
NO_BUFFERS = {
    "bad.share_max", "drift.loss_max", "shop.shown_max", "balance.refresh_rows", "calibrate.block_rows",
    "drift.check_rows", "gan.c2st_max", "gan.marginal_max", "gan.pair_max", "gan.pairs_lost_max",
    "gan.dcr_share_max", "gan.exact_share_max", "rates.block_rows", "threshold.refresh_rows",
    "mixture.review_rows", "mixture.pause_rows", "mixture.pause_rows_max", "target.share_max",
}  # fmt: skip


def bounds(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Every setting that ends in `_max`, or names a number of rows, records or searches."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from bounds(field.annotation, f"{path}{name}.")
        elif name.endswith(("_max", "_rows", "_records", "_searches")):
            yield path + name


def test_every_bound_is_documented() -> None:
    listed = set(re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs" / "bounds.md").read_text(), flags=re.MULTILINE))
    known = set(bounds(Settings)) - NO_BUFFERS
    assert listed <= known, f"no such settings: {sorted(listed - known)}"
    assert not known - listed, f"not in docs/bounds.md: {sorted(known - listed)}"


def drawing(name: str = "draw_methods") -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the arms' drawing imports the other one
    spec.loader.exec_module(module)
    return module


def title(picture: str) -> str:
    found = re.search("<title>.*?</title>", picture)
    assert found is not None
    return found[0]


def test_every_strategy_has_a_section_and_a_picture_of_what_it_does_now() -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert re.findall(r"^## `(\w+)`$", text, flags=re.MULTILINE) == list(STRATEGIES)
    folder = ROOT / "docs" / "methods"
    pictures = drawing().drawn()
    others = {path.name for path in folder.glob("*.svg")} - set(pictures)
    assert others == {"by_tier.svg", *(f"arm_{name}.svg" for name in ARMS)}
    for name, picture in pictures.items():
        assert f"methods/{name}" in text
        assert title(picture) in (folder / name).read_text(), "run: python docs/draw_methods.py"


def test_every_arm_and_balancing_by_tier_have_a_section_and_a_picture() -> None:
    """The cheap ones are drawn again; the others would take as long as everything else here."""
    text = (ROOT / "docs" / "methods.md").read_text()
    assert re.findall(r"^### `(\w+)`$", text, flags=re.MULTILINE) == ARMS
    drawing()
    again = drawing("draw_arms")
    assert [*again.SINGLE, "auto", *again.OF_TAIL] == ARMS
    drawn = {"by_tier": again.by_tier(), **{f"arm_{name}": again.of_arm(name) for name in ("linear", "logistic")}}
    for name in ("by_tier", *(f"arm_{name}" for name in ARMS)):
        assert f"methods/{name}.svg" in text
        stored = (ROOT / "docs" / "methods" / f"{name}.svg").read_text()
        assert title(drawn.get(name, stored)) in stored, "run: python docs/draw_arms.py"


def test_every_line_of_the_log_is_documented() -> None:
    said: set[str] = set()
    for path in (ROOT / "stream_balance").rglob("*.py"):
        code = path.read_text()
        said |= set(re.findall(r'\blog\.(?:debug|info|warning|error)\(\s*"([^"]+)"', code))
        said |= set(re.findall(r'Change\(\s*"\w+", "([^"]+)"', code))
    assert {"started", "broker away", "checkpoint in place"} <= said
    told = (ROOT / "docs" / "operations.md").read_text()
    assert not [words for words in sorted(said) if f"`{words}`" not in told]


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md"]


def anchors(path: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_between_documents_lead_somewhere() -> None:
    for path in documents():
        for target, anchor in re.findall(r"\]\(([^)#:]*?)(?:#([\w-]+))?\)", path.read_text()):
            aim = path.parent / target if target else path
            assert aim.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(aim), f"{path.name}: {target}#{anchor}"


def test_rows_of_a_table_have_as_many_cells_as_its_head() -> None:
    for path in documents():
        head = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.startswith("|"):
                head = None
                continue
            cells = re.sub(r"`[^`]*`|\\\|", "", line).count("|")
            head = head or cells
            assert cells == head, f"{path.name}:{number}"
            assert line.endswith("|"), f"{path.name}:{number}"

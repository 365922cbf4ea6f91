"""One direction: the table of who may import whom, held as data. A breach fails with the offending line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "stream_balance"

# A room of the core may import these of ours, and nothing else. Packages stand for all their modules.
FOUNDATION = {"stream_balance.core.records", "stream_balance.errors"}
EXTRA: dict[str, set[str]] = {
    "core/pipeline.py": {"stream_balance.core"},
    "core/race.py": {
        "stream_balance.core.panel",
        "stream_balance.core.pipeline",
        "stream_balance.core.report",
        "stream_balance.core.settings",
    },
    "core/verdict.py": {
        "stream_balance.core.comparison",
        "stream_balance.core.metrics_math",
        "stream_balance.core.race",
        "stream_balance.core.reliability",
    },
    "core/advice.py": {"stream_balance.core.lineup", "stream_balance.core.verdict"},
    "core/settings.py": {"stream_balance.core"},
    "core/comparison.py": {"stream_balance.core.arm_report", "stream_balance.core.metrics_math"},
    "core/arm_report.py": {"stream_balance.core.figures"},
    "core/target.py": {"stream_balance.core.comparison"},
    "core/said.py": {"stream_balance.core.odds"},
    "core/standings.py": {
        "stream_balance.core.comparison",
        "stream_balance.core.gather",
        "stream_balance.core.lineup",
        "stream_balance.core.mixture",
        "stream_balance.core.arm_report",
        "stream_balance.core.said",
        "stream_balance.core.settings",
        "stream_balance.core.target",
    },
    "core/panel.py": {
        "stream_balance.core.arm",
        "stream_balance.core.calibrate",
        "stream_balance.core.digest",
        "stream_balance.core.gather",
        "stream_balance.core.lineup",
        "stream_balance.core.odds",
        "stream_balance.core.rates",
        "stream_balance.core.arm_report",
        "stream_balance.core.said",
        "stream_balance.core.settings",
        "stream_balance.core.settling",
        "stream_balance.core.standings",
        "stream_balance.core.threshold",
        "stream_balance.core.window",
    },
    "core/arm.py": {
        "stream_balance.core.arms",
        "stream_balance.core.balance",
        "stream_balance.core.calibrate",
        "stream_balance.core.digest",
        "stream_balance.core.lineup",
        "stream_balance.core.settings",
        "stream_balance.core.odds",
        "stream_balance.core.rates",
        "stream_balance.core.window",
    },
    "core/ensemble.py": {
        "stream_balance.core.arms",
        "stream_balance.core.calibrate",
        "stream_balance.core.drift",
        "stream_balance.core.gather",
        "stream_balance.core.lineup",
        "stream_balance.core.mixture",
        "stream_balance.core.odds",
        "stream_balance.core.rates",
        "stream_balance.core.said",
    },
    "core/mixture.py": {"stream_balance.core.said", "stream_balance.core.stack", "stream_balance.core.weights"},
    "core/weights.py": {
        "stream_balance.core.memory",
        "stream_balance.core.said",
        "stream_balance.core.straighten",
    },
    "core/stack.py": {
        "stream_balance.core.memory",
        "stream_balance.core.said",
        "stream_balance.core.straighten",
    },
    "core/calibrate.py": {
        "stream_balance.core.fading",
        "stream_balance.core.gather",
        "stream_balance.core.line",
        "stream_balance.core.marginals",
        "stream_balance.core.memory",
        "stream_balance.core.odds",
        "stream_balance.core.straighten",
    },
    "core/line.py": {"stream_balance.core.memory"},
    "core/marginals.py": {"stream_balance.core.memory"},
    "core/straighten.py": {"stream_balance.core.memory"},
    "core/threshold.py": {"stream_balance.core.fading"},
    "core/balance/": {
        "stream_balance.core.balance",
        "stream_balance.core.pool",
        "stream_balance.core.rates",
        "stream_balance.core.window",
    },
    "core/arms/": {"stream_balance.core.arms", "stream_balance.core.arrays"},
    "core/features.py": {"stream_balance.core.column_table", "stream_balance.core.lru"},
    "core/synthesis.py": {"stream_balance.core.packing"},
    "core/gan_report.py": {"stream_balance.core.figures"},
    "core/pool.py": {"stream_balance.core.gan_report", "stream_balance.core.synthesis"},
    "core/report.py": {
        "stream_balance.core.arm_report",
        "stream_balance.core.figures",
        "stream_balance.core.gan_report",
    },
    "core/retrain.py": {
        "stream_balance.core.gan_report",
        "stream_balance.core.pool",
        "stream_balance.core.synthesis",
        "stream_balance.core.training_rows",
    },
    "core/training_rows.py": {"stream_balance.core.synthesis", "stream_balance.core.window"},
    "core/packing.py": {"stream_balance.core.arrays"},
    "core/join.py": {"stream_balance.core.held"},
    "core/scorecard.py": {"stream_balance.core.metrics_math", "stream_balance.core.report"},
    "core/ranking.py": {"stream_balance.core.metrics_math", "stream_balance.core.report"},
    "core/drift.py": {"stream_balance.core.adwin", "stream_balance.core.report"},
    "core/history.py": {"stream_balance.core.lru"},
    "core/oracle.py": {"stream_balance.core.metrics_math", "stream_balance.core.report"},
}
# A library may be imported only below these.
LIBRARIES = {
    "river": ("library.py", "core/arms/", "core/adwin.py"),
    "sklearn": (
        "gan/",
        "core/arms/booster_fit.py",
    ),
    "torch": ("gan/",),
    "kafka": ("edge/kafka.py", "edge/kafka/client.py"),
    "prometheus_client": ("edge/exporter.py",),
    "fastapi": ("edge/answers.py", "edge/api.py"),
    "uvicorn": ("edge/http.py",),
    "typer": ("cli.py", "commands/"),
    "rich": ("cli.py", "commands/", "edge/console.py"),
}
# The core is pure.
FORBIDDEN_IN_CORE = {
    "asyncio", "datetime", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "structlog", "subprocess",
    "threading", "time", "torch", "uuid",
}  # fmt: skip
ALLOWED_IN_CORE = {
    # a seeded stream handed in, or made from (seed, room)
    ("core/pipeline.py", "random"), ("core/arm.py", "random"),
    ("core/arms/registry.py", "importlib"),
}  # fmt: skip


@cache
def modules() -> list[tuple[str, list[tuple[str, int]]]]:
    """Each of ours, and what it imports."""
    paths = sorted(ROOT.rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), list(imports(ast.parse(path.read_text())))) for path in paths]


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of each import, outside `if TYPE_CHECKING` blocks."""
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def below(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_the_core_imports_only_what_the_table_allows() -> None:
    breaches = []
    for name, imported_at in modules():
        if not name.startswith("core/"):
            continue
        allowed = FOUNDATION.union(*(extra for place, extra in EXTRA.items() if name.startswith(place)))
        for imported, line in imported_at:
            if imported.startswith("stream_balance") and not below(imported, allowed):
                breaches.append(f"stream_balance/{name}:{line} imports {imported}")
    assert not breaches, "\n".join(breaches)


def test_the_core_is_pure() -> None:
    breaches = [
        f"stream_balance/{name}:{line} imports {imported}"
        for name, imported_at in modules()
        if name.startswith("core/")
        for imported, line in imported_at
        if imported.split(".")[0] in FORBIDDEN_IN_CORE
        and (name, imported.split(".")[0]) not in ALLOWED_IN_CORE
        # a type for what is handed in
        and imported != "random.Random"
    ]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_in_its_room(library: str) -> None:
    breaches = [
        f"stream_balance/{name}:{line} imports {imported}"
        for name, imported_at in modules()
        for imported, line in imported_at
        if imported.split(".")[0] == library and not name.startswith(LIBRARIES[library])
    ]
    assert not breaches, "\n".join(breaches)


def test_nothing_below_the_shell_imports_the_shell() -> None:
    shell = {"stream_balance.cli", "stream_balance.service", "stream_balance.commands"}
    breaches = [
        f"stream_balance/{name}:{line} imports {imported}"
        for name, imported_at in modules()
        if name.startswith(("core/", "edge/", "simulation/", "gan/"))
        for imported, line in imported_at
        if below(imported, shell)
    ]
    assert not breaches, "\n".join(breaches)

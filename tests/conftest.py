"""Shared by all tests: where the project is, and small simulated logs."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Some two million objects are made before the first test, none of them garbage: see `pytest_collection_finish`.
gc.disable()

# Before numpy and torch are loaded, here and in what tests start: threads of several processes that wait for each other
# on the same cores make a training of five seconds one of ten minutes.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

from stream_balance.simulation.shop import generate  # noqa: E402  # loads numpy

# One arm learns ten times as fast as the default ones; the tests of those name them.
os.environ["STREAM_BALANCE__BALANCE__STRATEGY"] = "smote_under"

ROOT = Path(__file__).parent.parent

# The same examples in every run; `--hypothesis-profile explore` looks for new ones. No limit of a wall clock in either:
# on a busy machine it says nothing.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the suite, files that wait for brokers and services come first: one of them begun
    last is all that runs in the end. Needs `--no-loadscope-reorder`.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name in ("core", "contract", "edge"))


def pytest_collection_finish() -> None:
    """What has been loaded by now stays: collections leave it out, a twelfth of the time of the tests."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session")
def shop_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 events of the simulated shop, broken ones included, as a log."""
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in generate(4000, seed=3)))
    return path


@pytest.fixture(scope="session")
def short_log(shop_log: Path) -> Path:
    """The first 1,600 of them: some 20,000 impressions, the first half of which have matured."""
    path = shop_log.with_name("short.jsonl")
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:1_600]))
    return path

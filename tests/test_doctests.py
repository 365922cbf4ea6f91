"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import stream_balance

MODULES = [
    each.name
    for each in pkgutil.walk_packages(stream_balance.__path__, "stream_balance.")
    if not each.name.endswith("__main__")
]
KNOWN_EXAMPLES = 80  # fewer are an accident


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_come_out(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples_to_run() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(bool(each.examples) for module in modules for each in finder.find(module)) >= KNOWN_EXAMPLES

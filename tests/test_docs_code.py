"""The code of docs/library.md is run as a reader would run it, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import pytest

from tests.conftest import ROOT

NUMBER = re.compile(r"\d+\.\d+")
PAGES = ["library.md"]


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_prints_what_stands_below_it(page: str) -> None:
    names: dict[str, Any] = {}
    printed, compared = "", 0
    for language, text in blocks(page):
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(text, names)
            printed = out.getvalue()
        elif language == "text":
            assert NUMBER.sub("#", printed) == NUMBER.sub("#", text)
            # the last digit may round otherwise on another machine
            found, shown = ([float(number) for number in NUMBER.findall(each)] for each in (printed, text))
            assert found == pytest.approx(shown, rel=0.02, abs=0.011)
            compared += 1
    assert compared == 3

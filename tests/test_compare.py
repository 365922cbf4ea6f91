"""`compare` from outside: what its files hold, that its figures are replay's, and what it says of mistakes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.test_cli import TOY, report_of, run

TABLE = ("--rows", "--label", "bought", "--positive", "yes", "--drop", "id")
NEVER_CLOSED = {"meta"}


class Page(HTMLParser):
    """Checks that every element is closed in its turn, and keeps what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.lines = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.lines += tag == "polyline"
        self.loaded += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag not in NEVER_CLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.lines += tag == "polyline"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_strategy_of_a_table_in_one_pass_with_its_page_and_document(tmp_path: Path) -> None:
    page, document = tmp_path / "c.html", tmp_path / "c.json"
    done = run("compare", TOY, *TABLE, "-q", "--html", page, "--json", document)
    assert done.returncode == 0, done.stderr
    found = json.loads(document.read_text())
    names = [each["name"] for each in found["runners"]]
    assert names[0] == found["baseline"] == "logistic:none"
    assert {"logistic:smote_under", "logistic:near_miss", "logistic:class_weight", "auto"} < set(names)
    assert len(names) == len(set(names)) == 21
    assert all(name in done.stdout for name in names)
    assert found["conclusion"].split(".")[0] in re.sub(r"\s+", " ", done.stdout)
    for each in found["runners"]:
        assert each["cpu_s"] > 0
        value, life = each["figures"]["roc_auc"]["value"], each["metrics"]["lifetime"]["roc_auc"]
        assert value == pytest.approx(life, abs=0.005)
    text = page.read_text()
    parser = Page()
    parser.feed(text)
    assert not parser.open
    assert not parser.loaded
    assert "http" not in text
    assert parser.lines > 4 * 6  # four plots, axes and lines


def test_a_strategys_figures_and_digest_are_those_of_its_own_replay(tmp_path: Path) -> None:
    document = tmp_path / "c.json"
    done = run("compare", TOY, *TABLE, "-q", "--arms", "logistic:smote,linear:none", "--json", document)
    assert done.returncode == 0, done.stderr
    found = {each["name"]: each for each in json.loads(document.read_text())["runners"]}
    assert list(found) == ["logistic:none", "plain_linear:none", "logistic:smote", "linear:none", "mixture"]
    apart = report_of("replay", TOY, *TABLE, "--arms", "logistic:smote", "--set", "arms.references=false")
    assert found["logistic:smote"]["metrics"] == apart["metrics"]
    assert found["logistic:smote"]["state_digest"] == apart["state_digest"]


def test_a_log_of_events_is_compared_too(shop_log: Path) -> None:
    done = run("compare", shop_log, "-q", "--arms", "logistic:smote_under", "--mature-all")
    assert done.returncode == 0, done.stderr
    assert "logistic:smote_under" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "logistic:smote_under " in line)
    assert re.fullmatch(r"\s*\S+ +[\d.]+ +[-+][\d.]+ ±[\d.]+( +[\d.]+){6} *", line)
    assert re.search(r"Balancing (helps|does not help)", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arms", "logistic:gan"), "'gan' needs trainings"),
        (("--arms", "smote"), "'smote' is no arm"),
        (("--arms", "logistic:smoke"), "'smoke' is no strategy"),
        (("--html", "nowhere/c.html"), "'nowhere' is no folder"),
        (("--rows",), "--rows needs --label COLUMN"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments: tuple[str, ...], message: str) -> None:
    done = run("compare", TOY, *arguments)
    assert done.returncode == 2
    assert message in done.stderr

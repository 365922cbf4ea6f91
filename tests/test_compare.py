"""`compare` from outside: what its files hold, that its figures are replay's, and what it says of mistakes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
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


def assert_sentence_is_right(found: dict[str, Any]) -> None:
    """What the conclusion says, counted again from the figures."""
    runners, words = {each["name"]: each for each in found["runners"]}, found["conclusion"]

    def precision(name: str) -> float:
        return float(runners[name]["figures"]["average_precision"]["value"])

    def gained(name: str) -> bool:
        gain = runners[name]["against_none"]["average_precision"]
        return bool(gain["value"] > 3 * gain["error"])

    balanced = [name for name, each in runners.items() if each["none"] is not None and ":" in name]
    for name, each in runners.items():
        if each["none"] is None:
            assert each["against_none"] is None
        else:
            gain = precision(name) - precision(each["none"])
            assert each["against_none"]["average_precision"]["value"] == pytest.approx(gain)
    assert words.startswith(
        "Balancing helps:" if any(map(gained, balanced)) else "Balancing does not help beyond doubt:"
    )
    for plain in {runners[name]["none"] for name in balanced}:
        mine = [name for name in balanced if runners[name]["none"] == plain]
        count = sum(map(gained, mine)) or "none"
        assert re.search(rf"\b{count} of {len(mine)} beats? {re.escape(plain)}", words), words
    best = max(runners, key=precision)
    assert re.search(rf"[Tt]he best(, | is ){re.escape(best)}\b", words), words
    run_ = re.search(r"Run ([^ ,]+): within one error", words)
    if run_:
        assert runners[run_[1]]["cpu_s"] < runners[best]["cpu_s"]


def test_arms_that_balance_by_themselves_are_measured_each_against_its_own_plain_model(tmp_path: Path) -> None:
    document = tmp_path / "c.json"
    arms = "linear:none,replay_mlp:none,window_booster:none,logistic:none"
    done = run("compare", TOY, *TABLE, "-q", "--arms", arms, "--json", document)
    assert done.returncode == 0, done.stderr
    found = json.loads(document.read_text())
    against = {each["name"]: each["none"] for each in found["runners"]}
    assert against == {
        "plain_linear:none": None, "linear:none": "plain_linear:none",
        "plain_replay_mlp:none": None, "replay_mlp:none": "plain_replay_mlp:none",
        "window_booster:none": None, "logistic:none": None, "mixture": found["baseline"],
    }  # fmt: skip
    assert_sentence_is_right(found)


def test_the_document_goes_to_standard_output_alone(tmp_path: Path) -> None:
    done = run("compare", TOY, *TABLE, "-q", "--arms", "linear:none", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runners"][0]["name"] == "plain_linear:none"
    assert "against none" in done.stderr
    assert not list(tmp_path.iterdir())


def test_one_that_is_stopped_says_so_everywhere_and_leaves_as_replay_does(tmp_path: Path) -> None:
    page, document = tmp_path / "c.html", tmp_path / "c.json"
    arms = ("-q", "--drop", "colour", "--arms", "tests.stopping_model:make:none")
    done = run("compare", TOY, *TABLE, *arms, "--html", page, "--json", document)
    assert "warning: stopped before the end" in done.stderr
    assert "Stopped after" in done.stdout
    found = json.loads(document.read_text())
    assert found["stopped"]
    assert found["examples"]["matured"] < 400
    assert found["conclusion"].startswith("Stopped after ")
    assert '<p class="stopped">' in page.read_text()
    report = tmp_path / "r.json"
    replayed = run("replay", TOY, *TABLE, *arms, "--report", report)
    assert done.returncode == replayed.returncode
    assert json.loads(report.read_text())["stopped"]
    assert "stopped before the end: the report and its digest are of what was read until then." in replayed.stderr


def test_every_strategy_of_a_table_in_one_pass_with_its_page_and_document(tmp_path: Path) -> None:
    page, document = tmp_path / "c.html", tmp_path / "c.json"
    done = run("compare", TOY, *TABLE, "-q", "--html", page, "--json", document)
    assert done.returncode == 0, done.stderr
    found = json.loads(document.read_text())
    names = [each["name"] for each in found["runners"]]
    assert names[0] == found["baseline"] == "logistic:none"
    assert not found["stopped"]
    assert_sentence_is_right(found)
    assert {"logistic:smote_under", "logistic:near_miss", "logistic:class_weight", "auto"} < set(names)
    assert len(names) == len(set(names)) == 21
    assert all(name in done.stdout for name in names)
    assert found["conclusion"].split(".")[0] in re.sub(r"\s+", " ", done.stdout)
    for each in found["runners"]:
        assert each["cpu_s"] > 0
        life, figures = each["metrics"]["lifetime"], each["figures"]
        for name in ("roc_auc", "average_precision", "log_loss", "ece", "mean_probability_over_rate"):
            assert figures[name]["value"] == pytest.approx(life[name], abs=1e-6), name
        assert figures["gmean"]["value"] == pytest.approx(life["at_tuned"]["gmean"])
        for low, high in (figure["interval"] for figure in figures.values()):
            assert low < high
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


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No strategy in the environment, where the suite names one: it would stand above arms of a file."""
    monkeypatch.delenv("STREAM_BALANCE__BALANCE__STRATEGY")


PAIRS = '[arms]\npairs = ["logistic:smote", "linear:none"]\n'


@pytest.mark.usefixtures("unnamed")
def test_arms_of_a_settings_file_are_compared_and_those_of_the_flag_go_before(tmp_path: Path) -> None:
    settings, theirs = tmp_path / "s.toml", ["logistic:none", "plain_linear:none", "logistic:smote", "linear:none"]
    settings.write_text(PAIRS)

    def names(*arguments: str | Path, **environment: str) -> list[str]:
        done = run("compare", TOY, *TABLE, "-q", "--json", "-", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        return [each["name"] for each in json.loads(done.stdout)["runners"]]

    assert names("-c", settings) == [*theirs, "mixture"]
    assert names("-c", settings, "--arms", "linear:none") == ["plain_linear:none", "linear:none", "logistic:none"]
    assert names("--set", 'arms.pairs=["logistic:oob"]') == ["logistic:none", "logistic:oob"]
    assert names(STREAM_BALANCE__ARMS__PAIRS='["logistic:oob"]') == ["logistic:none", "logistic:oob"]


@pytest.mark.usefixtures("unnamed")
def test_a_model_beside_arms_of_a_settings_file_is_refused_as_beside_the_flag(tmp_path: Path) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text(PAIRS)
    done = run("compare", TOY, *TABLE, "-c", settings, "--model", "naive_bayes")
    assert done.returncode == 2
    assert "arms.pairs (logistic:smote, linear:none) names the model and the strategy of each arm" in done.stderr
    assert "model.name (--model) would mean nothing. Leave out the one or the other (--set arms.p" in done.stderr


@pytest.mark.usefixtures("unnamed")
@pytest.mark.parametrize(
    ("kind", "objective"), [("table", "average_precision"), ("table", "ndcg_at_10"), ("log", "ndcg_at_10")]
)
def test_with_an_objective_shares_are_held_fixed_and_it_says_so_once(
    kind: str, objective: str, short_log: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text(f'[arms]\npairs = ["logistic:smote"]\n[target]\nobjective = "{objective}"\n')
    given = (TOY, *TABLE) if kind == "table" else (short_log, "--mature-all")
    moved = run("compare", *given, "-q", "-c", settings, "--json", "-")
    assert moved.returncode == 0, moved.stderr
    assert moved.stderr.count(f"target.objective is '{objective}', but a comparison holds target shares fixed") == 1
    fixed = run("compare", *given, "-q", "-c", settings, "--set", "target.objective=fixed", "--json", "-")
    assert "holds target shares fixed" not in fixed.stderr
    first, second = (json.loads(done.stdout) for done in (moved, fixed))
    assert first["settings"] == second["settings"]
    assert [each["state_digest"] for each in first["runners"]] == [each["state_digest"] for each in second["runners"]]


def test_arms_of_the_tail_are_measured_in_the_tail_of_a_log(short_log: Path) -> None:
    arms = ("--arms", "linear:none,tail_linear:none", "--set", "tiers.first=100", "--set", "tiers.every=100")
    done = run("compare", short_log, "-q", "--mature-all", *arms, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    runners = {each["name"]: each for each in found["runners"]}
    assert [name for name, each in runners.items() if each["tail_only"]] == ["tail_linear:none"]
    plain, ours = (
        runners[name]["metrics"]["tiers"]["tail"]["average_precision"]
        for name in ("plain_linear:none", "tail_linear:none")
    )
    gain = runners["tail_linear:none"]["against_none"]["average_precision"]["value"]
    assert gain == pytest.approx(ours - plain, abs=1e-6)
    assert "plain_linear:none in the tail" in found["conclusion"]
    assert "tail_linear: such arms speak of tail items only" in found["conclusion"]


@pytest.mark.parametrize("command", ["compare", "replay"])
@pytest.mark.parametrize("named", [("--arms", "linear:none,tail_linear:none"), ("--model", "tail_linear")])
def test_arms_of_the_tail_are_refused_for_a_table_which_has_none(command: str, named: tuple[str, str]) -> None:
    done = run(command, TOY, *TABLE, "-q", *named)
    assert done.returncode == 2
    assert "arms of 'tail_linear' speak of tail items only, and a table's rows are all of the head" in done.stderr
    apart = run(command, TOY, *TABLE, "-q", "--set", "balance.by_tier=true")
    assert apart.returncode == 2
    assert "balance.by_tier balances popular and rare items apart, and a table has no items" in apart.stderr


def test_a_log_of_events_is_compared_too(short_log: Path) -> None:
    done = run("compare", short_log, "-q", "--arms", "logistic:smote_under", "--mature-all")
    assert done.returncode == 0, done.stderr
    assert "logistic:smote_under" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "logistic:smote_under " in line)
    assert re.fullmatch(r"\s*\S+ +[\d.]+ +[-+][\d.]+ ±[\d.]+( +[\d.]+){6} *", line)
    assert re.search(r"Balancing (helps|does not help)", done.stdout)


def test_of_several_classes_each_has_its_figures_on_the_page(tmp_path: Path) -> None:
    table, page = tmp_path / "three.csv", tmp_path / "c.html"
    rng = np.random.default_rng(1)
    labels = rng.choice(["no", "low", "high"], 600, p=[0.8, 0.15, 0.05])
    places = {"no": 0.0, "low": 1.5, "high": 3.0}
    lines = [f"{places[label] + x:.4f},{label}" for label, x in zip(labels.tolist(), rng.normal(size=600), strict=True)]
    table.write_text("\n".join(["a,kind", *lines]))
    arms = ("--arms", "linear:none,naive_bayes:smote", "--label", "kind", "--classes", "no,low,high")
    done = run("compare", table, "--rows", "-q", "--html", page, *arms)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "By class, against the rest" in text
    assert "high: average precision" in text
    assert len(re.findall(r"<td>0\.\d{4}</td>", text.split("By class")[1].split("</table>")[0])) >= 2 * 3 * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arms", "logistic:gan"), "'gan' needs trainings"),
        (("--arms", "smote"), "'smote' is no arm"),
        (("--arms", "logistic:smoke"), "'smoke' is no strategy"),
        (("--arms", "logistc:smote"), "an arm: 'logistc' is no model. Did you mean 'logistic'? Choose"),
        (("--arms", "logistic:smote", "--model", "linear"), "--model would mean nothing"),
        (("--html", "nowhere/c.html"), "'nowhere' is no folder"),
        (("--rows",), "--rows needs --label COLUMN"),
        (("--label", "late"), "--label is of a table"),
        ((), "has no event in"),
        (("--rows", "--label", "colour", "--classes", "q,p"), "has no row that could be used in"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments: tuple[str, ...], message: str) -> None:
    done = run("compare", TOY, *arguments)
    assert done.returncode == 2
    assert message in done.stderr

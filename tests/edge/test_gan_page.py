"""The GAN's page: real and made rows side by side, complete in itself."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import rankdata
from typer.testing import CliRunner

from stream_balance.cli import app
from stream_balance.core.gan_report import GanGain, GanOutcome, GanVetting
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns
from stream_balance.core.settings import CoreSettings
from stream_balance.core.synthesis import Release
from stream_balance.edge.gan_page import SHOWN_POINTS, correlations, marginal, page, projected, ranked
from stream_balance.errors import SettingsError
from tests.contract.streams import shop
from tests.core.test_pool import release
from tests.test_gan_service import QUICK
from tests.test_resume import replayed


def svgs(text: str) -> list[ElementTree.Element]:
    """Every picture, read as XML."""
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)]


def taught() -> Pipeline:
    """A pipeline that has seen purchases, and was given its own rows as a release."""
    settings = CoreSettings.model_validate({"balance": {"strategy": "gan"}, "join": {"window_s": 60.0}})
    pipeline = Pipeline(settings, 3, ("none", "<b>ought"))
    for event in shop(300, seed=5, signal=1.0):
        pipeline.push(event)
    pipeline.run_out()
    rows = pipeline.panel.recent.window.rows(1)
    assert pipeline.retrain is not None
    pipeline.retrain.pool.adopt(Release(1, rows, release().vetting), 0)
    return pipeline


def test_equal_rows_look_equal_and_the_page_needs_nothing_else() -> None:
    text = page(taught(), "a <log>")
    assert "a &lt;log&gt;" in text
    assert "&lt;b&gt;ought" in text
    assert not re.search(r"<script|https?:|src=", text)
    pictures = svgs(text)
    assert len(pictures) > 4
    heats = [rect for svg in pictures for rect in svg.iter("rect") if "fill-opacity" in rect.attrib]
    assert {float(rect.attrib["fill-opacity"]) for rect in heats} == {0.0}
    for svg in pictures:
        if not any("fill-opacity" in rect.attrib for rect in svg.iter("rect")):
            heights = Counter((rect.attrib["fill"], rect.attrib["height"]) for rect in svg.iter("rect"))
            blue, orange = (
                sorted(h for c, h in heights.elements() if c == colour) for colour in ("#0a62c2", "#b4470b")
            )
            assert blue == orange


def test_without_a_release_there_is_what_happened_and_without_a_gan_a_word() -> None:
    pipeline = Pipeline(CoreSettings(), 3, ("none", "bought"))
    assert "No strategy here learns generated rows" in page(pipeline, "x")
    settings = CoreSettings.model_validate({"balance": {"strategy": "gan"}})
    assert "0 requests" in page(Pipeline(settings, 3, ("none", "bought")), "x")


def test_ranks_and_correlations_are_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=200), rng.integers(0, 4, 200), rng.normal(size=200)])
    expected = np.column_stack([rankdata(column) for column in rows.T])
    np.testing.assert_allclose(ranked(rows) * 200, expected - 1.0)
    np.testing.assert_allclose(correlations(ranked(rows)), np.corrcoef(expected.T), atol=1e-12)
    assert correlations(ranked(np.ones((5, 1))))[0, 0] == 0.0


def test_a_marginal_has_all_rows_absences_and_rare_levels_included() -> None:
    columns = Columns()
    columns.add("price"), columns.add("brand", nominal=True)
    for code in range(30):
        columns.level(1, f"b{code}")
    rng = np.random.default_rng(0)
    price = rng.normal(size=400)
    price[:100] = np.nan
    brand = rng.integers(0, 30, 400).astype(float)
    for c, column in enumerate((price, brand)):
        (svg,) = svgs(marginal(columns, c, column, column[:200]))
        shares = [float(title.text.rpartition(" ")[2]) for title in svg.iter("title") if title.text]
        assert sum(shares[::2]) == pytest.approx(1.0, abs=0.02)
        assert sum(shares[1::2]) == pytest.approx(1.0, abs=0.02)


def test_the_projection_is_bounded_and_keeps_the_widest_directions() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=(1_000, 1))
    rows = np.hstack([common + 0.1 * rng.normal(size=(1_000, 4)), rng.normal(size=(1_000, 1))])
    found = projected(rows, rows)
    assert found["real"].shape == found["made"].shape == (SHOWN_POINTS, 2)
    assert abs(np.corrcoef(found["made"][:, 0], rows[:SHOWN_POINTS, 0])[0, 1]) > 0.95


def test_a_checkpoint_and_a_log_are_inspected(shop_log: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:700]))
    rooms = QUICK | {"gan": QUICK["gan"] | {"copula_rows_min": 10}}
    report = replayed(log, tmp_path / "state", None, **rooms)
    assert report["gan"]["releases"] == 1
    target = tmp_path / "gan.html"
    said = CliRunner().invoke(app, ["gan", "inspect", str(tmp_path / "state"), "--html", str(target)])
    assert (said.exit_code, "1 releases" in said.output) == (0, True)
    assert "made by copula" in target.read_text()
    said = CliRunner().invoke(app, ["gan", "inspect", str(tmp_path / "state"), "--html", "-"])
    assert (said.stdout, "1 releases" in said.stderr) == (target.read_text(), True)
    said = CliRunner().invoke(app, ["gan", "inspect", str(log), "--html", str(target), "-q"])
    assert (said.exit_code, "0 requests" in said.output) == (0, True)
    assert "swap_after_events" not in said.output


def test_a_log_that_ends_before_the_first_answer_is_told_what_to_set(shop_log: Path, tmp_path: Path) -> None:
    log, target = tmp_path / "log.jsonl", tmp_path / "gan.html"
    log.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:700]))
    given = ["join.window_s=60", "gan.copula_rows_min=10", "gan.gan_rows_min=1000000", "gan.check_events=100"]
    asked = ["gan", "inspect", str(log), "--html", str(target), "-q", *(f"--set={each}" for each in given)]
    said = CliRunner().invoke(app, asked)
    assert "1 requests, 0 releases, 0 refusals" in said.output
    found = re.search(r"--set (gan.swap_after_events=\d+)", said.output)
    assert found is not None
    said = CliRunner().invoke(app, [*asked, f"--set={found[1]}"])
    assert "0 releases, 0 refusals" not in said.output
    assert "swap_after_events" not in said.output


def test_the_page_tells_the_live_models_gains_apart_from_the_boosters() -> None:
    pipeline = taught()
    assert pipeline.retrain is not None
    gains = (
        GanGain(
            model="live", share=0.1, over_none=-0.015, over_none_error=0.01, over_copies=-0.1, over_copies_error=0.02
        ),
        GanGain(
            model="booster", share=0.1, over_none=0.05, over_none_error=0.01, over_copies=0.06, over_copies_error=0.02
        ),
        GanGain(model="live", share=0.2),
    )
    vetting = GanVetting(maker="trees", verdict="refused", reason="harm", gains=gains)
    pipeline.retrain.history.append(
        GanOutcome(position=9, label="b", asked_for="first", outcome="refusal", reason="harm", vettings=(vetting,))
    )
    cells = re.findall(r"<td>(.*?)</td>", page(pipeline, "x"))
    assert cells[-2:] == [
        "0.1: -0.015 (0.010), -0.100 (0.020); 0.2: - (-), - (-)",
        "0.1: +0.050 (0.010), +0.060 (0.020)",
    ]


def test_arms_without_generated_rows_are_refused_before_the_log_is_replayed(tmp_path: Path) -> None:
    log = tmp_path / "a folder, which cannot be read as a log"
    log.mkdir()
    flags = ["--arms", "logistic:none", "--html", str(tmp_path / "a.html"), "-q"]
    said = CliRunner().invoke(app, ["gan", "inspect", str(log), *flags])
    assert isinstance(said.exception, SettingsError)
    assert "no arm learns generated rows" in str(said.exception)


def test_a_checkpoint_that_was_renamed_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-000000000001.sbc").write_bytes(b"")
    said = CliRunner().invoke(app, ["gan", "inspect", str(tmp_path), "--html", str(tmp_path / "a.html")])
    assert isinstance(said.exception, SettingsError)
    assert "'checkpoint-000000000001.sbc' is no checkpoint's name; 'checkpoint-0000000001.sbc'" in str(said.exception)


def test_what_cannot_be_inspected_is_refused(tmp_path: Path) -> None:
    for source, html in ((tmp_path / "none", tmp_path / "a.html"), (tmp_path, tmp_path / "no" / "a.html")):
        said = CliRunner().invoke(app, ["gan", "inspect", str(source), "--html", str(html)])
        assert isinstance(said.exception, SettingsError)

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
    said = CliRunner().invoke(app, ["gan", "inspect", str(log), "--html", str(target), "-q"])
    assert (said.exit_code, "0 requests" in said.output) == (0, True)


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

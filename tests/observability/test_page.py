"""The live page in headless Chromium: it draws, updates by itself, reads aloud, fits a phone, and asks nobody else."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from stream_balance.core.arm_report import Difference, Lift
from stream_balance.core.gan_report import Gan, GanOutcome, GanPool
from stream_balance.edge.board import Board
from stream_balance.edge.http import HttpServer
from stream_balance.edge.http_settings import HttpSettings
from stream_balance.edge.logfile import LogRecord, read_events
from stream_balance.edge.page import asset
from stream_balance.edge.wire import WireSettings
from stream_balance.service import Session, drive, make_codec, make_pipeline
from stream_balance.settings import load
from stream_balance.testing import make_search

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
needs_axe = pytest.mark.skipif(
    "STREAM_BALANCE_TEST_AXE" not in os.environ, reason="no axe.min.js (of npm's axe-core) is named"
)
PATIENCE_S = 30
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
NASTY = '<img src=x onerror="document.title=1">'


class Shown:
    """A page over a session of its own, and the browser that shows it."""

    def __init__(self, log: Path) -> None:
        chosen = load(flags={"join": {"window_s": 120}})
        self.board = Board(refresh_s=1e-9)
        self.session = Session(make_pipeline(chosen), chosen, board=self.board)
        self._records: Iterator[LogRecord] = iter(read_events([log], make_codec(chosen)))
        self.board.ready = True
        self.run(1500)
        self.server = HttpServer(self.board, lambda: b"", HttpSettings(port=0), WireSettings())
        self.server.start()
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.browser.get(self.server.url + "/")
        self.until(lambda: self.text("#state") == "running")

    def run(self, events: int) -> None:
        drive(islice(self._records, events), self.session, threading.Event())

    def until(self, holds: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, PATIENCE_S).until(lambda _: holds())

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.browser.execute_script("return document.querySelector(arguments[0]).textContent", selector))

    def script(self, code: str) -> Any:
        return self.browser.execute_script(code)

    def end(self) -> None:
        self.browser.quit()
        self.server.stop()


@pytest.fixture(scope="module")
def shown(shop_log: Path) -> Iterator[Shown]:
    page = Shown(shop_log)
    yield page
    page.end()


@needs_chromium
def test_everything_is_drawn_with_figures(shown: Shown) -> None:
    labels = shown.script(
        "return [...document.querySelectorAll('svg[role=img]')].map(s => s.getAttribute('aria-label'))"
    )
    assert len(labels) >= 8
    assert not [label for label in labels if "no figures" in label]
    assert any(re.match(r"ROC AUC\. Now window 0\.\d+; between", label) for label in labels)
    assert len(shown.all("path.line")) >= 8
    headings = [element.text for element in shown.all("h2")]
    assert len(headings) == 6
    assert "kept as dead letters" not in shown.text("#tiles"), "nobody keeps them here"
    captions = [element.text for element in shown.all("caption")]
    assert {"Latest predictions", "Health", "Bad records", "Figures by tier and scope", "Arms and references"} <= set(
        captions
    )


@needs_chromium
def test_arms_lift_and_generated_rows_are_shown(shown: Shown) -> None:
    document = shown.session.report(digest=False)
    names = {arm["name"] for arm in document["arms"]}
    assert names
    shown_arms = {row.text.split(" (")[0] for row in shown.all("#arms tbody th")}
    assert names <= shown_arms
    assert set(document["lift"]) <= {row.replace(" ", "_") for row in shown_arms}
    outcome = GanOutcome(position=9, label="bought", asked_for="first", outcome="refusal", reason="near_copies")
    pool = {"bought": GanPool(maker="copula", rows=2_000, share=0.25, age_s=90.0, drawn=7)}
    gan = Gan(requests=3, releases=1, refusals={"near_copies": 1}, pool=pool, last=outcome, history=(outcome,))
    better = {
        name: Lift(rows=9_000, average_precision=Difference(value=0.02, error=0.004)) for name in document["lift"]
    }
    lift = {name: each.model_dump(mode="json") for name, each in better.items()}
    for count in (1, 2, 3):
        gan = gan.model_copy(update={"releases": count})
        shown.board.pin(document | {"gan": gan.model_dump(mode="json"), "lift": lift}, shown.session.service_state())
    shown.until(lambda: "near copies" in shown.text("#balance"))
    assert "copula, 2,000 rows" in shown.text("#balance")
    assert shown.all("#charts .release")
    assert shown.all("#arms path.band")
    assert "+0.020 ± 0.008" in shown.text("#arms figcaption")


@needs_chromium
def test_it_updates_by_itself(shown: Shown) -> None:
    before = shown.text("#summary")
    shown.run(300)
    shown.until(lambda: shown.text("#summary") != before)


@needs_chromium
def test_a_pause_holds_the_picture(shown: Shown) -> None:
    button = shown.all("#pause")[0]
    button.click()
    before = shown.text("#summary")
    shown.run(200)
    shown.until(lambda: "newer" in button.text)  # it has come, and is not drawn
    assert shown.text("#summary") == before
    button.click()
    assert shown.text("#summary") != before
    assert button.text == "Pause"


@needs_chromium
def test_a_chart_is_read_with_the_keyboard(shown: Shown) -> None:
    chart = shown.all("#charts svg")[0]
    chart.send_keys(Keys.END)
    last = shown.text("#spoken")
    assert re.match(r"ROC AUC, .*: window 0\.\d+", last)
    chart.send_keys(Keys.HOME)
    assert shown.text("#spoken") != last
    chart.send_keys(Keys.TAB)
    assert shown.script("return document.activeElement !== document.querySelectorAll('#charts svg')[0]")


@needs_chromium
def test_headings_and_tables_can_be_followed_by_ear(shown: Shown) -> None:
    """What axe-core asks of an outline: no level is left out, no column is without a name."""
    levels = [
        int(tag[1]) for tag in shown.script("return [...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)")
    ]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert shown.script("return [...document.querySelectorAll('th')].filter(th => !th.textContent.trim()).length") == 0


@needs_chromium
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(shown: Shown, scheme: str) -> None:
    with seen_in(shown.browser, scheme):
        shown.until(lambda: shown.text("#state") == "running")
        assert violations(shown.browser) == []


@needs_chromium
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_runbook_can_be_read_by_all(shown: Shown, scheme: str) -> None:
    with seen_in(shown.browser, scheme):
        shown.browser.get(f"{shown.server.url}/runbook#scores-busy")
        try:
            assert violations(shown.browser) == []
        finally:
            shown.browser.get(shown.server.url + "/")
            shown.until(lambda: shown.text("#state") == "running")


@contextmanager
def seen_in(browser: Any, scheme: str) -> Iterator[None]:
    """The browser, as somebody has it who asks for light or dark pages."""
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    yield
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def violations(browser: Any) -> list[str]:
    """What axe-core finds on the page."""
    browser.execute_script(Path(os.environ["STREAM_BALANCE_TEST_AXE"]).read_text())
    browser.set_script_timeout(120)
    found: list[str] = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run().then(result => done(result.violations.map(each => `${each.id}: ${each.nodes[0].html}`)))"
    )
    return found


@needs_chromium
def test_names_from_outside_stay_text(shown: Shown) -> None:
    ts = shown.session.pipeline.reorder.watermark_us / 1e6 + 1
    search = make_search(NASTY, ts=ts, items=[NASTY])
    shown.session.take(LogRecord(search, None, b"", Path("-"), 1, None), b"")
    shown.session.serve()
    shown.until(lambda: NASTY in shown.text("#stream"))
    assert shown.browser.title == "stream-balance"
    assert shown.all("main img") == []


@needs_chromium
def test_a_phone_needs_no_sideways_scrolling(shown: Shown) -> None:
    shown.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    assert shown.script("return document.documentElement.scrollWidth") <= PHONE["width"]
    shown.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_chromium
def test_nothing_comes_from_elsewhere_and_nothing_fails(shown: Shown) -> None:
    names = shown.script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert names
    assert not [name for name in names if not name.startswith(shown.server.url) and not name.startswith("data:")]
    assert [entry for entry in shown.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@needs_chromium
def test_a_service_that_is_gone_is_told(shop_log: Path) -> None:
    page = Shown(shop_log)
    try:
        page.server.stop()
        page.until(lambda: page.text("#state") == "no answer")
        assert "does not answer" in page.text("#notice")
    finally:
        page.end()


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of #rgb or #rrggbb."""
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_their_ground(scheme: int) -> None:
    block = re.findall(r":root\{(.*?)\}", asset("page.css"), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{3,6})", block))
    pairs = [(ink, "card") for ink in ("ink", "soft", "a", "good", "warn", "bad")]
    pairs += [(name, f"{name}-bg") for name in ("good", "warn", "bad")] + [("ink", "ground"), ("soft", "ground")]
    for ink, ground in pairs:
        low, high = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground}"
    for line in ("b", "c", "d"):
        low, high = sorted((luminance(colours[line]), luminance(colours["card"])))
        assert (high + 0.05) / (low + 0.05) >= 3, f"line {line}"

"""Standings of a comparison: one document of a finished race, and its table for people. In: `Race`. Out: both."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from stream_balance.core.advice import Advice
from stream_balance.core.race import Race
from stream_balance.core.verdict import Verdict
from stream_balance.edge.compare_page import number, with_error
from stream_balance.service import versions
from stream_balance.settings import Settings

HEAD = ("AP", "against none", "AUC", "log-loss", "p/rate", "G tuned", "tail AP", "CPU s")


def document(race: Race, settings: Settings, source: str, *, stopped: bool = False) -> dict[str, Any]:
    """The comparison as one document; what `--json` writes. `stopped`: before the end of what was to be compared."""
    verdict = Verdict(race.answers(), settings.metrics.ece_bins)
    reports = [report.document() for report in race.reports()]
    advice = Advice(race.names, race.costs, verdict, race.tail_only)
    found = []
    for place, (name, report) in enumerate(zip(race.names, reports, strict=True)):
        against = advice.against[place]
        found.append(
            {
                "name": name,
                "cpu_s": race.costs[place],
                "figures": advice.figures[place],
                "none": None if against is None else race.names[against],
                "against_none": advice.gains[place],
                "tail_only": place in race.tail_only,
                "metrics": report["metrics"],
                "training": report["training"],
                "drift": report["drift"],
                "curve": verdict.curve(place),
                "precision_recall": verdict.precision_recall(place),
                "reliability": verdict.reliability(place),
                "state_digest": report["state_digest"],
            }
        )
    first, words = reports[0], advice.words()
    if len(race.class_names) > 2:
        words += f" That is of any outcome against {race.class_names[0]!r}; the page and the JSON have each class."
    if stopped:
        words = f"Stopped after {first['examples']['matured']:,} rows, so this is not of the whole. {words}"
    return {
        "source": source, "stopped": stopped, "baseline": race.names[advice.baseline], "conclusion": words,
        "runners": found, "rows_left_out": race.rows_left_out, "events": first["events"],
        "examples": first["examples"], "settings": settings.model_dump(mode="json"), "seed": settings.seed,
        "versions": versions(),
    }  # fmt: skip


def render(found: dict[str, Any]) -> Table:
    """The table for the terminal, best average precision first."""
    table = Table(
        box=box.SIMPLE, title=found["source"], caption=found["conclusion"], title_justify="left", caption_justify="left"
    )
    table.add_column("", no_wrap=True)
    for name in HEAD:
        table.add_column(name, justify="right", no_wrap=True)
    for each in ranked(found):
        figures, life, tail = each["figures"], each["metrics"]["lifetime"], each["metrics"]["tiers"]["tail"]
        gain = each["against_none"]
        ratio, tuned = figures["mean_probability_over_rate"]["value"], life["at_tuned"] or {}
        cells = [
            number(figures["average_precision"]["value"]),
            with_error(gain["average_precision"]) if gain else "",
            *(number(figures[name]["value"]) for name in ("roc_auc", "log_loss")),
            number(ratio, 2),
            *(number(value) for value in (tuned.get("gmean"), tail["average_precision"])),
            f"{each['cpu_s']:.1f}",
        ]
        assert len(cells) == len(HEAD), "a cell for each column"
        table.add_row(each["name"], *cells)
    return table


def ranked(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Runners by falling average precision."""
    return sorted(found["runners"], key=lambda each: -(each["figures"]["average_precision"]["value"] or 0.0))

"""Standings of a comparison: one document of a finished race, and its table for people. In: `Race`. Out: both."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from stream_balance.core.lineup import NONE
from stream_balance.core.race import Race
from stream_balance.core.verdict import SURE, Verdict, sure
from stream_balance.edge.compare_page import number, with_error
from stream_balance.service import versions
from stream_balance.settings import Settings

HEAD = ("AP", "against none", "AUC", "log-loss", "p/rate", "G tuned", "tail AP", "CPU s")


def document(race: Race, settings: Settings, source: str) -> dict[str, Any]:
    """The comparison as one document; what `--json` writes."""
    verdict, reports = Verdict(race.answers()), [report.document() for report in race.reports()]
    found = []
    for place, (name, report) in enumerate(zip(race.names, reports, strict=True)):
        found.append(
            {
                "name": name,
                "cpu_s": race.costs[place],
                "figures": verdict.figures(place),
                "against_none": verdict.gain(place, 0) if place else None,
                "metrics": report["metrics"],
                "training": report["training"],
                "drift": report["drift"],
                "curve": verdict.curve(place),
                "precision_recall": verdict.precision_recall(place),
                "reliability": verdict.reliability(place),
                "state_digest": report["state_digest"],
            }
        )
    first = reports[0]
    return {
        "source": source, "baseline": race.names[0], "conclusion": conclusion(found), "runners": found,
        "rows_left_out": race.rows_left_out, "events": first["events"], "examples": first["examples"],
        "settings": settings.model_dump(mode="json"), "seed": settings.seed, "versions": versions(),
    }  # fmt: skip


def conclusion(found: list[dict[str, Any]]) -> str:
    """In a sentence or two: which to run, and whether balancing helps at all."""
    base, others = found[0], found[1:]
    if base["figures"]["average_precision"]["value"] is None:
        return "One class only: nothing can be compared."
    balanced = [each for each in others if ":" in each["name"] and not each["name"].endswith(f":{NONE}")]
    better = [each for each in others if _gains(each)]
    helped = [each for each in balanced if _gains(each)]
    if helped:
        said = f"Balancing helps: {len(helped)} of {len(balanced)} beat"
    else:
        said = f"Balancing does not help here: none of {len(balanced)} beats"
    said += f" {base['name']} in average precision by more than {SURE:.0f} errors."
    if not better:
        return f"{said} Run {base['name']}."
    best = max(better, key=lambda each: float(each["figures"]["average_precision"]["value"]))
    gain = best["against_none"]["average_precision"]
    return f"{said} The best is {best['name']}: {gain['value']:+.4f} (error {gain['error']:.4f})."


def _gains(each: dict[str, Any]) -> bool:
    gain = each["against_none"]["average_precision"]
    return sure(gain) and gain["value"] > 0


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
            with_error(gain["average_precision"], "+", " ±") if gain else "",
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

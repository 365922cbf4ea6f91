"""Compare page: a comparison as one HTML file that needs nothing else. In: the document of `compare`. Out: HTML.

Plots are SVG without scripts; each line has a title that a pointer shows, and colours repeat in the legend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, MARGIN = 460, 300, 44
COLOURS = ("#1b6ca8", "#c8553d", "#2e933c", "#8e44ad", "#b8860b", "#148f8f")
LINES_MAX = len(COLOURS)  # the best ones and the baseline; the table has all
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1000px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
td,th{padding:3px 9px;text-align:right;border-bottom:1px solid #ddd}
td{white-space:pre}.line{white-space:nowrap}
td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}.plots{display:flex;flex-wrap:wrap;gap:1em}
figure{margin:0}figcaption{font-size:13px;color:#555}
.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
.stopped{font-size:17px;border-left:4px solid #c8553d;padding:.3em 1em;background:#fbeeea}
.verdict{font-size:17px;border-left:4px solid #1b6ca8;padding:.3em 1em;background:#f3f7fa}
"""
Point = tuple[float, float]


def page(found: dict[str, Any], ranked: Sequence[dict[str, Any]]) -> str:
    """The whole page; `ranked` are the runners in the order to show them."""
    base = found["baseline"]
    shown = list(ranked[:LINES_MAX])
    if base not in {each["name"] for each in shown}:
        shown[-1] = next(each for each in ranked if each["name"] == base)
    examples, versions = found["examples"], found["versions"]
    drift = [alarm["position"] for each in ranked if each["name"] == base for alarm in each["drift"]["alarms"]]
    matured = examples["matured"]
    stopped = f'<p class="stopped">Stopped after {matured:,} rows: not all was read.</p>' if found["stopped"] else ""
    legend = "".join(
        f' <span class="line"><span class="key" style="background:{colour}"></span>{escape(each["name"])}</span>'
        for each, colour in zip(shown, COLOURS, strict=False)
    )
    left_out = (
        f" Figures with errors leave out the first {found['rows_left_out']:,} rows." if found["rows_left_out"] else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>compare: {escape(found["source"])}</title><style>{STYLE}</style></head><body>
<h1>{escape(found["source"])}</h1>
{stopped}<p class="verdict">{escape(found["conclusion"])}</p>
<p>{matured:,} impressions measured, {examples["positive"]:,} positive; seed {found["seed"]};
stream_balance {escape(versions["stream_balance"])}, river {escape(versions["river"])}.
Every row was scored before its label was learned. Below a figure: its interval of 95 % confidence (jackknife over
40 stretches of time, Student's t). "Against none" is the gain, paired, over the same model without any balancing, or
of a mixture over {escape(base)}, the best without; positive is better.{left_out}</p>
<h2>Figures</h2>{_figures(ranked)}
{_classes(ranked)}<h2>By popularity tier</h2>{_tiers(ranked)}
<h2>Plots</h2><p>The best, and {escape(base)}:{legend}</p>
<div class="plots">{_plots(shown, drift)}</div>
</body></html>
"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _figures(ranked: Sequence[dict[str, Any]]) -> str:
    head = (
        "", "average precision", "against none", "ROC AUC", "log-loss", "log-loss against none",
        "probability / rate", "ECE", "G-mean as decided", "samples / impression", "CPU s",
    )  # fmt: skip
    rows = []
    for each in ranked:
        figures, gain = each["figures"], each["against_none"]
        rows.append(
            (
                each["name"],
                with_interval(figures["average_precision"]),
                with_interval(gain["average_precision"], "+") if gain else "",
                with_interval(figures["roc_auc"]),
                with_interval(figures["log_loss"]),
                with_interval(gain["log_loss"], "+") if gain else "",
                with_interval(figures["mean_probability_over_rate"], digits=3),
                with_interval(figures["ece"]),
                with_interval(figures["gmean"]),
                number(each["training"]["per_impression"], 2),
                f"{each['cpu_s']:.1f}",
            )
        )
    return _table(head, rows)


def _classes(ranked: Sequence[dict[str, Any]]) -> str:
    """Each class against the rest, where there are more than two: nothing of two."""
    known = next((life["per_class"] for each in ranked if (life := each["metrics"]["lifetime"])["per_class"]), None)
    if known is None:
        return ""
    names = ("average_precision", "recall", "precision")
    head = ["", *(f"{label}: {name.replace('_', ' ')}" for label in known for name in names)]
    rows = []
    for each in ranked:
        found = each["metrics"]["lifetime"]["per_class"] or {}
        rows.append([each["name"], *(number(found.get(label, {}).get(name)) for label in known for name in names)])
    return f"<h2>By class, against the rest</h2>{_table(head, rows)}"


def _tiers(ranked: Sequence[dict[str, Any]]) -> str:
    names = ("average_precision", "roc_auc", "log_loss", "mean_probability_over_rate")
    tiers = ("head", "tail")
    head = ["", *(f"{tier}: {name.replace('_', ' ')}" for tier in tiers for name in names)]
    rows = (
        [each["name"], *(number(each["metrics"]["tiers"][tier][name]) for tier in tiers for name in names)]
        for each in ranked
    )
    return _table(head, rows)


def _plots(shown: Sequence[dict[str, Any]], drift: Sequence[int]) -> str:
    curves = [
        ("Average precision over time", "average_precision"),
        ("Log-loss over time", "log_loss"),
    ]
    parts = [
        _plot(
            title,
            "row; dashed: drift alarms of the baseline",
            [(each["name"], [(p["row"], p[name]) for p in each["curve"] if p[name] is not None]) for each in shown],
            marks=drift,
        )
        for title, name in curves
    ]
    parts.append(
        _plot(
            "Precision over recall", "recall", [(each["name"], each["precision_recall"]) for each in shown], unit=True
        )
    )
    reliable = [(each["name"], [(p["probability"], p["rate"]) for p in each["reliability"]]) for each in shown]
    parts.append(
        _plot("Rate seen over probability said", "mean probability of a tenth of the rows", reliable, diagonal=True)
    )
    return "".join(parts)


def _plot(
    title: str, below: str, lines: Sequence[tuple[str, Sequence[Point]]], *,
    marks: Sequence[int] = (), unit: bool = False, diagonal: bool = False,
) -> str:  # fmt: skip
    points = [point for _, line in lines for point in line]
    if not points:
        return ""
    right = 1.0 if unit else max(x for x, _ in points)
    top = max(y for _, y in points) or 1.0
    if diagonal:
        right = top = max(right, top)
    left = 0.0

    def at(x: float, y: float) -> str:
        across = MARGIN + (x - left) / ((right - left) or 1.0) * (WIDTH - MARGIN - 10)
        return f"{across:.1f},{HEIGHT - MARGIN + 10 - y / top * (HEIGHT - MARGIN - 10):.1f}"

    drawn = [f'<polyline points="{at(left, 0)} {at(right, 0)}" stroke="#999" fill="none"/>']
    drawn.append(f'<polyline points="{at(left, 0)} {at(left, top)}" stroke="#999" fill="none"/>')
    for mark in marks:
        if left <= mark <= right:
            drawn.append(f'<polyline points="{at(mark, 0)} {at(mark, top)}" stroke="#888" stroke-dasharray="3 3"/>')
    if diagonal:
        drawn.append(f'<polyline points="{at(0, 0)} {at(right, right)}" stroke="#bbb"/>')
    for (name, line), colour in zip(lines, COLOURS, strict=False):
        path = " ".join(at(x, y) for x, y in line)
        drawn.append(
            f'<polyline points="{path}" stroke="{colour}" fill="none" stroke-width="1.5">'
            f"<title>{escape(name)}</title></polyline>"
        )
    for x, y, text, anchor in (
        (MARGIN - 4, 14, f"{top:.3g}", "end"), (MARGIN - 4, HEIGHT - MARGIN + 12, "0", "end"),
        (WIDTH - 10, HEIGHT - MARGIN + 26, f"{right:,.0f}" if right > 10 else f"{right:.2g}", "end"),
    ):  # fmt: skip
        drawn.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="#555">{text}</text>')
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title)}" width="{WIDTH}" '
        f'height="{HEIGHT}">{"".join(drawn)}</svg><figcaption>{escape(below)}</figcaption></figure>'
    )


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def with_error(figure: dict[str, Any]) -> str:
    """A gain with its standard error."""
    value, error = figure["value"], figure["error"]
    if value is None:
        return "–"
    return f"{value:+.4f}" + ("" if error is None else f" ±{error:.4f}")


def with_interval(figure: dict[str, Any], sign: str = "", digits: int = 4) -> str:
    """A figure, and in a second line the interval that it lies in."""
    value, interval = figure["value"], figure["interval"]
    if value is None:
        return "–"
    ends = "" if interval is None else "\n" + " to ".join(f"{end:{sign}.{digits}f}" for end in interval)
    return f"{value:{sign}.{digits}f}{ends}"

"""SVG: four small charts as text: lines, paired bars, a heat map, points. In: arrays. Out: SVG elements. No script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from stream_balance.core.records import Floats

COLOURS = ("#0a62c2", "#b4470b", "#1a7a4c")
WIDTH, HEIGHT, MARGIN = 260, 130, 18


def lines(title: str, x: Floats, series: Mapping[str, Floats]) -> str:
    """Each series (n,) over x (n,), named, on one scale; values that are not finite are left out."""
    known = np.concatenate([each[np.isfinite(each)] for each in series.values()]) if len(x) else np.zeros(0)
    if not len(known):
        return _frame(title, "")
    low, high = float(known.min()), float(known.max())
    at_x, drawn = _scale(x, MARGIN, WIDTH - 4), []
    for (name, values), colour in zip(series.items(), COLOURS, strict=False):
        keep = np.isfinite(values)
        at_y = _scale(values[keep], HEIGHT - MARGIN, 22, low, high)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(at_x[keep], at_y, strict=True))
        drawn.append(
            f'<polyline fill="none" stroke="{colour}" points="{points}"><title>{escape(name)}</title></polyline>'
        )
    return _frame(title, "".join(drawn) + _ends(low, high), list(series))


def bars(title: str, labels: Sequence[str], pairs: Floats) -> str:
    """Two shares side by side at each place, (n, 2); the first and the last label are written."""
    n = len(pairs)
    step, top = (WIDTH - MARGIN - 4) / max(n, 1), float(pairs.max(initial=0.0)) or 1.0
    drawn = []
    for i, pair in enumerate(pairs):
        for j, share in enumerate(pair):
            height = (HEIGHT - 22 - MARGIN) * float(share) / top
            drawn.append(
                f'<rect x="{MARGIN + i * step + j * step / 2:.1f}" y="{HEIGHT - MARGIN - height:.1f}" '
                f'width="{step / 2:.1f}" height="{height:.1f}" fill="{COLOURS[j]}">'
                f"<title>{escape(labels[i])}: {share:.3f}</title></rect>"
            )
    ends = f"{_text(MARGIN, HEIGHT - 5, labels[0])}{_text(WIDTH - 4, HEIGHT - 5, labels[-1], 'end')}" if n else ""
    return _frame(title, "".join(drawn) + ends)


def heat(title: str, names: Sequence[str], values: Floats) -> str:
    """A square of values 0..1, (n, n), darker for larger; each cell says its pair and value."""
    cell = (WIDTH - 8) / max(len(values), 1)
    cells = [
        f'<rect x="{4 + j * cell:.2f}" y="{22 + i * cell:.2f}" width="{cell:.2f}" height="{cell:.2f}" '
        f'fill="{COLOURS[1]}" fill-opacity="{min(max(float(values[i, j]), 0.0), 1.0):.3f}">'
        f"<title>{escape(names[i])}, {escape(names[j])}: {values[i, j]:.2f}</title></rect>"
        for i in range(len(values))
        for j in range(len(values))
    ]
    return _frame(title, "".join(cells), height=WIDTH + 18)


def points(title: str, groups: Mapping[str, Floats]) -> str:
    """Points (n, 2) of named groups on one plane, drawn in their order."""
    every = np.concatenate([np.zeros((0, 2)), *groups.values()])
    if not len(every):
        return _frame(title, "")
    (left, low), (right, high) = np.percentile(every, 1, axis=0), np.percentile(every, 99, axis=0)
    drawn = []
    for (name, group), colour in zip(groups.items(), COLOURS, strict=False):
        xs = _scale(np.clip(group[:, 0], left, right), 6, 2 * WIDTH - 6, left, right)
        ys = _scale(np.clip(group[:, 1], low, high), 2 * HEIGHT - 6, 24, low, high)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in zip(xs, ys, strict=True))
        drawn.append(f'<g fill="{colour}" fill-opacity=".45"><title>{escape(name)}</title>{dots}</g>')
    return _frame(title, "".join(drawn), list(groups), width=2 * WIDTH, height=2 * HEIGHT)


def _scale(values: Floats, first: float, last: float, low: float | None = None, high: float | None = None) -> Floats:
    """Values put between two places."""
    low, high = (float(values.min()) if low is None else low), (float(values.max()) if high is None else high)
    found: Floats = first + (values - low) / ((high - low) or 1.0) * (last - first)
    return found


def _ends(low: float, high: float) -> str:
    return _text(0, HEIGHT - MARGIN, f"{low:.2g}") + _text(0, 30, f"{high:.2g}")


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words[:24])}</text>'


def _frame(title: str, inner: str, legend: Sequence[str] = (), width: int = WIDTH, height: int = HEIGHT) -> str:
    words = "".join(
        f'<tspan fill="{colour}"> {escape(name)}</tspan>' for name, colour in zip(legend, COLOURS, strict=False)
    )
    head = f'<text x="4" y="13" font-weight="600">{escape(title[:40])}{words}</text>'
    return f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{head}{inner}</svg>'

"""GAN page: what the GAN has made, against what is real, as one HTML page without script. In: a pipeline. Out: text.

By class: outcomes with their numbers, the curve of the last training, and, where a release serves, its rows beside the
real rows of the window: marginals, difference of correlations, and both on the plane of the real rows' main directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np

from stream_balance.core.gan_report import GanGain, GanOutcome
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns, Floats
from stream_balance.core.synthesis import LIVE
from stream_balance.edge.svg import bars, heat, lines, points

ROWS_MAX = 2_000  # newest real rows, and made ones
SHOWN_POINTS, SHOWN_COLUMNS, BINS, LEVELS = 600, 48, 16, 10
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.2rem;color:#17212b;background:#fff}"
    "svg{border:1px solid #d5dce3;margin:.2rem;font-size:10px;vertical-align:top}table{border-collapse:collapse}"
    "td,th{padding:.1rem .6rem .1rem 0;text-align:left;border-bottom:1px solid #e6eaef}"
)


def page(pipeline: Pipeline, source: str) -> str:
    """The whole page. Without a GAN it says so."""
    parts = [f"<h1>Generated rows: {escape(source)}</h1>"]
    retrain = pipeline.retrain
    if retrain is None:
        parts.append("<p>No strategy here learns generated rows (balance.strategy = 'gan').</p>")
    else:
        told = retrain.metrics(max(pipeline.reorder.watermark_us, 0))
        refused = ", ".join(f"{reason} {count}" for reason, count in told.refusals.items()) or "none"
        parts.append(
            f"<p>{told.requests} requests, {told.releases} releases, refusals: {escape(refused)}; "
            f"{told.expired} releases expired.</p>"
        )
        for name, epsilon in told.epsilon.items():
            parts.append(f"<p>{escape(name)}: the steps of its private trainings have spent epsilon {epsilon:.2f}.</p>")
        parts += _history(told.history)
        for label, name in enumerate(pipeline.class_names):
            parts += _class(pipeline, label, name)
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Generated rows</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">{head}\n{body}\n</html>\n'


def _history(outcomes: tuple[GanOutcome, ...]) -> Iterator[str]:
    heads = ("event", "class", "asked for", "outcome", "reason", "begun", "maker", "verdict", "share", "C2ST",
             "coverage", "DCR share", "columns", "worst pair", "dependence lost", *(
                 f"{who}, by share: gain over none, copies (errors)" for who in ("live model", "booster")
             ))  # fmt: skip
    yield "<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
    for outcome in reversed(outcomes):
        first = [f"{outcome.position:,}", outcome.label, outcome.asked_for, outcome.outcome, outcome.reason,
                 "warm" if outcome.warm else "cold"]  # fmt: skip
        for vetting in outcome.vettings or (None,):
            cells = [*first]
            if vetting is not None:
                cells += [vetting.maker, f"{vetting.verdict}, {vetting.reason}"]
                figures = (
                    vetting.share,
                    vetting.c2st,
                    vetting.coverage,
                    vetting.dcr_share,
                    vetting.marginal,
                    vetting.pairwise_max,
                    vetting.pairs_lost,
                )
                cells += ["" if figure is None else f"{figure:.2f}" for figure in figures]
                is_live = [gain.model == LIVE for gain in vetting.gains]
                cells += [
                    "; ".join(_gain(gain) for gain, live in zip(vetting.gains, is_live, strict=True) if live == wanted)
                    for wanted in (True, False)
                ]
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
            first = [""] * len(first)
    yield "</table>"


def _gain(gain: GanGain) -> str:
    """Its share, and what made rows brought over no rows and over copies, with errors."""
    over = [
        "- (-)" if by is None or error is None else f"{by:+.3f} ({error:.3f})"
        for by, error in ((gain.over_none, gain.over_none_error), (gain.over_copies, gain.over_copies_error))
    ]
    return f"{gain.share:g}: {', '.join(over)}"


def _class(pipeline: Pipeline, label: int, name: str) -> Iterator[str]:
    retrain = pipeline.retrain
    assert retrain is not None, "asked by the page only where there is one"
    last, release = retrain.last(label), retrain.pool.release(label)
    if last is None and release is None:
        return
    yield f"<h2>{escape(name)}</h2>"
    if last is not None and len(last.curve):
        losses = {"discriminator": last.curve[:, 1], "generator": last.curve[:, 2]}
        yield lines("last training, losses:", last.curve[:, 0], losses)
    if release is None:
        yield "<p>No release serves this class: there are no rows to show.</p>"
        return
    columns, made = pipeline.featurizer.columns, release.rows[:ROWS_MAX]
    real = pipeline.panel.recent.window.rows(label, None, ROWS_MAX)[:, : made.shape[1]]
    varying = [c for c in range(real.shape[1]) if len(np.unique(real[:, c][~np.isnan(real[:, c])])) > 1]
    yield f"<p>{len(real)} real rows (blue), {len(made)} made by {release.vetting.maker} (orange).</p>"
    places = varying[:SHOWN_COLUMNS]
    if len(varying) > len(places):
        yield f"<p>The first {len(places)} of {len(varying)} columns that vary.</p>"
    yield from (marginal(columns, c, real[:, c], made[:, c]) for c in places)
    numeric = [c for c in places if not columns.nominal[c]]
    if len(numeric) > 1 and len(real) > 2:
        ours, theirs = ranked(real[:, numeric]), ranked(made[:, numeric])
        names = [columns.names[c] for c in numeric]
        yield heat("difference of rank correlations", names, abs(correlations(ours) - correlations(theirs)))
        yield points("main directions of the real rows:", projected(real[:, numeric], made[:, numeric]))


def marginal(columns: Columns, c: int, real: Floats, made: Floats) -> str:
    """One column of both: shares by bin of the real rows' range, or by level; absences have a place of their own."""
    name = columns.names[c]
    if columns.nominal[c]:
        codes, counts = np.unique(real[~np.isnan(real)], return_counts=True)
        places = codes[np.argsort(-counts, kind="stable")[:LEVELS]]
        shares = np.array([[np.mean(rows == place) for rows in (real, made)] for place in places]).reshape(-1, 2)
        names = [columns.level_names[c][int(place)] for place in places]
        rest = [
            [1.0 - share - np.isnan(rows).mean() for share, rows in zip(shares.sum(axis=0), (real, made), strict=True)]
        ]
        shares, names = np.vstack([shares, np.maximum(rest, 0.0)]), [*names, "(others)"]
    else:
        low, high = np.nanpercentile(real, [1, 99])
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        counted = [np.histogram(np.clip(rows[~np.isnan(rows)], edges[0], edges[-1]), edges)[0] for rows in (real, made)]
        shares = np.stack([c / max(len(rows), 1) for c, rows in zip(counted, (real, made), strict=True)], axis=1)
        names = [f"{edge:.3g}" for edge in edges[:-1]]
    absent = np.array([[np.isnan(real).mean(), np.isnan(made).mean()]])
    if absent.any():
        shares, names = np.vstack([shares, absent]), [*names, "(absent)"]
    return bars(name, names, shares)


def ranked(rows: Floats) -> Floats:
    """Mean ranks of each column, 0..1; an absent value stands below all others."""
    filled = np.where(np.isnan(rows), -np.inf, rows)
    found = np.empty_like(filled)
    for j in range(rows.shape[1]):
        _, inverse, counts = np.unique(filled[:, j], return_inverse=True, return_counts=True)
        found[:, j] = (np.cumsum(counts) - (counts + 1) / 2)[inverse] / len(rows)
    return found


def correlations(ranks: Floats) -> Floats:
    """Of each pair of columns, (d, d); 0 for one that does not vary."""
    centred = ranks - ranks.mean(axis=0)
    spread = np.sqrt((centred * centred).sum(axis=0))
    scaled = centred / np.where(spread > 0, spread, 1.0)
    found: Floats = scaled.T @ scaled
    return found


def projected(real: Floats, made: Floats) -> dict[str, Floats]:
    """Both on the first two principal components of the real rows' standardised columns, (n, 2) each."""
    centre = np.nanmedian(real, axis=0)
    real, made = (np.where(np.isnan(rows), centre, rows) for rows in (real, made))
    spread = real.std(axis=0)
    real, made = ((rows - real.mean(axis=0)) / np.where(spread > 0, spread, 1.0) for rows in (real, made))
    _, vectors = np.linalg.eigh(real.T @ real)
    plane = vectors[:, -2:][:, ::-1]
    return {"real": real[-SHOWN_POINTS:] @ plane, "made": made[:SHOWN_POINTS] @ plane}

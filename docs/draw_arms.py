"""Draws docs/methods/arm_*.svg and by_tier.svg: what each arm says of every place in the plane, and what balancing by
tier learns of the tail.

    python docs/draw_arms.py

The arms learn ten streams of the points of `draw_methods.py`, in which a sixth are rare. Arms of the tail learn points
of which one in five is of the tail, where the rare lie on the other side; the picture beside each is that of the same
arm without that.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from draw_methods import FOLDER, SIZE, STYLE, circle, stream

from stream_balance.core.arms import make_model
from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import TAIL, Arrivals, Columns, Floats, Samples
from stream_balance.core.window import Window, WindowSettings
from stream_balance.settings import load

SINGLE = ("linear", "replay_mlp", "window_booster", "logistic")  # the arms of `auto`
OF_TAIL = {"tail_linear": "linear", "tail_replay_mlp": "replay_mlp"}
LEVELS = (0.05, 0.15, 0.3, 0.5, 0.7)  # a place is the darker, the more of these its probability is above
ACROSS, DOWN = 30, 24
CELLS = "rect{fill:#0a62c2;fill-opacity:.14;shape-rendering:crispEdges}"
FIELDS = STYLE + CELLS + "@media(prefers-color-scheme:dark){rect{fill:#62b0ff}}"
STREAMS = 10


def columns() -> Columns:
    """Two numbers."""
    found = Columns()
    found.add("x")
    found.add("y")
    return found


def grid() -> Floats:
    """The middle of each cell of the picture, row by row, (ACROSS * DOWN, 2)."""
    x = (np.arange(ACROSS) + 0.5) / ACROSS * 7.0 - 3.2
    y = 5.6 - (np.arange(DOWN) + 0.5) / DOWN * 5.6 - 2.4
    return np.stack([np.tile(x, DOWN), np.repeat(y, ACROSS)], axis=1)


def told(name: str, points: Floats, labels: Sequence[int], tiers: bytes) -> Floats:
    """What a model says of the grid once it has learned the points, twenty at a time."""
    model, table = make_model(name), columns()
    for at in range(0, len(points), 20):
        rows, mine = points[at : at + 20], list(labels[at : at + 20])
        n = len(mine)
        model.learn(Samples(rows, mine, bytes(n), [1] * n, [(0.0,)] * n, tiers=tiers[at : at + 20]), table)
    found: Floats = model.predict(grid(), table).probability[:, 0]
    return found


def told_by_all(points: Floats, labels: Sequence[int]) -> Floats:
    """The same of the mixture, as the service makes it."""
    chosen = load(None, {"balance": {"strategy": "auto"}, "features": {"builtin": False, "state": False}}, {})
    pipeline = Pipeline(chosen.core(), 0, ("no", "yes"), delay_rows=0)
    for i, (point, label) in enumerate(zip(points.tolist(), labels, strict=True)):
        pipeline.push_row(row_as_search(i, i, dict(zip("xy", point, strict=True))), label)
    last = len(labels)
    rows = (
        row_as_search(last + i, last, dict(zip("xy", point, strict=True))) for i, point in enumerate(grid().tolist())
    )
    return np.array([pipeline.look(row)[0][0, 0] for row in rows])


def field(probability: Floats) -> list[str]:
    """Cells as SVG, neighbours in a row that are above the same level drawn as one."""
    wide, high = SIZE / ACROSS, SIZE * 0.8 / DOWN
    marks = []
    for level in LEVELS:
        for row, above in enumerate((probability > level).reshape(DOWN, ACROSS).tolist()):
            begin = None
            for i, each in enumerate([*above, False]):
                if each and begin is None:
                    begin = i
                elif not each and begin is not None:
                    width = (i - begin) * wide
                    marks.append(f'<rect x="{begin * wide:g}" y="{row * high:g}" width="{width:g}" height="{high:g}"/>')
                    begin = None
    return marks


def learned_points() -> tuple[Floats, list[int]]:
    """Ten streams, one after the other."""
    streams = [stream(seed) for seed in range(20, 20 + STREAMS)]
    return np.concatenate([each[0] for each in streams]), [label for each in streams for label in each[1]]


def tiered() -> tuple[Floats, list[int], bytes]:
    """The same, but one point in five is of the tail, where left is right."""
    points, labels = learned_points()
    tiers = (np.random.default_rng(1).random(len(points)) < 0.2).astype(np.uint8)
    points = points * np.where(tiers[:, None] == TAIL, (-1.0, 1.0), (1.0, 1.0))
    return points, labels, tiers.tobytes()


def dots(points: Floats, labels: Sequence[int]) -> list[str]:
    """Rare ones and others."""
    return [circle("r" if label else "m", point, 1.8) for point, label in zip(points, labels, strict=True)]


def picture(title: str, panels: Sequence[tuple[str, list[str]]]) -> str:
    """Panels side by side, each with its words below."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE * len(panels)} {SIZE * 0.87:.0f}" role="img">'
    parts = [
        f'<g transform="translate({SIZE * i})">{"".join(marks)}<text x="4" y="{SIZE * 0.85:.0f}">{words}</text></g>'
        for i, (words, marks) in enumerate(panels)
    ]
    return f"{head}<title>{title}</title><style>{FIELDS}</style>{''.join(parts)}</svg>\n"


def of_arm(name: str) -> str:
    """The field of an arm, and one of the streams that it learned."""
    points, labels = learned_points()
    said = told_by_all(points, labels) if name == "auto" else told(name, points, labels, b"")
    shown, their, _ = stream(20)
    return picture(f"{name}, after {len(labels)} points", [(name, [*field(said), *dots(shown, their)])])


def of_tail(name: str) -> str:
    """The field of the usual arm and of the tail's, with points of the tail."""
    points, labels, tiers = tiered()
    mine = [i for i, tier in enumerate(tiers) if tier == TAIL][:200]
    shown = dots(points[mine], [labels[i] for i in mine])
    panels = [(each, [*field(told(each, points, labels, tiers)), *shown]) for each in (OF_TAIL[name], name)]
    return picture(f"{OF_TAIL[name]} and {name}, of points of the tail", panels)


def by_tier() -> str:
    """What `smote_under` learns of the tail's points, where the rare are rarer still."""
    panels = []
    for apart in (False, True):
        marks, rare, all_ = learned_of_tail(apart)
        panels.append((f"{'by tier' if apart else 'together'}: {rare:.0f} of {all_:.0f} learned are rare", marks))
    return picture("smote_under in the tail, together and by tier: " + "; ".join(words for words, _ in panels), panels)


def learned_of_tail(apart: bool) -> tuple[list[str], float, float]:
    """Marks of what is learned of the tail, how many rare ones, how many at all."""
    points, labels, _ = (np.concatenate(parts) for parts in zip(*(stream(seed) for seed in range(20, 60)), strict=True))
    rng, chance = np.random.default_rng(3), Random(1)
    tiers = (rng.random(len(labels)) < 0.3).astype(np.uint8)
    kept = (labels == 0) | (tiers != TAIL) | (rng.random(len(labels)) < 0.25)  # rarer still in the tail
    points, labels, tiers = points[kept], labels[kept], tiers[kept]
    all_rates, own = Rates(RateSettings(), classes=2), [Rates(RateSettings(), classes=2) for _ in range(2)]
    settings = BalanceSettings(strategy="smote_under", target_share=0.5, by_tier=apart)
    strategy = make_strategy(settings, all_rates, own if apart else ())
    window, table = Window(WindowSettings()), columns()
    marks, rare, learned = [], 0.0, 0.0
    for i, (point, label, tier) in enumerate(zip(points, labels.tolist(), tiers.tolist(), strict=True)):
        arrived = Arrivals(point[None, :], (label,), bytes([tier]), np.full((1, 1), 0.2))
        samples = strategy.draw(arrived, window, table, chance)
        window.add(point, label, tier, i)
        for rates in (all_rates, own[tier]):
            rates.observe_many([label])
        if tier != TAIL or i < 0.85 * len(labels) or samples is None:
            continue
        for j, times in enumerate(samples.times):
            rare += times * samples.labels[j]
            learned += times
            kind = "r" if samples.labels[j] else "m"
            marks.append(circle("i" if samples.origins[j] > 1 else kind, samples.rows[j], 2.2))
    return marks, rare, learned


def drawn() -> dict[str, str]:
    """Every picture by the name of its file."""
    found = {f"arm_{name}.svg": of_arm(name) for name in (*SINGLE, "auto")}
    found |= {f"arm_{name}.svg": of_tail(name) for name in OF_TAIL}
    return found | {"by_tier.svg": by_tier()}


if __name__ == "__main__":
    for file, text in drawn().items():
        (FOLDER / file).write_text(text, encoding="utf-8")

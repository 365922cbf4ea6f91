"""Draws docs/methods/*.svg: what each balancing strategy makes of one stream of points in the plane.

    python docs/draw_methods.py

The points go one by one through the strategies of the service itself: what is learned of each is drawn, then it enters
the window. Two kinds of rare points: a cloud of its own, and a few that lie in the middle of the others.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from stream_balance.core.balance import STRATEGIES, BalanceSettings, make_strategy
from stream_balance.core.balance.generated import Generated
from stream_balance.core.pool import Pool
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import ORIGINS, Arrivals, Columns, Floats
from stream_balance.core.synthesis import Quality, RecipeSettings, Release, Vetting
from stream_balance.core.window import Window, WindowSettings
from stream_balance.gan.makers import Start, make_by_copula, make_by_gan

FOLDER = Path(__file__).parent / "methods"
POINTS, SEEN_FIRST, SIZE = 260, 60, 300
STYLE = (
    "text{font:12px sans-serif;fill:#52606d}.m{fill:#8a97a5}.d{fill:none;stroke:#8a97a5;opacity:.45}.r{fill:#0a62c2}"
    ".c{fill:none;stroke:#b4470b}.i{fill:#1a7a4c}.g{fill:#7a3fb0}"
    "@media(prefers-color-scheme:dark){text{fill:#a3b0bd}.r{fill:#62b0ff}.c{stroke:#ffa065}.i{fill:#5fd39a}.g{fill:#c9a2f0}}"
)

# As if the vetting had found that a fifth of all samples may be made.
VETTED = Vetting("gan", "helps", "", 0.2, Quality(0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0), ())


def stream(seed: int = 4) -> tuple[Floats, list[int], Floats]:
    """Points (n, 2), their labels, and the probability that a good model would have given each."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(POINTS) < 0.16).astype(int)
    others = rng.normal((0.0, 0.0), (1.0, 0.8), (POINTS, 2))
    apart = rng.normal((2.3, 1.3), (0.45, 0.35), (POINTS, 2))
    amid = rng.normal((0.5, 0.3), (0.5, 0.4), (POINTS, 2))
    rare = np.where(rng.random((POINTS, 1)) < 0.7, apart, amid)
    points = np.where(labels[:, None] == 1, rare, others)
    logit = 2.2 * (points[:, 0] - 1.0) + 1.2 * (points[:, 1] - 0.7)
    return points, labels.tolist(), 1 / (1 + np.exp(-logit))


def pool_of(trained: bool) -> Pool:
    """Made rows of the rare class, from some 330 earlier ones; by the copula alone unless `trained`."""
    earlier = [stream(seed) for seed in range(10, 18)]
    rare = np.concatenate([points[np.array(labels) == 1] for points, labels, _ in earlier])
    recipe = RecipeSettings()
    start = Start.of(rare, (), b"", recipe)
    made = make_by_gan(start, rare, 400, 0, recipe) if trained else make_by_copula(start, rare, 400, 0)
    pool = Pool(release_age_s=1e9)
    pool.adopt(Release(1, made.rows, VETTED), 0)
    return pool


def marks_of(name: str, trained: bool = False) -> tuple[list[str], dict[str, float]]:
    """The SVG marks of a strategy, and how much of the rare and of the other points was learned."""
    points, labels, probability = stream()
    columns = Columns()
    columns.add("x")
    columns.add("y")
    rates = Rates(RateSettings(), classes=2)
    rates.observe_many([int(i % 6 == 0) for i in range(640)])
    strategy = make_strategy(BalanceSettings(strategy=name, target_share=0.5), rates, weighs=True)
    if isinstance(strategy, Generated):
        strategy.pool = pool_of(trained)
    window, rng = Window(WindowSettings()), Random(1)
    marks: list[str] = []
    learned = {"rare": 0.0, "others": 0.0}
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        row = point[None, :]
        said = np.array([[probability[i]]])
        samples = strategy.draw(Arrivals(row, (label,), b"\0", said), window, columns, rng)
        window.add(point, label, 0, i)
        rates.observe_many([label])
        if i < SEEN_FIRST:
            continue
        if samples is None or not len(samples):
            marks.append(circle("d", point, 2.2))
            continue
        for j in range(len(samples)):
            kind, times = ORIGINS[samples.origins[j]], samples.times[j]
            weight = 1.0 if samples.weights is None else samples.weights[j]
            learned["rare" if samples.labels[j] else "others"] += times * weight
            if kind in ("interpolated", "generated"):
                marks.append(_triangle(kind[0], samples.rows[j]))
            elif kind == "copied":
                marks.append(circle("c", samples.rows[j], 3.0 + 0.9 * times))
            else:
                size = 2.2 * weight**0.5 if samples.labels[j] == 0 else 2.8 * weight**0.5
                marks.append(circle("r" if samples.labels[j] else "m", samples.rows[j], size))
    return marks, learned


def place(point: Floats) -> tuple[float, float]:
    return (point[0] + 3.2) / 7.0 * SIZE, SIZE * 0.8 - (point[1] + 2.4) / 5.6 * SIZE * 0.8


def circle(kind: str, point: Floats, radius: float) -> str:
    x, y = place(point)
    return f'<circle class="{kind}" cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}"/>'


def _triangle(kind: str, point: Floats) -> str:
    x, y = place(point)
    return f'<path class="{kind}" d="M{x:.0f} {y - 3:.0f}l3 5h-6z"/>'


def svg(name: str, trained: bool = False) -> str:
    """The picture of a strategy."""
    marks, learned = marks_of(name, trained)
    words = f"learned: {learned['rare']:.0f} rare, {learned['others']:.0f} others"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE * 0.87:.0f}" role="img">'
    title = f"<title>{name}; {words}</title><style>{STYLE}</style>"
    return f'{head}{title}{"".join(marks)}<text x="4" y="{SIZE * 0.85:.0f}">{name}; {words}</text></svg>\n'


def drawn(trained: bool = False) -> dict[str, str]:
    """Every picture by the name of its file. The GAN is trained for its own (a minute or two), or the copula serves."""
    return {f"{name}.svg": svg(name, trained) for name in STRATEGIES}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in drawn(trained=True).items():
        (FOLDER / file).write_text(text, encoding="utf-8")

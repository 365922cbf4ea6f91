"""Window booster: gradient-boosted trees, fitted anew on the latest rows. In: samples. Out: scores; requests to fit.

A fit is asked for after `every` rows, more often as long as the window is not full, and its trees serve from a fixed
number of rows later on, however long the fit took: a replay comes to the same scores, and so does a fit in process. Who
runs the fit is handed in (`Fits`); the request is complete, so that whoever restores the state can ask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stream_balance.core.arms.flat_trees import FlatTrees
from stream_balance.core.arms.learner import LOGIT_MAX, Learner
from stream_balance.core.arrays import pack, unpack
from stream_balance.core.records import Columns, Floats, Samples, fitted

WINDOW_ROWS = 8_000
EVERY = 2_000  # a quarter of the window is new by then
ENTER_AFTER = 500
FIRST = 125  # rows before the first fit; the next ones after twice as many each
OFTEN = 1_000  # so many rows, or as the fourth part of those there are is more, from one fit to the next, up to `every`
FRESH = 4
SOON = 8  # a fit on n rows enters after n / 8 more, at most `enter_after`: small ones take less time
ITERATIONS, LEAVES, RATE = 60, 15, 0.1
KIND = "booster"
WAITING_MAX = 64  # searches whose rows are taken in together


class Fits(Protocol):
    """Runs `booster_fit.fit`. A refused fit is None: the trees before it go on serving."""

    def submit(self, kind: str, request: bytes) -> Any:
        """Start a fit; returns a ticket."""
        ...

    def take(self, ticket: Any) -> bytes | None:
        """The result of a ticket, waited for."""
        ...


class InProcess:
    """Fits when the result is taken, here. For library use: no child, the same scores."""

    def submit(self, kind: str, request: bytes) -> bytes:
        """The ticket is the request."""
        return request

    def take(self, ticket: bytes) -> bytes | None:
        """Fit now."""
        from stream_balance.core.arms.booster_fit import fit  # noqa: PLC0415  # loads scikit-learn, only where it fits

        return fit(ticket)


@dataclass(frozen=True, slots=True)
class FitRequest:
    """An open request: what `booster_fit.fit` takes, and the number of learned rows from which its result serves."""

    content: bytes
    enters_at: int


class WindowBooster(Learner):
    """Boosted trees of classes 0..C-1 on the latest `window_rows` rows. Abstains until the first fit has entered."""

    sure_early = True

    def __init__(
        self, classes: int = 2, seed: int = 0, *, window_rows: int = WINDOW_ROWS, every: int = EVERY,
        enter_after: int = ENTER_AFTER, fits: Fits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(classes)
        if not 0 < enter_after < every:
            raise ValueError(
                f"enter_after is {enter_after}; a result enters before the next request, made every {every}"
            )
        self.trees: FlatTrees | None = None
        self.request: FitRequest | None = None
        self.fitted = self.refused = 0
        self._known: list[int] = []  # the classes that the trees tell apart
        self._seed, self._every, self._enter_after = seed, every, enter_after
        self._rows: Floats = np.zeros((window_rows, 0))
        self._labels = np.zeros(window_rows, dtype=np.int64)
        self._waiting: list[tuple[Floats, Sequence[int]]] = []  # the latest rows, not yet among those above
        self._known_from = 0  # the first row, in `learned`, of those that a schedule of fits began with
        self._current = np.zeros(window_rows, dtype=np.bool_)  # rows that have not been forgotten
        self._next = min(FIRST, every)
        self._fits: Fits = InProcess() if fits is None else fits
        self._ticket: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what the world holds: it is handed in again, or the fit runs here."""
        return self.__dict__ | {"_fits": None, "_ticket": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.attach(InProcess())

    def attach(self, fits: Fits) -> None:
        """From now on this one runs the fits; an open request is asked again."""
        self._fits = fits
        self._ticket = None if self.request is None else fits.submit(KIND, self.request.content)

    # -- serving

    def logits(self, values: Floats) -> Floats | None:
        """Log odds of classes 1..C-1 against class 0, (n, C-1); None before the first trees."""
        if self.trees is None:
            return None
        raw = self.trees.raw(values)
        if self.classes == 2:
            return raw
        scores = np.full((len(values), self.classes), -LOGIT_MAX)
        scores[:, self._known] = np.concatenate([np.zeros_like(raw), raw], axis=1) if len(self._known) == 2 else raw
        found: Floats = scores[:, 1:] - scores[:, :1]
        return found

    # -- learning

    def learn_rows(self, samples: Samples, columns: Columns) -> None:
        """Remember the rows; ask for a fit, and let a result enter, where it is due."""
        rows, labels, done = samples.rows, samples.labels, 0
        while done < len(labels):  # as far as the next act
            due = self._next if self.request is None else self.request.enters_at
            n = min(len(labels) - done, due - self.learned)
            self._waiting.append((rows[done : done + n], labels[done : done + n]))
            self.learned += n
            done += n
            if self.learned == due:
                self._act(columns)
        if len(self._waiting) >= WAITING_MAX:
            self._settle()

    def _settle(self) -> None:
        """Take in the rows that wait: rows of a table come singly, and many at once cost no more than one."""
        if not self._waiting:
            return
        width, size = max(rows.shape[1] for rows, _ in self._waiting), len(self._rows)
        if width > self._rows.shape[1]:
            self._rows = fitted(self._rows, width)
        rows = np.concatenate([fitted(rows, self._rows.shape[1]) for rows, _ in self._waiting])[-size:]
        places = np.arange(self.learned - len(rows), self.learned) % size
        self._rows[places] = rows
        self._labels[places] = [label for _, labels in self._waiting for label in labels][-size:]
        self._current[places] = True
        self._waiting = []

    def _act(self, columns: Columns) -> None:
        if self.request is not None:
            self._enter()
            return
        rows = self._next - self._known_from
        after = min(self._enter_after, rows // SOON)
        content = self._content(columns)
        if content is not None:
            self.request = FitRequest(content, self.learned + after)
            self._ticket = self._fits.submit(KIND, content)
        self._next += min(rows, max(OFTEN, rows // FRESH), self._every)

    def forget(self, latest: int, keep_min: int) -> None:
        """Older rows are not fitted on any more, and fits come as often as they did at first."""
        self._settle()
        order = np.arange(self.learned - min(self.learned, len(self._rows)), self.learned)
        places = order % len(self._rows)
        old = order < self.learned - latest
        for label in range(self.classes):
            mine = np.flatnonzero(self._current[places] & (self._labels[places] == label))
            old[mine[len(mine) - min(keep_min, len(mine)) :]] = False
        if not (old & self._current[places]).any():
            return
        self._current[places[old]] = False
        self._known_from = self.learned - latest
        soon = max(self.learned + max(latest // SOON, 1), self._known_from + min(FIRST, self._every))
        if self.request is not None:
            soon = max(soon, self.request.enters_at + 1)
        self._next = min(self._next, soon)

    def _content(self, columns: Columns) -> bytes | None:
        """The window, oldest first, and all that the fit depends on; None while there is one class or no column."""
        self._settle()
        filled = min(self.learned, len(self._rows))
        order = np.arange(self.learned - filled, self.learned) % len(self._rows)
        order = order[self._current[order]]
        labels = self._labels[order]
        width = self._rows.shape[1]
        if not len(order) or not width or (labels == labels[0]).all():
            return None
        return pack({
            "rows": self._rows[order], "labels": labels, "nominal": np.array(columns.nominal[:width], dtype=np.bool_),
            "seed": np.array(self._seed), "iterations": np.array(ITERATIONS), "leaves": np.array(LEAVES),
            "rate": np.array(RATE),
        })  # fmt: skip

    def _enter(self) -> None:
        result = self._fits.take(self._ticket)
        self.request = self._ticket = None
        if result is None:
            self.refused += 1
            return
        arrays = unpack(result)
        self._known = arrays.pop("classes").tolist()
        self.trees = FlatTrees(arrays)
        self.fitted += 1

    def digest_state(self) -> object:
        """The window, the trees, and the open request."""
        self._settle()
        request = None if self.request is None else [self.request.content, self.request.enters_at]
        trees = None if self.trees is None else dict(sorted(self.trees.arrays.items()))
        return [
            self.learned, self._next, self._known_from, self.fitted, self.refused, self._rows, self._labels,
            self._current, self._known, trees, request,
        ]  # fmt: skip

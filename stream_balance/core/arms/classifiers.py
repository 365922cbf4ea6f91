"""Classifiers: our arms as River classifiers, for any River pipeline. In: dicts and labels. Out: probabilities.

    >>> from river import datasets, metrics
    >>> model, metric = ReplayMLPClassifier(seed=1), metrics.ROCAUC()
    >>> for x, y in datasets.Phishing():
    ...     metric.update(y, model.predict_proba_one(x).get(True, 0.0))
    ...     model.learn_one(x, y)
    >>> bool(metric.get() > 0.93)
    True

Numbers are numeric columns, strings nominal ones, None and NaN absent values; columns, levels and classes may come at
any time. `learn_rows` and `predict_proba_rows` take many rows as one matrix.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
from typing import Any, Protocol

import numpy as np
from river import base

from stream_balance.core.arms import linear, replay_mlp, window_booster
from stream_balance.core.arms.dict_rows import DictRows, check_labels, check_rows
from stream_balance.core.arms.learner import Learner
from stream_balance.core.arms.model import Model
from stream_balance.core.arms.parameters import check_between, check_seed, check_whole
from stream_balance.core.records import Floats, Samples


class ModelOfClasses(Model, Protocol):
    """A model that knows how many classes it has room for."""

    classes: int


class ArmClassifier(base.Classifier):
    """What all have in common: the columns and the classes met so far.

    A model has room for 2, 4, 8, ... classes; one more than there is room for starts it afresh.
    """

    def __init__(self) -> None:
        self._rows = DictRows()
        self._classes: dict[base.typing.ClfTarget, int] = {}
        self._learner = self._make(2)
        self._asked: tuple[dict[Hashable, Any], Floats] | None = None

    def _meet(self, labels: Iterable[base.typing.ClfTarget]) -> None:
        """Each label has a place; where there are more than there is room for, the model starts afresh."""
        for label in labels:
            self._classes.setdefault(label, len(self._classes))
        if len(self._classes) > self._learner.classes:
            self._learner = self._make(1 << (len(self._classes) - 1).bit_length())

    @abstractmethod
    def _make(self, classes: int) -> ModelOfClasses:
        """A model that knows nothing."""

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: dict[Hashable, Any], y: base.typing.ClfTarget) -> None:
        """Learn one row."""
        self.learn_rows([x], [y])

    def predict_proba_one(self, x: dict[Hashable, Any], **kwargs: Any) -> dict[base.typing.ClfTarget, float]:
        """The probability of each class met so far; empty before the first."""
        return self.predict_proba_rows([x])[0]

    def learn_rows(self, rows: Sequence[Mapping[Hashable, Any]], labels: Sequence[base.typing.ClfTarget]) -> None:
        """Learn rows in their order, as one matrix."""
        if isinstance(rows, Mapping) or not isinstance(labels, Sized):
            raise TypeError(
                f"learn_rows takes rows and labels of types {type(rows).__name__} and {type(labels).__name__}, "
                "expected a list of dicts and a list of labels. One row goes to learn_one."
            )
        if len(rows) != len(labels):
            raise ValueError(f"{len(rows)} rows came with {len(labels)} labels")
        if not len(rows):
            return
        check_rows(rows)
        check_labels(labels)
        values = self._matrix(rows, new=True)  # who is refused leaves nothing behind
        self._meet(labels)
        n, outcomes = len(rows), self._learner.classes - 1
        ids = [self._classes[label] for label in labels]
        samples = Samples(values, ids, bytes(n), [1] * n, [(0.0,) * outcomes] * n)
        self._learner.learn(samples, self._rows.columns)

    def predict_proba_rows(self, rows: Sequence[Mapping[Hashable, Any]]) -> list[dict[base.typing.ClfTarget, float]]:
        """As `predict_proba_one` of each."""
        check_rows(rows)
        known = len(self._classes)
        if known < 2:
            return [dict.fromkeys(self._classes, 1.0) for _ in rows]
        outcomes = self._learner.predict(self._matrix(rows), self._rows.columns).probability
        if len(rows) == 1:  # floats are several times as fast as arrays of one row
            return [self._named(outcomes[0].tolist(), known)]
        whole = np.concatenate([1.0 - outcomes.sum(axis=1, keepdims=True), outcomes], axis=1)[:, :known]
        whole = np.maximum(whole, 0.0)
        total = whole.sum(axis=1, keepdims=True)
        # Where nothing can be said yet, all classes are alike.
        whole = np.where(total > 0, whole / np.where(total > 0, total, 1.0), 1.0 / known)
        return [dict(zip(self._classes, row, strict=True)) for row in whole.tolist()]

    def _matrix(self, rows: Sequence[Mapping[Hashable, Any]], *, new: bool = False) -> Floats:
        """The rows as a matrix. The row asked about last is mostly the one that is learned next: it is read once."""
        if new and self._rows.meet(rows):
            self._asked = None
        if len(rows) > 1:
            return self._rows.matrix(rows)
        if self._asked is None or self._asked[0] != rows[0]:
            self._asked = dict(rows[0]), self._rows.matrix(rows)
        return self._asked[1]

    def _named(self, outcomes: list[float], known: int) -> dict[base.typing.ClfTarget, float]:
        """The same for one row."""
        whole = [max(each, 0.0) for each in [1.0 - sum(outcomes), *outcomes][:known]]
        total = sum(whole)
        if not total > 0.0:
            return dict.fromkeys(self._classes, 1.0 / known)
        return {label: each / total for label, each in zip(self._classes, whole, strict=True)}


class LinearClassifier(ArmClassifier):
    """Cost-sensitive logistic regression on decayed standardisation; see `core/arms/linear`.

    Parameters
    ----------
    rate
        Learning rate of weights and intercepts.
    target_share
        Rare classes are weighted until each has this share against the commonest.
    weight_max
        But never more than this.
    """

    def __init__(
        self,
        rate: float = linear.RATE,
        target_share: float = linear.TARGET_SHARE,
        weight_max: float = linear.WEIGHT_MAX,
    ) -> None:
        check_between("rate", rate, 0.0)
        check_between("target_share", target_share, 0.0, 1.0)
        check_between("weight_max", weight_max, 1.0, with_low=True)
        self.rate = rate
        self.target_share = target_share
        self.weight_max = weight_max
        super().__init__()

    def _make(self, classes: int) -> Learner:
        return linear.Linear(classes, rate=self.rate, target_share=self.target_share, weight_max=self.weight_max)


class ReplayMLPClassifier(ArmClassifier):
    """Small networks that learn from the windows of recent rows; see `core/arms/replay_mlp`.

    Parameters
    ----------
    networks
        How many; their logits are averaged.
    rare_share
        The share of all rare classes in a batch, unless their own is larger.
    rare_rows
        The latest rows of a rare class that are drawn from.
    common_rows
        The latest rows of the commonest class that are drawn from.
    seed
        Of first weights and draws.
    """

    def __init__(
        self,
        networks: int = replay_mlp.NETWORKS,
        rare_share: float = replay_mlp.RARE_SHARE,
        rare_rows: int = replay_mlp.RARE_ROWS,
        common_rows: int = replay_mlp.COMMON_ROWS,
        seed: int = 0,
    ) -> None:
        check_whole("networks", networks, 1)
        check_between("rare_share", rare_share, 0.0, 1.0, with_low=True)
        check_whole("rare_rows", rare_rows, 1)
        check_whole("common_rows", common_rows, 1)
        check_seed(seed)
        self.networks = networks
        self.rare_share = rare_share
        self.rare_rows = rare_rows
        self.common_rows = common_rows
        self.seed = seed
        super().__init__()

    def _make(self, classes: int) -> Learner:
        return replay_mlp.ReplayMLP(
            classes, self.seed, networks=self.networks, rare_share=self.rare_share, rare_rows=self.rare_rows,
            common_rows=self.common_rows,
        )  # fmt: skip


class WindowBoosterClassifier(ArmClassifier):
    """Gradient boosting fitted anew on the latest rows; see `core/arms/window_booster`. Fits in this process.

    Parameters
    ----------
    window_rows
        The latest rows that are fitted on.
    every
        Rows from one fit to the next, 2 or more; the first ones come sooner.
    enter_after
        Rows after which a fit's trees begin to serve, fewer than `every`. None: 500, or as many as `every` allows.
    seed
        Of the fits.
    """

    def __init__(
        self,
        window_rows: int = window_booster.WINDOW_ROWS,
        every: int = window_booster.EVERY,
        enter_after: int | None = None,
        seed: int = 0,
    ) -> None:
        check_whole("window_rows", window_rows, 1)
        check_whole("every", every, 2)
        if enter_after is not None:
            check_whole("enter_after", enter_after, 1)
        check_seed(seed)
        self.window_rows = window_rows
        self.every = every
        self.enter_after = enter_after
        self.seed = seed
        super().__init__()

    def _make(self, classes: int) -> Learner:
        soon = min(window_booster.ENTER_AFTER, self.every - 1) if self.enter_after is None else self.enter_after
        return window_booster.WindowBooster(
            classes, self.seed, window_rows=self.window_rows, every=self.every, enter_after=soon
        )

"""Library: balancing around any River classifier, and the default arms as one, in a plain loop. In: dicts and labels.
Out: corrected probabilities.

The same strategies, rates, windows and calibration as in the service, for a stream whose labels come at once.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, TypeVar

import numpy as np
from river import base, compose, linear_model, preprocessing

from stream_balance.core.arms.classifiers import ArmClassifier
from stream_balance.core.arms.dict_rows import DictRows, check_labels, check_rows, present
from stream_balance.core.arms.parameters import check_between, check_seed, check_whole
from stream_balance.core.balance import STRATEGIES, BalanceSettings, make_strategy
from stream_balance.core.calibrate import Calibrator, CalibratorSettings, RatioCorrection
from stream_balance.core.ensemble import Ensemble
from stream_balance.core.odds import logits, unbend
from stream_balance.core.rates import Rates, RateSettings, RateWatch
from stream_balance.core.records import Arrivals, Floats, Samples
from stream_balance.core.window import Window, WindowSettings
from stream_balance.errors import did_you_mean

V = TypeVar("V", float, Floats)
ONE_TIER = b"\0"


def _silent(classifier: base.Classifier) -> TypeError:
    """Of a classifier that names a class and says no probability."""
    return TypeError(
        f"classifier is {type(classifier).__name__}, which says no probabilities: its predict_proba_one is not "
        "implemented. Give a classifier that does, as linear_model.LogisticRegression() or a tree."
    )


class BalancedClassifier(base.Wrapper[base.Classifier], base.Classifier):
    """A River classifier that learns from balanced samples and says probabilities of the stream as it is.

    Takes the place of River's `imblearn` wrappers. Class shares follow the current rate, not the average since the
    start; any strategy of docs/balancing.md (`gan` needs the service and makes copies here); two or more classes,
    features that are numbers or strings, any of which may come or go at any time. Each row is scored, then the balance
    is struck, then it is learned.

    Parameters
    ----------
    classifier
        What learns.
    strategy
        How examples are balanced.
    target_share
        The share of the rare class to aim at among what is learned; .5 = equal classes. Below it, a classifier that
        chooses by accuracy may find always-"no" the most accurate: the adaptive leaves of River's trees then answer
        the same of every row (seen at .2: AUC .47 where equal classes gave .62).
    window
        How many rows of each class are remembered.
    copies_max
        How often one example counts at most, synthetic rows included.
    seed
        Of all that is left to chance here; the classifier has its own. None: another one at each start.

    Examples
    --------
    >>> from river import datasets, linear_model, metrics, preprocessing
    >>> from stream_balance import BalancedClassifier
    >>> model = BalancedClassifier(preprocessing.StandardScaler() | linear_model.LogisticRegression(), seed=1)
    >>> metric = metrics.ROCAUC()
    >>> for x, y in datasets.Phishing():
    ...     metric.update(y, model.predict_proba_one(x).get(True, 0.0))
    ...     model.learn_one(x, y)
    >>> bool(metric.get() > 0.92)
    True
    """

    def __init__(
        self,
        classifier: base.Classifier,
        strategy: str = "smote_under",
        target_share: float = 0.5,
        window: int = 1_000,
        copies_max: int = 50,
        seed: int | None = None,
    ) -> None:
        verbs = "learn_one", "predict_proba_one"
        last = list(classifier.steps.values())[-1:] if isinstance(classifier, compose.Pipeline) else [classifier]
        if isinstance(classifier, type) or not all(hasattr(each, verb) for each in last or [None] for verb in verbs):
            raise TypeError(
                f"classifier is {str(classifier)[:60]!r}, expected an object with learn_one and predict_proba_one. "
                "Give a River classifier, as linear_model.LogisticRegression(), or a pipeline that ends in one."
            )
        if any(type(each).predict_proba_one is base.Classifier.predict_proba_one for each in last):
            raise _silent(classifier)
        if seed is not None:
            check_seed(seed)
        check_whole("window", window, 1)
        check_whole("copies_max", copies_max, 1)
        check_between("target_share", target_share, 0.0, 1.0)
        if strategy not in list(STRATEGIES):  # one by one, for it may be anything
            auto = " What `auto` serves is AutoClassifier." if strategy == "auto" else ""
            meant = auto or did_you_mean(str(strategy), STRATEGIES)
            raise ValueError(f"strategy is {strategy!r}, which is none.{meant} Choose one of {', '.join(STRATEGIES)}.")
        self.classifier = classifier
        self.strategy = strategy
        self.target_share = target_share
        self.window = window
        self.copies_max = copies_max
        self.seed = seed
        self._settings = BalanceSettings(strategy=strategy, target_share=target_share, copies_max=copies_max)
        self._window = Window(WindowSettings(size_max=window))
        self._rng = Random(None if seed is None else int(seed))
        self._rows = DictRows()
        self._classes: list[base.typing.ClfTarget] = []
        self._honours_weights = "w" in inspect.signature(classifier.learn_one).parameters  # not of a pipeline
        rates = RateSettings()
        self._labels: deque[int] = deque(maxlen=rates.block_rows * rates.blocks_max)
        self._seen = 0
        self._start(2)

    def _start(self, classes: int) -> None:
        """All that depends on the number of classes; shares are counted again from the labels remembered."""
        self._rates = Rates(RateSettings(), classes)
        self._rates.observe_many(self._labels)
        self._rate_watch = RateWatch(classes)
        self._rate_watch.changed(self._labels)
        self._strategy = make_strategy(self._settings, self._rates, weighs=self._honours_weights)
        self._calibrator = Calibrator(CalibratorSettings(), classes)
        self._ratio = RatioCorrection(classes, self._strategy.ratio_outcomes)

    @property
    def _wrapped_model(self) -> base.Classifier:
        return self.classifier

    @property
    def _multiclass(self) -> bool:
        return bool(getattr(self.classifier, "_multiclass", True))

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for strategy in ("smote_under", "hard_mining", "class_weight"):
            model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
            yield {"classifier": model, "strategy": strategy, "seed": 1}

    def learn_one(self, x: dict[Any, Any], y: base.typing.ClfTarget, **kwargs: Any) -> None:
        """Learn one row as often, and with such rows beside it, as the strategy says."""
        check_rows([x])
        check_labels([y])
        self._check_answers_with(y, x)
        self._rows.meet([x])
        values = self._rows.matrix([x])  # who is refused leaves nothing behind
        x, label = present(x), self._id(y)
        raw = self._raw(x)
        probability = self._served(raw)
        self._calibrator.learn_many(raw, ONE_TIER, [label], lambda scores, _: self._logits(scores))
        arrivals = Arrivals(values, [label], ONE_TIER, probability)
        samples = self._strategy.draw(arrivals, self._window, self._rows.columns, self._rng)
        examples, learned = [0] * self._rates.classes, [0.0] * self._rates.classes
        examples[label] = 1
        if samples is not None:
            learned[label] = self._teach(samples, x, y, values, kwargs)
        self._window.add(values[0], label, 0, self._seen)
        self._rates.observe(label)
        since = self._rate_watch.changed([label])
        if since is not None:
            self._calibrator.begin_anew(since)
        self._ratio.observe(examples, learned)
        self._labels.append(label)
        self._seen += 1

    def _check_answers_with(self, y: base.typing.ClfTarget, x: dict[Any, Any]) -> None:
        """Raise ValueError for a label that a classifier of two classes never answers: it would take it for True, or
        end with an error of its own.
        """
        if y in self._classes or y in {False, True} or self._multiclass:
            return
        answer = self._answer(present(x))
        if answer and all(isinstance(each, bool) for each in answer):
            raise ValueError(
                f"the label is {y!r}, but {type(self.classifier).__name__} answers with True and False alone. Give it "
                "those, True for the outcome that is looked for, or wrap it in multiclass.OneVsRestClassifier."
            )

    def _id(self, y: base.typing.ClfTarget) -> int:
        """The class's number, in the order in which they come; False is 0 even where True comes first, and of a
        classifier of two classes 0 even where 1 does.
        """
        if y in self._classes:
            return self._classes.index(y)
        if not self._classes and y in {True} and (isinstance(y, bool | np.bool_) or not self._multiclass):
            self._classes.append(False)
        self._classes.append(y)
        if len(self._classes) > self._rates.classes:
            self._start(len(self._classes))
        return len(self._classes) - 1

    def _teach(
        self, samples: Samples, x: dict[Any, Any], y: base.typing.ClfTarget, values: Floats, kwargs: dict[str, Any]
    ) -> float:
        """Let the classifier learn; how much that counted."""
        counted = 0.0
        for i, row in enumerate(samples.rows):
            mine = np.array_equal(row, values[0], equal_nan=True)
            each = x if mine else self._rows.dicts(row[None, :])[0]
            weight = {} if samples.weights is None else {"w": samples.weights[i] * kwargs.get("w", 1.0)}
            for _ in range(samples.times[i]):
                self.classifier.learn_one(each, y, **{**kwargs, **weight})
            counted += samples.times[i] * (1.0 if samples.weights is None else samples.weights[i])
        return counted

    def _answer(self, x: dict[Any, Any]) -> dict[base.typing.ClfTarget, float]:
        """In the classifier's own words. Raises TypeError where it has none, as one within a wrapper may show here."""
        try:
            return self.classifier.predict_proba_one(x) or {}
        except NotImplementedError:
            raise _silent(self.classifier) from None

    def _raw(self, x: dict[Any, Any]) -> Floats:
        """What the classifier says of classes 1..C-1, (1, C-1); NaN where it says nothing."""
        answer = self._answer(x)
        known = [answer.get(each, 0.0) for each in self._classes]
        total = sum(known)
        outcomes = self._rates.classes - 1
        if not total > 0 or len(known) <= outcomes:
            return np.full((1, outcomes), np.nan)
        return np.array([known[1:]]) / total

    def _logits(self, raw: V) -> V:
        return logits(unbend(raw, self._ratio.offset()))

    def _served(self, raw: Floats) -> Floats:
        if raw.size == 1:  # floats are several times as fast as arrays of one
            return np.array([[self._calibrator.apply(self._logits(raw.item()), ONE_TIER)]])
        return self._calibrator.apply(self._logits(raw), ONE_TIER)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[base.typing.ClfTarget, float]:
        """The probability of each class met so far, on the stream as it is; empty before the first. A classifier that
        answers with False and True knows of both from the start.
        """
        check_rows([x])
        x = present(x)
        if len(self._classes) < self._rates.classes:
            if self._multiclass or set(self._answer(x)) != {False, True}:
                return dict.fromkeys(self._classes, 1.0)
            (rate,) = self._calibrator.base_rates()
            return {False: 1.0 - rate, True: rate}
        outcomes = self._served(self._raw(x))[0].tolist()
        return dict(zip(self._classes, [max(1.0 - sum(outcomes), 0.0), *outcomes], strict=True))


class AutoClassifier(ArmClassifier):
    """The default arms behind their calibrators, mixed: what `--strategy auto` serves, as a River classifier.

    A weighted logistic regression, networks that replay the windows, boosted trees fitted anew on the latest rows (in
    this process) and a plain logistic regression learn side by side; an arm that says nothing worth is paused, and what
    is out of date after a drift is forgotten. `learn_rows` and `predict_proba_rows` take many rows as one matrix, at a
    fraction of the cost a row.

    Parameters
    ----------
    forgets
        Whether the arms forget what is older than a change that made them worse.
    seed
        Of all that is left to chance.
    classes
        Labels known beforehand, in any order. There is room for 2, 4, 8, ... classes; one that comes later and finds
        none starts all arms afresh. Those named here have room from the first row on.

    Examples
    --------
    >>> from river import datasets, metrics
    >>> from stream_balance import AutoClassifier
    >>> model, metric = AutoClassifier(seed=1), metrics.ROCAUC()
    >>> for x, y in datasets.Phishing():
    ...     metric.update(y, model.predict_proba_one(x).get(True, 0.0))
    ...     model.learn_one(x, y)
    >>> bool(metric.get() > 0.95)
    True
    """

    def __init__(
        self, forgets: bool = True, seed: int = 0, classes: Sequence[base.typing.ClfTarget] | None = None
    ) -> None:  # fmt: skip
        if isinstance(classes, str):
            raise TypeError(f"classes is the text {classes!r}; expected labels, for example classes=[{classes!r}].")
        if not isinstance(forgets, int | np.bool_):
            raise TypeError(
                f"forgets is of the type {type(forgets).__name__}, expected True or False. The arms are its own; what "
                "a classifier of yours learns is balanced by BalancedClassifier."
            )
        check_seed(seed)
        if classes is not None and not isinstance(classes, Iterable):
            raise TypeError(f"classes is {classes!r:.60}; expected labels, for example classes=[False, True].")
        named = list(classes or ())  # once: it may be an iterator
        check_labels(named)
        self.forgets = forgets
        self.seed = seed
        self.classes = classes
        super().__init__()
        self._meet(named)

    def _make(self, classes: int) -> Ensemble:
        return Ensemble(classes, self.seed, forgets=self.forgets)

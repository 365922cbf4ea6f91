"""River's classifiers behind the verb pair: any of them row by row, linear ones and naive Bayes with one-hot levels.

A row becomes a dict without its absent values. Trees and forests get the names of levels as strings, which River
treats as nominal; linear models and naive Bayes get {"column=level": 1.0}, never scaled.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from river import linear_model, naive_bayes, optim, preprocessing
from river.utils.math import softmax

from stream_balance.core.arms.model import abstention, named_levels, numbers_and_levels
from stream_balance.core.records import Columns, Floats, Samples, Scores
from stream_balance.errors import SettingsError


class RiverModel:
    """Any River classifier. `learn` is its `learn_one`, `predict` its `predict_proba_one`, row by row."""

    supports_offset = False

    def __init__(self, classifier: Any, classes: int) -> None:
        self.classifier = classifier
        self.classes = classes
        self.honours_weights = "w" in inspect.signature(classifier.learn_one).parameters
        self.learned = 0

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """One `predict_proba_one` per row."""
        scores = abstention(len(values), self.classes)
        if not self.learned:
            return scores
        classes = range(1, self.classes)
        for i, x in enumerate(self._read(values, columns)):
            answer = self._ask(x)
            if sum(answer.values()) > 0:  # not where it names no class, or a NaN
                scores.probability[i] = [answer.get(c, 0.0) for c in classes]
                scores.abstained[i] = False
        return scores

    def learn(self, samples: Samples, columns: Columns) -> None:
        """`learn_one`, as often as each sample says."""
        weights = samples.weights if self.honours_weights else None
        for i, x in enumerate(self._read(samples.rows, columns)):
            weight = {} if weights is None else {"w": weights[i]}
            for _ in range(samples.times[i]):
                self._teach(x, samples.labels[i], samples.offsets[i], weight)
        self.learned += sum(samples.times)

    def _read(self, values: Floats, columns: Columns) -> Sequence[Any]:
        return named_levels(values, columns)

    def _ask(self, x: Any) -> dict[Any, float]:
        answer: dict[Any, float] = self.classifier.predict_proba_one(x) or {}
        return answer

    def _teach(self, x: Any, label: int, offset: tuple[float, ...], weight: dict[str, float]) -> None:
        self.classifier.learn_one(x, label, **weight)

    def digest_state(self) -> object:
        """How many samples were learned; the running hash of predictions and samples covers the rest."""
        return [type(self).__name__, self.learned]


class NamedModel(RiverModel):
    """A River classifier that the settings name. What it raises becomes a SettingsError that names it."""

    def __init__(self, name: str, classifier: Any, classes: int) -> None:
        super().__init__(classifier, classes)
        self._name = name

    def _ask(self, x: Any) -> dict[Any, float]:
        try:
            return super()._ask(x)
        # The code is not ours: whatever it raises, the person who named it is told.
        except Exception as error:
            raise self._cannot("score", x, error) from error

    def _teach(self, x: Any, label: int, offset: tuple[float, ...], weight: dict[str, float]) -> None:
        try:
            super()._teach(x, label, offset, weight)
        # As above.
        except Exception as error:
            raise self._cannot("learn", x, error) from error

    def _cannot(self, verb: str, x: dict[str, object], error: Exception) -> SettingsError:
        texts = [name for name, value in x.items() if isinstance(value, str)]
        hint = (
            f" Nominal columns come as text ({', '.join(texts[:3])}): put river.preprocessing.OneHotEncoder before it, "
            "or a selection of the numbers."
            if texts
            else ""
        )
        return SettingsError(f"model.name: {self._name!r} cannot {verb} a row: {type(error).__name__}: {error}.{hint}")


class RiverLinear(RiverModel):
    """River's StandardScaler and LogisticRegression (SGD, .01), bit for bit as in its own pipeline.

    As in `Pipeline.learn_one` the scaler learns the row first and scales it with what it then knows; it learns nothing
    from a prediction. With the logarithmic loss a sample's offset is added to the intercept while it is learned: the
    model describes the stream as it is, not as it was bent. With the hinge loss the margin's sigmoid is the score.
    """

    def __init__(self, loss: str) -> None:
        kind = {"log": optim.losses.Log, "hinge": optim.losses.Hinge}[loss]
        super().__init__(linear_model.LogisticRegression(optim.SGD(0.01), loss=kind()), classes=2)
        self.supports_offset = loss == "log"
        self._scaler: Any = preprocessing.StandardScaler()

    def _read(self, values: Floats, columns: Columns) -> Sequence[Any]:
        return numbers_and_levels(values, columns)

    def _ask(self, x: Any) -> dict[Any, float]:
        numbers, levels = x
        scaled = self._scaler.transform_one(numbers)
        scaled.update(levels)
        answer: dict[Any, float] = self.classifier.predict_proba_one(scaled)
        return answer

    def _teach(self, x: Any, label: int, offset: tuple[float, ...], weight: dict[str, float]) -> None:
        numbers, levels = x
        self._scaler.learn_one(numbers)
        scaled = self._scaler.transform_one(numbers)
        scaled.update(levels)
        shift = offset[0] if self.supports_offset else 0.0
        if not shift:
            self.classifier.learn_one(scaled, label, **weight)
            return
        self.classifier.intercept += shift
        self.classifier.learn_one(scaled, label, **weight)
        self.classifier.intercept -= shift


class RiverNaiveBayes(RiverModel):
    """River's GaussianNB on numbers times its MultinomialNB on one-hot levels.

    A Gaussian over a level that is only ever 1 has no variance and says nothing, hence the second model.
    """

    def __init__(self, classes: int) -> None:
        gaussian: Any = naive_bayes.GaussianNB  # untyped in River
        multinomial: Any = naive_bayes.MultinomialNB
        super().__init__(gaussian(), classes)
        self._levels = multinomial()

    def _read(self, values: Floats, columns: Columns) -> Sequence[Any]:
        nominal = bool(columns.nominal_indices)
        return [(numbers, levels, nominal) for numbers, levels in numbers_and_levels(values, columns)]

    def _ask(self, x: Any) -> dict[Any, float]:
        numbers, levels, _ = x
        joint = dict(self.classifier.joint_log_likelihood(numbers))
        if levels:
            for label, likelihood in self._levels.joint_log_likelihood(levels).items():
                joint[label] += float(likelihood) - float(np.log(self._levels.p_class(label)))  # the prior counts once
        return dict(softmax(joint))  # several times faster than what `predict_proba_one` calls, and the same

    def _teach(self, x: Any, label: int, offset: tuple[float, ...], weight: dict[str, float]) -> None:
        numbers, levels, nominal = x
        self.classifier.learn_one(numbers, label)
        if nominal:
            self._levels.learn_one(levels, label)

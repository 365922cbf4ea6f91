"""One-vs-rest: a binary model per class, for three or more classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stream_balance.core.arms.model import Model
from stream_balance.core.records import Columns, Floats, Samples, Scores


class OneVsRest:
    """Binary models, one per class 0..C-1; their probabilities, normalised to sum 1, are the answer.

    Offsets of classes against class 0 are not offsets against the rest, so the parts learn without, and the caller
    corrects afterwards.
    """

    supports_offset = False

    def __init__(self, parts: list[Model]) -> None:
        self._parts = parts
        self.honours_weights = all(part.honours_weights for part in parts)

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Abstains where one of the parts does, or where all say 0."""
        answers = [part.predict(values, columns) for part in self._parts]
        table = np.concatenate([answer.probability for answer in answers], axis=1)
        total = table.sum(axis=1)
        abstained = np.any([answer.abstained for answer in answers], axis=0) | ~(total > 0)
        table[abstained] = np.nan
        total[abstained] = 1.0
        return Scores(table[:, 1:] / total[:, None], abstained)

    def learn(self, samples: Samples, columns: Columns) -> None:
        """Each part learns which of the samples are of its class."""
        offsets: list[tuple[float, ...]] = [(0.0,)] * len(samples)
        for label, part in enumerate(self._parts):
            mine = [int(each == label) for each in samples.labels]
            part.learn(replace(samples, labels=mine, offsets=offsets), columns)

    def digest_state(self) -> object:
        """The parts', by class."""
        return ["OneVsRest", [part.digest_state() for part in self._parts]]

"""River's search for the best split of a numeric column, its Gaussians and the entropy of the leaf asked once, not once
for each of ten thresholds: the same bits.
"""

# River's nodes are untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from typing import Any

from river.tree.split_criterion import InfoGainSplitCriterion
from river.tree.splitter import GaussianSplitter
from river.tree.utils import BranchFactory
from river.utils.math import norm_cdf

Weights = dict[Any, float]


def best_split(splitter: Any, criterion: Any, weights: Weights, feature: Any, binary: bool) -> Any:
    """River's `best_evaluated_split_suggestion`, written out for a `GaussianSplitter` and information gain.

    `weights` are the leaf's, by class.
    """
    if splitter.__class__ is not GaussianSplitter or criterion.__class__ is not InfoGainSplitCriterion:
        return splitter.best_evaluated_split_suggestion(criterion, weights, feature, binary)
    best, best_merit, at, fraction = None, -math.inf, 0.0, criterion.min_branch_fraction
    entropy = _entropy(weights)
    lowest, highest = splitter._min_per_class, splitter._max_per_class
    classes = [
        (label, lowest[label], highest[label], each.n_samples, each.mu, each.sigma)
        for label, each in splitter._att_dist_per_class.items()
    ]
    for threshold in splitter._split_point_suggestions():
        left, right = {}, {}
        for label, low, high, weight, mean, deviation in classes:
            if threshold < low:
                right[label] = weight
            elif threshold >= high:
                left[label] = weight
            else:
                below = norm_cdf((threshold - mean) / deviation) if deviation else 0.0
                left[label] = weight_below = below * weight
                right[label] = weight - weight_below
        of_left, of_right = sum(left.values()), sum(right.values())
        whole = of_left + of_right
        if not (whole > 0 and of_left / whole > fraction and of_right / whole > fraction):
            continue
        merit = entropy - (of_left * _entropy(left) + of_right * _entropy(right)) / whole
        if merit > best_merit:
            best, best_merit, at = [left, right], merit, threshold
    return BranchFactory() if best is None else BranchFactory(best_merit, feature, at, best)


def _entropy(weights: Weights) -> float:
    """In bits."""
    total = negative = 0.0
    for weight in weights.values():
        if weight > 0.0:
            negative -= weight * math.log2(weight)
            total += weight
    return (negative + total * math.log2(total)) / total if total > 0.0 else 0.0

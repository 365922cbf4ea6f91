"""River's trees with leaves that answer without waste: the same bits, about half the time.

River's adaptive naive Bayes leaves deep-copy a small dict for each answer, ask naive Bayes again for the row that they
have just answered (a Hoeffding adaptive tree does so at every level of its path), and work out each Gaussian anew for
each row. Here the copies are shallow, the last answer of naive Bayes and the Gaussians of a class are kept until the
leaf learns, the update of a Gaussian and the way down a tree are written out. Nothing else differs but that ties
between splits of a nominal column go to the level seen first, not to the first in a set. A contract test holds them to
River.
"""

# River's nodes are untyped, and their methods differ from class to class.
# mypy: disable-error-code="no-untyped-call,override,union-attr,assignment,arg-type"

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from river import forest, tree
from river.forest.adaptive_random_forest import BaseTreeClassifier
from river.tree.nodes.arf_htc_nodes import BaseRandomLeaf
from river.tree.nodes.branch import DTBranch, NumericBinaryBranch
from river.tree.nodes.hatc_nodes import AdaLeafClassifier
from river.tree.nodes.htc_nodes import LeafNaiveBayesAdaptive
from river.tree.nodes.leaf import HTLeaf
from river.tree.splitter import GaussianSplitter
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif
from river.tree.utils import BranchFactory

from stream_balance.core.arms.quick_splits import best_split

Votes = dict[Any, float]
_Term = tuple[Any, float, float, float]
_HALF_LOG_TAU = 0.5 * math.log(math.tau)


def _scaled(votes: Votes, total: float) -> Votes:
    """A copy, divided by `total` as River does it; as it is where that is 0 or not a number."""
    if total == 0 or math.isnan(total):
        return dict(votes)
    factor = 1 / total
    return {label: value * factor for label, value in votes.items()}


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else 0.0


class _QuickLeaf(LeafNaiveBayesAdaptive):
    """An adaptive naive Bayes leaf that remembers its last answer to one row (by identity) until it learns."""

    _asked: Any = None
    _answer: Votes
    # By class: for each splitter its feature and, if it is Gaussian, mean, -2 x variance, half the log of the variance.
    _terms: dict[Any, list[_Term]]
    _terms_of: Any = None  # the splitters that the terms were made of

    def _naive_bayes(self, x: Any) -> Votes:
        if self._asked is not x:
            self._answer = self._votes(x)
            self._asked = x
        return self._answer

    def _votes(self, x: Any) -> Votes:
        """River's `do_naive_bayes_prediction`, in its order of sums."""
        total = sum(self.stats.values())
        if total == 0:
            return {}
        if self._terms_of is not self.splitters:
            self._terms, self._terms_of = {}, self.splitters
        votes = {}
        for label, weight in self.stats.items():
            vote = 0.0
            if weight > 0:
                vote = math.log(weight / total)
                terms = self._terms.get(label)
                if terms is None:
                    terms = self._terms[label] = self._terms_for(label)
                for feature, mean, divisor, half_log in terms:
                    if feature in x:
                        if divisor:
                            vote += (x[feature] - mean) ** 2 / divisor - _HALF_LOG_TAU - half_log
                        else:
                            vote += _log(self.splitters[feature].cond_proba(x[feature], label))
            votes[label] = vote
        highest = max(votes.values())
        whole = highest + math.log(sum([math.exp(vote - highest) for vote in votes.values()]))
        return {label: math.exp(vote - whole) for label, vote in votes.items()}

    def _terms_for(self, label: Any) -> list[_Term]:
        found: list[_Term] = []
        for feature, splitter in self.splitters.items():
            if not isinstance(splitter, GaussianSplitter):
                found.append((feature, 0.0, 0.0, 0.0))
                continue
            gaussian = splitter._att_dist_per_class.get(label)
            if gaussian is None:
                continue
            spread = gaussian._var
            degrees = spread.mean.n - spread.ddof
            if degrees > 0 and (variance := spread._S / degrees) > 0.0:
                found.append((feature, spread.mean._mean, -2.0 * variance, 0.5 * math.log(variance)))
        return found

    def prediction(self, x: Any, *, tree: Any = None) -> Votes:
        if self.is_active() and self._nb_correct_weight >= self._mc_correct_weight:
            return dict(self._naive_bayes(x))
        return _scaled(self.stats, sum(self.stats.values()))

    def learn_one(self, x: Any, y: Any, *, w: float = 1.0, tree: Any = None) -> None:
        if self.is_active():
            majority = _scaled(self.stats, sum(self.stats.values()))
            if not majority or max(majority, key=majority.__getitem__) == y:
                self._mc_correct_weight += w
            votes = self._naive_bayes(x)
            if votes and max(votes, key=votes.__getitem__) == y:
                self._nb_correct_weight += w
        self._asked = None
        if self._terms_of is not None:
            self._terms.pop(y, None)
        HTLeaf.learn_one(self, x, y, w=w, tree=tree)

    def update_splitters(self, x: Any, y: Any, w: float, nominal_attributes: Any) -> None:
        """River's, with the update of a known Gaussian written out."""
        splitters = self.splitters
        for feature, value in self._iter_features(x):
            splitter = splitters.get(feature)
            gaussian = splitter._att_dist_per_class.get(y) if splitter.__class__ is GaussianSplitter else None
            if gaussian is None or value is None:
                super().update_splitters({feature: value}, y, w, nominal_attributes)
                continue
            splitter._min_per_class[y] = min(splitter._min_per_class[y], value)
            splitter._max_per_class[y] = max(splitter._max_per_class[y], value)
            spread = gaussian._var
            running = spread.mean
            before = running._mean
            running.n += w
            running._mean = after = before + (w / running.n) * (value - before)
            spread._S += w * (value - before) * (value - after)

    def best_split_suggestions(self, criterion: Any, tree: Any) -> list[Any]:
        """River's, in its order: none first, if the tree prefers none to a bad one; only none where one class is nearly
        all.
        """
        highest = max(self.stats.values())
        if highest and highest / self.total_weight > tree.max_share_to_split:
            return [BranchFactory()]
        found = [BranchFactory()] if tree.merit_preprune else []
        for feature, splitter in self.splitters.items():
            found.append(best_split(splitter, criterion, self.stats, feature, tree.binary_split))
        return found

    @staticmethod
    def new_nominal_splitter() -> NominalSplitterClassif:
        splitter = NominalSplitterClassif()
        splitter._att_values = _Ordered()
        return splitter


class _Ordered(dict[Any, None]):
    """Levels in the order of their arrival: a set's order depends on PYTHONHASHSEED, and with it which of two equally
    good splits is taken."""

    def add(self, level: Any) -> None:
        self[level] = None


class _QuickAdaptiveLeaf(AdaLeafClassifier, _QuickLeaf):
    def prediction(self, x: Any, *, tree: Any = None) -> Votes | None:
        if not self.stats:
            return None
        votes = _QuickLeaf.prediction(self, x)
        error = self._mean_error.get()
        return _scaled(votes, sum(votes.values()) * error * error)


class _QuickRandomLeaf(BaseRandomLeaf, _QuickLeaf):
    pass


class _QuickBranch(NumericBinaryBranch):
    """Goes down in a loop: River's generator of each node asks that of the node below, for each node of the path."""

    def walk(self, x: Any, until_leaf: bool = True) -> Iterator[Any]:
        node: Any = self
        while node.__class__ is _QuickBranch:
            yield node
            try:
                node = node.children[0 if x[node.feature] <= node.threshold else 1]
            except KeyError:
                if not until_leaf:
                    return
                _, node = node.most_common_path()
        yield from node.walk(x, until_leaf)


def _quick(branch: type[DTBranch]) -> type[DTBranch]:
    return _QuickBranch if branch is NumericBinaryBranch else branch


class QuickAdaptiveTree(tree.HoeffdingAdaptiveTreeClassifier):
    """River's Hoeffding adaptive tree (Bifet and Gavalda 2009) as it is by default."""

    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Any:
        return _QuickAdaptiveLeaf(
            stats={} if initial_stats is None else initial_stats,
            depth=0 if parent is None else parent.depth + 1,
            splitter=self.splitter,
            drift_detector=self.drift_detector.clone(),
            rng=self._rng,
        )

    def predict_proba_one(self, x: Any) -> Votes:
        votes: Votes = dict.fromkeys(self.classes, 0.0)
        if self._root is None:
            return votes
        found = self._root.traverse(x, until_leaf=True) if isinstance(self._root, DTBranch) else [self._root]
        for leaf in _flat(found):
            for label, value in (leaf.prediction(x, tree=self) or {}).items():
                votes[label] = votes.get(label, 0.0) + value
        return _scaled(votes, sum(votes.values()))


def _flat(nodes: list[Any]) -> list[Any]:
    """Leaves; those of an alternate tree with branches come as a list of their own."""
    return [leaf for node in nodes for leaf in (_flat(node) if isinstance(node, list) else (node,))]


class QuickTree(tree.HoeffdingTreeClassifier):
    """River's Hoeffding tree as it is by default."""

    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Any:
        stats = {} if initial_stats is None else initial_stats
        return _QuickLeaf(stats, 0 if parent is None else parent.depth + 1, self.splitter)

    def _branch_selector(self, *args: Any, **kwargs: Any) -> type[DTBranch]:
        return _quick(super()._branch_selector(*args, **kwargs))


class _QuickForestTree(BaseTreeClassifier):
    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Any:
        stats, depth = {} if initial_stats is None else initial_stats, 0 if parent is None else parent.depth + 1
        return _QuickRandomLeaf(stats, depth, self.splitter, self.max_features, self.rng)

    def _branch_selector(self, *args: Any, **kwargs: Any) -> type[DTBranch]:
        return _quick(super()._branch_selector(*args, **kwargs))


class QuickForest(forest.ARFClassifier):
    """River's adaptive random forest (Gomes et al. 2017) as it is by default."""

    def _new_base_model(self) -> Any:
        made = super()._new_base_model()  # with all of River's arguments, whatever they are
        made.__class__ = _QuickForestTree
        return made

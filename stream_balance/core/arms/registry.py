"""Registry: models by the names that settings and flags use. River is large: a model that is made of it loads it."""

# ruff: noqa: PLC0415  # as said above

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from stream_balance.core.arms.fast_logistic import FastLogistic
from stream_balance.core.arms.linear import Linear
from stream_balance.core.arms.model import Model
from stream_balance.core.arms.one_vs_rest import OneVsRest
from stream_balance.core.arms.replay_mlp import ReplayMLP
from stream_balance.core.arms.tail import TailLinear, TailReplayMLP
from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from river import base


def _fast_logistic(classes: int, seed: int) -> Model:
    return FastLogistic()


def _river_logistic(classes: int, seed: int) -> Model:
    from stream_balance.core.arms.river_models import RiverLinear

    return RiverLinear("log")


def _linear_svm(classes: int, seed: int) -> Model:
    from stream_balance.core.arms.river_models import RiverLinear

    return RiverLinear("hinge")


def _hoeffding_adaptive_tree(classes: int, seed: int) -> Model:
    from stream_balance.core.arms.quick_trees import QuickAdaptiveTree
    from stream_balance.core.arms.river_models import RiverModel

    return RiverModel(QuickAdaptiveTree(seed=seed), classes)


def _adaptive_random_forest(classes: int, seed: int) -> Model:
    from stream_balance.core.arms.quick_trees import QuickForest
    from stream_balance.core.arms.river_models import RiverModel

    return RiverModel(QuickForest(seed=seed), classes)


def _leveraging_bagging(classes: int, seed: int) -> Model:
    from river import ensemble

    from stream_balance.core.arms.quick_trees import QuickTree
    from stream_balance.core.arms.river_models import RiverModel

    return RiverModel(ensemble.LeveragingBaggingClassifier(QuickTree(), seed=seed), classes)


def _naive_bayes(classes: int, seed: int) -> Model:
    from stream_balance.core.arms.river_models import RiverNaiveBayes

    return RiverNaiveBayes(classes)


def _linear(classes: int, seed: int) -> Model:
    return Linear(classes)


def _replay_mlp(classes: int, seed: int) -> Model:
    return ReplayMLP(classes, seed)


def _plain_linear(classes: int, seed: int) -> Model:
    return Linear(classes, weight_max=1.0)


def _plain_replay_mlp(classes: int, seed: int) -> Model:
    return ReplayMLP(classes, seed, rare_share=0.0, rare_rows=1)


def _tail_linear(classes: int, seed: int) -> Model:
    return TailLinear(classes)


def _tail_replay_mlp(classes: int, seed: int) -> Model:
    return TailReplayMLP(classes, seed)


def _window_booster(classes: int, seed: int) -> Model:
    return WindowBooster(classes, seed)


# name -> (maker of (classes, seed), knows more than two classes)
MODELS: dict[str, tuple[Callable[[int, int], Model], bool]] = {
    "logistic": (_fast_logistic, False),
    "river_logistic": (_river_logistic, False),
    "linear_svm": (_linear_svm, False),
    "hoeffding_adaptive_tree": (_hoeffding_adaptive_tree, True),
    "adaptive_random_forest": (_adaptive_random_forest, True),
    "leveraging_bagging": (_leveraging_bagging, True),
    "naive_bayes": (_naive_bayes, True),
    "linear": (_linear, True),
    "replay_mlp": (_replay_mlp, True),
    "window_booster": (_window_booster, True),
    # the first two once more, learning as much from rare items as from popular ones
    "tail_linear": (_tail_linear, True),
    "tail_replay_mlp": (_tail_replay_mlp, True),
    # without the balancing that the two above do by themselves: what they are compared with
    "plain_linear": (_plain_linear, True),
    "plain_replay_mlp": (_plain_replay_mlp, True),
}


def make_model(name: str, classes: int = 2, seed: int = 0, *, one_vs_rest: bool = False) -> Model:
    """The model of that name, or the River classifier that `package.module:factory` returns.

    A model for two classes only is refused for more, or wrapped if `one_vs_rest`. Raises SettingsError.

    >>> make_model("naive_bayes", classes=3).supports_offset
    False
    """
    if name in MODELS:
        maker, multiclass = MODELS[name]
    elif ":" in name:
        from stream_balance.core.arms.river_models import NamedModel

        factory = _imported(name)
        multiclass = bool(_made(name, factory)._multiclass)

        def maker(classes: int, seed: int) -> Model:
            return NamedModel(name, _made(name, factory), classes)
    else:
        raise SettingsError(
            f"model.name, or an arm: {name!r} is no model.{did_you_mean(name, MODELS)} Choose one of "
            f"{', '.join(MODELS)}, or package.module:factory."
        )
    if classes == 2 or multiclass:
        return maker(classes, seed)
    if one_vs_rest:
        return OneVsRest([maker(2, seed + label) for label in range(classes)])
    able = ", ".join(known for known, (_, many) in MODELS.items() if many)
    raise SettingsError(
        f"model.name: {name!r} knows two classes, the stream has {classes}. Choose one that knows more ({able}), "
        "or wrap it: model.one_vs_rest = true (--one-vs-rest where a command has it)."
    )


# While a state is read that somebody else may have written: the only modules that a factory may be of. None = any.
factories_from: ContextVar[frozenset[str] | None] = ContextVar("factories_from", default=None)


def _imported(name: str) -> Callable[[], Any]:
    module_name, _, attribute = name.partition(":")
    trusted = factories_from.get()
    if trusted is not None and module_name not in trusted:
        raise SettingsError(
            f"the state asks for the model {name!r}, whose module is not trusted. If it is part of your model, add its "
            "module to checkpoint.trusted_modules; if not, do not trust the file."
        )
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    # Importing runs code that is not ours: whatever it raises is a mistake in what the settings name.
    except Exception as error:
        raise SettingsError(
            f"model.name: {name!r} cannot be imported: {type(error).__name__}: {error}. "
            "Expected package.module:factory, with the package installed here."
        ) from error
    if not callable(factory):
        raise SettingsError(f"model.name: {name!r} is a {type(factory).__name__}, expected a function or class.")
    return factory  # type: ignore[no-any-return]  # checked by what it returns


def _made(name: str, factory: Callable[[], Any]) -> base.Classifier:
    """What the factory makes; a pipeline that ends in a classifier is one too."""
    from river import base

    try:
        classifier = factory()
    # As above: code that is not ours.
    except Exception as error:
        raise SettingsError(
            f"model.name: {name!r} cannot be called: {type(error).__name__}: {error}. "
            "Expected a function or class that takes nothing and returns a River classifier."
        ) from error
    final = getattr(classifier, "_last_step", classifier)
    if not isinstance(final, base.Classifier):
        raise SettingsError(
            f"model.name: {name!r} returned a {type(classifier).__name__}, expected a River classifier "
            "(or a pipeline that ends in one)."
        )
    if type(final).predict_proba_one is base.Classifier.predict_proba_one:
        raise SettingsError(
            f"model.name: {name!r} returned a {type(final).__name__}, which says no probabilities: its "
            "predict_proba_one is not implemented. Choose a classifier that does, as linear_model.LogisticRegression."
        )
    return classifier  # type: ignore[no-any-return]  # or a pipeline, which acts as one

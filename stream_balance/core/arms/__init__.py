"""Arms: the classifiers behind one verb pair. In: rows, samples. Out: scores. The only room for River's models."""

from stream_balance.core.arms.model import Model
from stream_balance.core.arms.registry import MODELS, make_model

__all__ = ["MODELS", "Model", "make_model"]

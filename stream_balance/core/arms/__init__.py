"""Arms: the classifiers behind one verb pair. In: rows, samples. Out: scores. The only room for River's models."""

from stream_balance.core.arms.encoding import SharedEncoder
from stream_balance.core.arms.model import Model
from stream_balance.core.arms.registry import MODELS, make_model
from stream_balance.core.arms.sharing import share_encoder

__all__ = ["MODELS", "Model", "SharedEncoder", "make_model", "share_encoder"]

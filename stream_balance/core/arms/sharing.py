"""Sharing: one encoder for the models that learn the same rows. In: models. Out: the encoder, theirs from now on."""

from __future__ import annotations

from collections.abc import Iterable

from stream_balance.core.arms.encoding import SharedEncoder
from stream_balance.core.arms.linear import Linear
from stream_balance.core.arms.model import Model
from stream_balance.core.arms.replay_mlp import ReplayMLP


def share_encoder(models: Iterable[Model]) -> SharedEncoder | None:
    """Give one encoder to those that have any, before they learn; whoever calls this teaches it every row first.

    So its moments go on while a model rests. None if no model encodes.
    """
    encoder = None
    for model in models:
        if isinstance(model, Linear | ReplayMLP):
            encoder = encoder or SharedEncoder()
            model.encoder = encoder
    return encoder

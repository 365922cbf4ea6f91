"""Checkpoints: the whole state with its place in the input, in one file, so that a killed service loses nothing."""

from stream_balance.edge.checkpoint.settings import CheckpointSettings

__all__ = ["CheckpointSettings"]

"""TensorFlow checkpoints (bundle V2), read without TensorFlow."""

from porting.sources.checkpoint.reader import (
    CheckpointSource,
    looks_like_checkpoint,
    open_checkpoint,
)

__all__ = ["CheckpointSource", "looks_like_checkpoint", "open_checkpoint"]

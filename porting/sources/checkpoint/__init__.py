"""TensorFlow checkpoints (bundle V2), read without TensorFlow."""

from porting.sources.checkpoint.locate import belongs_to_checkpoint, locate, looks_like_checkpoint
from porting.sources.checkpoint.reader import CheckpointSource, open_checkpoint

__all__ = [
    "CheckpointSource",
    "belongs_to_checkpoint",
    "locate",
    "looks_like_checkpoint",
    "open_checkpoint",
]

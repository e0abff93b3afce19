"""TensorFlow checkpoints of formats V1 and V2, read without TensorFlow."""

from porting.sources.checkpoint.format_v1 import begins_like_v1, looks_like_v1
from porting.sources.checkpoint.reader import (
    CheckpointSource,
    belongs_to_checkpoint,
    locate,
    looks_like_checkpoint,
)

__all__ = [
    "CheckpointSource",
    "begins_like_v1",
    "belongs_to_checkpoint",
    "locate",
    "looks_like_checkpoint",
    "looks_like_v1",
]

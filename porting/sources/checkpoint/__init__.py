"""TensorFlow checkpoints of formats V1 and V2, read without TensorFlow."""

from porting.sources.checkpoint.locate import belongs_to_checkpoint, locate, looks_like_checkpoint
from porting.sources.checkpoint.reader import CheckpointSource, open_checkpoint
from porting.sources.checkpoint.slice_tables import begins_like_v1, looks_like_v1

__all__ = [
    "CheckpointSource",
    "begins_like_v1",
    "belongs_to_checkpoint",
    "locate",
    "looks_like_checkpoint",
    "looks_like_v1",
    "open_checkpoint",
]

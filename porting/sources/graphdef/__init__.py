"""Frozen graphs and SavedModels, read without TensorFlow."""

from porting.sources.graphdef.detect import looks_like_graph, looks_like_saved_model
from porting.sources.graphdef.reader import (
    SAVED_MODEL,
    FrozenGraphSource,
    GraphDefSource,
    SavedModelSource,
)

__all__ = [
    "SAVED_MODEL",
    "FrozenGraphSource",
    "GraphDefSource",
    "SavedModelSource",
    "looks_like_graph",
    "looks_like_saved_model",
]

"""Frozen graphs and SavedModels, read without TensorFlow."""

from porting.sources.graphdef.reader import (
    META_SUFFIX,
    SAVED_MODEL,
    FrozenGraphSource,
    GraphDefSource,
    RestoredGraphSource,
    SavedModelSource,
    TrainingGraphSource,
    looks_like_graph,
    looks_like_saved_model,
)

__all__ = [
    "META_SUFFIX",
    "SAVED_MODEL",
    "FrozenGraphSource",
    "GraphDefSource",
    "RestoredGraphSource",
    "SavedModelSource",
    "TrainingGraphSource",
    "looks_like_graph",
    "looks_like_saved_model",
]

"""Frozen graphs and SavedModels, read without TensorFlow."""

from porting.sources.graphdef.reader import (
    SAVED_MODEL,
    VARIABLES,
    FrozenGraphSource,
    GraphDefSource,
    SavedModelSource,
    looks_like_graph,
    looks_like_saved_model,
)

__all__ = [
    "SAVED_MODEL",
    "VARIABLES",
    "FrozenGraphSource",
    "GraphDefSource",
    "SavedModelSource",
    "looks_like_graph",
    "looks_like_saved_model",
]

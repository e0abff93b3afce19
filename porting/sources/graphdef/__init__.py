"""Frozen graphs and SavedModels, read without TensorFlow.

What tells them is at hand; the readers are in ``reader``, and imported where one is read.
"""

from porting.sources.graphdef.detect import SAVED_MODEL, looks_like_graph, looks_like_saved_model

__all__ = ["SAVED_MODEL", "looks_like_graph", "looks_like_saved_model"]

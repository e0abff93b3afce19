"""Readers: one folder a format, none of which needs TensorFlow."""

from porting.sources.opening import open_source
from porting.sources.source import Graph, Operator, Source, TensorInfo

__all__ = ["Graph", "Operator", "Source", "TensorInfo", "open_source"]

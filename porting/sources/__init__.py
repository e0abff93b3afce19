"""Readers: one folder a format, none of which needs TensorFlow."""

from porting.sources.opening import claims_to_be_a_source, open_source
from porting.sources.source import Graph, Operator, Source, TensorInfo

__all__ = ["Graph", "Operator", "Source", "TensorInfo", "claims_to_be_a_source", "open_source"]

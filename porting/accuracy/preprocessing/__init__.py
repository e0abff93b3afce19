"""Preprocessing as TensorFlow does it, without TensorFlow, and as Pillow does it."""

from porting.accuracy.preprocessing.pipeline import (
    PIPELINES,
    Pipeline,
    named_pipeline,
    parse_pipeline,
)

__all__ = ["PIPELINES", "Pipeline", "named_pipeline", "parse_pipeline"]

"""TensorFlow's preprocessing without TensorFlow, and Pillow's for contrast, as lists of steps."""

from porting.accuracy.preprocessing.pipeline import (
    NAMED,
    Pipeline,
    named_pipeline,
    parse_pipeline,
)

__all__ = ["NAMED", "Pipeline", "named_pipeline", "parse_pipeline"]

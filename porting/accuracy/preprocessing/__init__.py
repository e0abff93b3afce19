"""TensorFlow's preprocessing without TensorFlow, and Pillow's for contrast, as lists of steps."""

from porting.accuracy.preprocessing.language import NAMED, named_pipeline, parse_pipeline
from porting.accuracy.preprocessing.pipeline import Pipeline

__all__ = ["NAMED", "Pipeline", "named_pipeline", "parse_pipeline"]

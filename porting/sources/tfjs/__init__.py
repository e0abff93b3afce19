"""Models of TensorFlow.js, read without it."""

from porting.sources.tfjs.model_json import begins_like_json
from porting.sources.tfjs.reader import TFJSGraphSource, looks_like_tfjs, open_tfjs

__all__ = ["TFJSGraphSource", "begins_like_json", "looks_like_tfjs", "open_tfjs"]

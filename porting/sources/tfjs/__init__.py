"""Models of TensorFlow.js, read without it."""

from porting.sources.tfjs.reader import (
    TFJSGraphSource,
    TFJSLayersSource,
    looks_like_tfjs,
    open_tfjs,
)

__all__ = ["TFJSGraphSource", "TFJSLayersSource", "looks_like_tfjs", "open_tfjs"]

"""TFLite files, read without TensorFlow or LiteRT."""

from porting.sources.tflite.reader import TFLiteSource

__all__ = ["TFLiteSource"]

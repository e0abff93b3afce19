"""TFLite files, read without TensorFlow or LiteRT."""

from porting.sources.tflite.reader import TFLiteSource, looks_like_tflite

__all__ = ["TFLiteSource", "looks_like_tflite"]

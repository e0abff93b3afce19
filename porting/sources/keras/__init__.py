"""Keras files, read without Keras or TensorFlow."""

from porting.sources.keras.config import KerasLayer
from porting.sources.keras.reader import KerasSource

__all__ = ["KerasLayer", "KerasSource"]

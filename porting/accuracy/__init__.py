"""Accuracy of judge and port on labelled images: pixels as TensorFlow makes them, and counts."""

"""Labelled images to measure accuracy on, in whatever form people keep them."""

from porting.accuracy.datasets.dataset import DataSet, Example
from porting.accuracy.datasets.opening import open_dataset

__all__ = ["DataSet", "Example", "open_dataset"]

"""Data sets of labelled images: folders, tars, WebDataset and TFRecord shards."""

from porting.accuracy.datasets.dataset import DataSet, Example
from porting.accuracy.datasets.opening import open_dataset

__all__ = ["DataSet", "Example", "open_dataset"]

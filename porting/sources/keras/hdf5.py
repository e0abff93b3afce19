"""The datasets and attributes of an HDF5 file, listed without HDF5 in this process."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras import hdf5_listing

TIME_LIMIT = 30.0
"""Seconds; listing a MobileNet takes a fifth of one."""

_OPAQUE = "|V2"
"""Two bytes without meaning, as h5py writes bfloat16 where Keras notes no type (``.h5``)."""


@dataclass(frozen=True)
class Dataset:
    """An array as the file describes it.

    ``dtype`` is NumPy's notation (``<f4``), or words for what is not numeric;
    ``size`` is an element's in bytes; ``keras_dtype`` is the type that Keras
    notes in an attribute, if any.
    """

    shape: tuple[int, ...]
    dtype: str
    size: int
    offset: int | None
    keras_dtype: str | None

    @property
    def nbytes(self) -> int:
        """Bytes that shape and type ask for."""
        return math.prod(self.shape) * self.size

    @property
    def is_bfloat16(self) -> bool:
        """Whether its values are bfloat16, for which HDF5 has no type."""
        if self.keras_dtype is None:
            return self.dtype == _OPAQUE
        return self.keras_dtype == "bfloat16" and self.size == 2

    @property
    def numpy_dtype(self) -> str | None:
        """NumPy's name of the type that it is read as; None for what cannot be read."""
        if self.is_bfloat16:
            return "float32"
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            return None
        return dtype.name if dtype.kind in "fiub" else None


@dataclass(frozen=True)
class HDF5Listing:
    """Datasets by path, and by a group's path the attributes that Keras writes."""

    datasets: dict[str, Dataset]
    attributes: dict[str, dict[str, Any]]

    def names(self, group: str, attribute: str) -> list[str] | None:
        """A list of names, or None: whole, or split where it outgrew HDF5's header.

        Format: ``load_attributes_from_hdf5_group`` in Keras
        ``legacy/saving/legacy_h5_format.py``.
        """
        attributes = self.attributes.get(group, {})
        if attribute in attributes:
            return list(attributes[attribute])
        parts: list[str] = []
        number = 0
        while f"{attribute}{number}" in attributes:
            parts += attributes[f"{attribute}{number}"]
            number += 1
        return parts if number else None


def list_hdf5(file: Path, where: str) -> HDF5Listing:
    """List a file in a process of its own, bounded in memory and time.

    ``where`` names the file in messages.

    Raises:
        BadSource: it is damaged, cut short, or claims bytes that it does not have.
        UnsupportedSource: it leads to other files, or is stored as Keras does not.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-P", hdf5_listing.__file__, str(file)],
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            # An unused pool of threads would take 40 MiB of the memory limit.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise BadSource(
            f"{where}: damaged: HDF5 does not finish reading it in {TIME_LIMIT:g} seconds"
        ) from None
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise BadSource(f"{where}: damaged: HDF5 crashes on it ({name})")
    if process.returncode:
        reason = process.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        raise BadSource(f"{where}: cannot be listed: {reason[:300]}")
    listing = json.loads(process.stdout)
    if "bad" in listing:
        raise BadSource(f"{where}: {listing['bad']}")
    if "unsupported" in listing:
        raise UnsupportedSource(f"{where}: {listing['unsupported']}")
    datasets = {}
    for path, (shape, *description) in listing["datasets"].items():
        datasets[path] = Dataset(tuple(shape), *description)
        check_extent(path, datasets[path], file.stat().st_size, where)
    return HDF5Listing(datasets, listing["attributes"])


def check_extent(path: str, dataset: Dataset, file_size: int, where: str) -> None:
    """Check that a dataset's values lie within its file.

    Raises:
        BadSource: they do not.
    """
    if not dataset.nbytes:
        return
    if dataset.offset is None:
        raise BadSource(f"{where}: {path!r} of shape {dataset.shape} has no values in the file")
    if dataset.offset + dataset.nbytes > file_size:
        raise BadSource(
            f"{where}: damaged or cut short: {path!r} of shape {dataset.shape} claims "
            f"{dataset.nbytes:,} bytes at byte {dataset.offset:,}; the file has {file_size:,}"
        )

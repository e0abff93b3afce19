"""What lies where in an HDF5 file, without HDF5 in this process."""

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

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras import listing

TIME_LIMIT = 30.0
"""Seconds; listing a MobileNet takes a fifth of one."""
_ERRORS = {"bad": BadSource, "unsupported": UnsupportedSource}


@dataclass(frozen=True)
class Dataset:
    """An array as the file describes it.

    ``dtype`` is NumPy's notation (``<f4``), or words for what are no numbers;
    ``size`` is an element's in bytes; ``mark`` is what Keras notes of the type.
    """

    shape: tuple[int, ...]
    dtype: str
    size: int
    offset: int | None
    mark: str | None

    @property
    def nbytes(self) -> int:
        """Bytes that shape and type ask for."""
        return math.prod(self.shape) * self.size


@dataclass(frozen=True)
class Contents:
    """Datasets by path, and by group's path the attributes that Keras writes."""

    datasets: dict[str, Dataset]
    attributes: dict[str, dict[str, Any]]

    def names(self, group: str, attribute: str) -> list[str] | None:
        """A list of names, or None: whole, or split where it outgrew HDF5's header.

        Format: ``load_attributes_from_hdf5_group`` in Keras
        ``legacy/saving/legacy_h5_format.py``.
        """
        held = self.attributes.get(group, {})
        if attribute in held:
            return list(held[attribute])
        parts: list[str] = []
        number = 0
        while f"{attribute}{number}" in held:
            parts += held[f"{attribute}{number}"]
            number += 1
        return parts if number else None


def list_contents(file: Path, where: str) -> Contents:
    """List a file in a process of its own, bounded in memory and time.

    ``where`` names the file in messages.

    Raises:
        BadSource: it is damaged, cut short, or claims bytes that it does not have.
        UnsupportedSource: it leads to other files, or is stored as Keras does not.
    """
    found = _listed(file, where)
    for kind, error in _ERRORS.items():
        if kind in found:
            raise error(f"{where}: {found[kind]}")
    datasets = {
        path: Dataset(**{**entry, "shape": tuple(entry["shape"])})
        for path, entry in found["datasets"].items()
    }
    for path, dataset in datasets.items():
        _check_extent(path, dataset, file.stat().st_size, where)
    return Contents(datasets, found["attributes"])


def _listed(file: Path, where: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", listing.__file__, str(file)],
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            # A pool of threads that nothing uses would take 40 MiB of what may be had.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise BadSource(f"{where}: damaged: HDF5 does not come to an end reading it") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BadSource(f"{where}: damaged: HDF5 itself fails on it ({name})")
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        raise BadSource(f"{where}: cannot be listed: {reason[:300]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check_extent(path: str, dataset: Dataset, file_size: int, where: str) -> None:
    if not dataset.nbytes:
        return
    if dataset.offset is None:
        raise BadSource(f"{where}: {path!r} of shape {dataset.shape} has no values in the file")
    if dataset.offset + dataset.nbytes > file_size:
        raise BadSource(
            f"{where}: damaged or cut short: {path!r} of shape {dataset.shape} claims "
            f"{dataset.nbytes:,} bytes at byte {dataset.offset:,}; the file has {file_size:,}"
        )

"""Parallel processes: how many cores there are, and the environment for one thread each."""

from __future__ import annotations

import os

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",  # PyTorch, and LiteRT as judge
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
"""Environment variables for one thread in a process; this also fixes the order of sums."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Holding processes that share the cores to a thread each."""

from __future__ import annotations

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",  # PyTorch, and LiteRT as judge
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
"""What their environment has for it; it also fixes the order of sums."""

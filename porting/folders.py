"""Where this package looks and writes unless it is told otherwise, below the current directory."""

from __future__ import annotations

from pathlib import Path

DOWNLOADED = Path("checkpoints/google")
EVALUATED = Path("checkpoints/evaluations")
"""Where evaluations keep what they have finished, by what they are of."""

PORTED = Path("checkpoints/ported")
REPORTED = Path("checkpoints/reports")
SYNTHETIC = Path("checkpoints/synthetic")

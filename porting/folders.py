"""Default folders for reading and writing, relative to the current directory."""

from __future__ import annotations

from pathlib import Path

DOWNLOADS = Path("checkpoints/google")
EVALUATIONS = Path("checkpoints/evaluations")
"""A folder for each evaluation, with its finished batches."""

EXPORTS = Path("checkpoints/exported")
PORTS = Path("checkpoints/ported")
RELEASES = Path("checkpoints/releases")
REPORTS = Path("checkpoints/reports")
SYNTHETIC = Path("checkpoints/synthetic")

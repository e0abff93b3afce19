"""Marks that tell a rehearsal's files from real ones."""

from __future__ import annotations

MARK = "rehearsal.json"
"""Lies in the folder made, beside the TFLite files and above the checkpoint."""

PREFIX = "rehearsal"
"""Begins the name of every file made, the description in a TFLite file and the scope of a
variable in a checkpoint, so that it is not taken for Google's, however it is renamed."""

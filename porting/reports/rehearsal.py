"""The output of ``porting rehearse``."""

from __future__ import annotations

from typing import Any

from porting.judges.reference.rehearse import Rehearsal
from porting.reports.terminal import print_lines


def summarise_rehearsal(rehearsal: Rehearsal) -> dict[str, Any]:
    """The outcome as plain data."""
    return {name: str(value) for name, value in vars(rehearsal).items()}


def print_rehearsal(data: dict[str, Any]) -> None:
    """Print it as text."""
    print_lines(list(data.items()))

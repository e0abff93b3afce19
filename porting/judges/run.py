"""What a judge gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

INPUT = "input"
"""The judge's tap for what the network proper gets, behind any normalisation in its graph."""


@dataclass(frozen=True)
class Run:
    """One run of a judge.

    ``taps`` maps a tap to its values: NHWC, batch first, or (N, C) where the
    judge has no spatial axes. ``judge`` and ``version`` say who ran it.
    ``steps`` gives, for a tap that the judge held in integers, how far two
    neighbouring ones lie apart in real units.
    """

    taps: Mapping[str, np.ndarray]
    judge: str
    version: str
    steps: Mapping[str, float] = field(default_factory=dict)

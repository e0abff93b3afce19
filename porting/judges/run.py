"""What a judge gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Run:
    """One run of a judge.

    ``taps`` maps a tap to its values: NHWC, batch first, or (N, C) where the
    judge has no spatial axes. ``judge`` and ``version`` say who ran it.
    """

    taps: Mapping[str, np.ndarray]
    judge: str
    version: str

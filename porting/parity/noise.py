"""The float32 noise of a tap, which is the tolerance of a comparison.

The port is run in float64, and in float32 in two orders: as it is, and with sums for
single places (spatial means, and the layers behind them) added term by term, as
TensorFlow's kernels do: over 28x28 places that costs twenty roundings where PyTorch's
tree of sums costs one. How far the float32 runs lie from the float64 one is the noise
of a tap in one input. A judge that computes the same function lies about as far;
:data:`FACTOR` is how many times farther it may lie. Where a tap lies beyond, the noise
is drawn again with every sum turned round, and once more with the input moved by one
rounding: more draws can only add to it, so what agrees need not be asked again.

Few numbers, or a plane of equal ones, are a small sample, and by chance all runs may
round to the same side; :func:`small_sample_factor` makes up for it. ``make bench`` prints what
real files need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FACTOR = 8.0

CEILING = 2e-4
"""Largest float32 noise, over a tap's scale, that can serve as a tolerance."""

DRAWS = 4096
"""Roundings of a small plane: from that many on, the largest of them is a reliable measure."""

EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Tolerance:
    """When a tap agrees: within ``factor`` times its noise, or a fixed tolerance.

    With ``atol`` or ``rtol``, 0 included, every element must be within ``atol +
    rtol * abs(judge)``, and the noise decides nothing. None: not given.
    """

    factor: float = FACTOR
    atol: float | None = None
    rtol: float | None = None

    @property
    def fixed(self) -> bool:
        """Whether a fixed tolerance was given."""
        return self.atol is not None or self.rtol is not None


def floor(scale: float) -> float:
    """The least noise that a tap of this scale can have: one rounding of its largest value."""
    return EPSILON * scale


def small_sample_factor(count: int) -> float:
    """How many times the largest of ``count`` draws that of ``DRAWS`` is expected to be.

    The largest of n normal draws grows as ``sqrt(2 log n)``: at a tap of four channels the noise
    seen is half of what a plane of the same roundings would show, and so is not to be trusted.
    """
    return math.sqrt(math.log(DRAWS) / math.log(max(count, 2))) if count < DRAWS else 1.0


def noise_of(exact: np.ndarray, *runs: np.ndarray) -> np.ndarray:
    """How far float32 runs (N, ...) lie from the float64 one at most, by input: (N,).

    NaN, infinities and what overflows in one precision alone say nothing of rounding and
    are left out; whether the sides agree on them is for the comparison to say.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        apart = [np.abs(exact - run).reshape(len(exact), -1).max(axis=1) for run in runs]
        noise = np.max(apart, axis=0)
        if not np.isfinite(noise).all():
            each = (np.abs(exact - run).reshape(len(exact), -1) for run in runs)
            finite = [np.where(np.isfinite(v), v, 0.0).max(axis=1) for v in each]
            noise = np.max(finite, axis=0)
    return np.asarray(noise * small_sample_factor(len(runs) * exact[0].size), np.float64)

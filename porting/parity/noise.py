"""How far float32 alone moves a tap: the yardstick of a comparison.

The port is run in float64, and twice in float32: as it is, and with its spatial
means summed one by one, as TensorFlow's kernels do (over 28x28 places that
costs twenty roundings where PyTorch's tree of sums costs one). How far the
float32 runs lie from the float64 one is the noise of a tap. A judge that
computes the same function lies about as far; :data:`FACTOR` is how many times
farther it may lie. ``make bench`` prints what real files need.
"""

from __future__ import annotations

import numpy as np

FACTOR = 8.0

EPSILON = float(np.finfo(np.float32).eps)


def floor(scale: float) -> float:
    """The least noise that a tap of this scale can have: one rounding of its largest value."""
    return EPSILON * scale

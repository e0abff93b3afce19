"""Affine quantisation as TFLite's kernels do it: ``real = scale * (stored - zero)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Affine:
    """One scale for a whole tensor; ``scale`` is the step between neighbours, in real units."""

    scale: float
    zero: int
    dtype: np.dtype[Any]

    def to_integers(self, real: np.ndarray) -> np.ndarray:
        """Real values as integers: halves go away from zero, what is beyond the type to its end.

        As ``AffineQuantize`` in tensorflow/lite/kernels/internal/reference/quantize.h.
        LiteRT's own kernel has lately sent halves to the even side; inputs that
        lie half way between two integers are few.
        """
        quotient = real.astype(np.float64) / self.scale
        whole = np.trunc(quotient)
        whole += np.sign(quotient) * (np.abs(quotient - whole) >= 0.5)
        limits = np.iinfo(self.dtype)
        return np.asarray(np.clip(whole + self.zero, limits.min, limits.max).astype(self.dtype))

    def to_real(self, integers: np.ndarray) -> np.ndarray:
        """Integers as the float32 numbers that they stand for."""
        steps = integers.astype(np.float64) - self.zero
        return np.asarray((steps * self.scale).astype(np.float32))


def affine_of(detail: Mapping[str, Any]) -> Affine | None:
    """How the interpreter says that a tensor is quantised; None where it is not, or per channel."""
    parameters, dtype = detail["quantization_parameters"], np.dtype(detail["dtype"])
    if parameters["scales"].size != 1 or not np.issubdtype(dtype, np.integer):
        return None
    zero = parameters["zero_points"]
    return Affine(float(parameters["scales"][0]), int(zero[0]) if zero.size else 0, dtype)

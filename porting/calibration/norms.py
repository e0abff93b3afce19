"""A batch norm that has statistics and adds a bias, nothing else: how it is rounded to float32.

With mean m, variance v and old bias b the parameters are running_mean m,
running_var v, weight sqrt(v + epsilon) and bias b + m, and the function stays
x + b. Each of the four has to be rounded, and rounded one by one they would
scale by 1 +- 6e-8 and shift by a rounding of m. The statistics are an estimate
and may be moved by far more than that, so they are moved to where the roundings
cancel: v + epsilon by up to 5e-4 of itself.
"""

from __future__ import annotations

import numpy as np

_CANDIDATES, _STEP = 256, 2.0**-20
"""Deviations tried for a channel, each this part larger than the one before: 2.4e-4 in all."""


def neutral_norm(
    mean: np.ndarray, variance: np.ndarray, bias: np.ndarray, epsilon: float
) -> dict[str, np.ndarray]:
    """Parameters by name, float32 (C,), of a batch norm with these statistics that gives x + bias.

    ``mean`` and ``variance`` are float64, ``bias`` float32, all (C,). A channel
    whose variance is 0 gets the weight sqrt(epsilon).
    """
    weight, kept_variance = _scale(variance, epsilon)
    kept_mean, new_bias = _shift(mean, bias)
    return {
        "weight": weight,
        "bias": new_bias,
        "running_mean": kept_mean,
        "running_var": kept_variance,
    }


def _shift(mean: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and new bias, (C,), whose difference is the old bias as nearly as can be.

    It is the old bias exactly unless the mean is the larger, whose float32 has
    no room for the last bits of a smaller number; then half of its last bit is lost.
    """
    grid = np.spacing(np.abs(bias)).astype(np.float64)
    tried = [mean, (bias + mean).astype(np.float32) - bias.astype(np.float64)]
    tried.append(np.round(mean / grid) * grid)
    means = np.stack(tried).astype(np.float32)  # (candidates, C)
    biases = (bias.astype(np.float64) + means).astype(np.float32)
    best = np.abs(biases.astype(np.float64) - means - bias).argmin(0)
    channels = np.arange(len(bias))
    return means[best, channels], biases[best, channels]


def _scale(variance: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight and variance, (C,), of which one undoes the other as nearly as can be."""
    steps = 1 + _STEP * np.arange(_CANDIDATES).reshape(-1, 1)  # (candidates, 1)
    weights = (np.sqrt(variance + epsilon) * steps).astype(np.float32)
    squares = np.square(weights.astype(np.float64))
    variances = np.maximum(squares - epsilon, 0).astype(np.float32)
    exact = weights / np.sqrt(variances.astype(np.float64) + epsilon)
    # As PyTorch computes it. A scale of exactly 1 there goes before all.
    single = weights * (1 / np.sqrt(variances + np.float32(epsilon)))
    best = (np.abs(exact - 1) + np.abs(single.astype(np.float64) - 1)).argmin(0)
    channels = np.arange(len(variance))
    return weights[best, channels], variances[best, channels]

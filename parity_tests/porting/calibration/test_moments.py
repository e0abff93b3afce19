"""Streaming statistics, against NumPy on everything at once."""

from __future__ import annotations

import numpy as np

from porting.calibration import Moments


def taken(batches):
    moments = Moments(batches[0].shape[1])
    for batch in batches:
        moments.update(batch)
    return moments


def test_equals_numpy_on_all_values_at_once():
    random = np.random.default_rng(0)
    scales = np.array([1e-3, 1.0, 50.0]).reshape(1, 3, 1, 1)
    batches = [
        (random.normal(size=(n, 3, side, side)) * scales + 7 * n).astype(np.float32)
        for n, side in ((1, 5), (4, 2), (2, 9), (1, 1))
    ]
    rows = [batch.transpose(1, 0, 2, 3).reshape(3, -1) for batch in batches]
    every = np.concatenate(rows, axis=1).astype(np.float64)  # (channels, values)
    moments = taken(batches)
    assert moments.count == every.shape[1]
    np.testing.assert_allclose(moments.mean, every.mean(1), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, every.var(1, ddof=1), rtol=1e-13)


def test_a_small_variance_beside_a_large_mean():
    """Sums of squares would lose it, even in float64, to 1e-4: it is 2e12 times smaller."""
    steps = np.random.default_rng(1).integers(-2, 3, (40, 1, 8, 8))
    values = (1e6 + steps).astype(np.float32)
    moments = taken(list(values[:, None]))
    np.testing.assert_allclose(moments.variance[0], steps.var(ddof=1), rtol=1e-10)


def test_what_does_not_vary_has_no_variance():
    moments = taken([np.full((2, 1, 3, 3), 0.1, np.float32)] * 5)
    assert moments.mean[0] == np.float64(np.float32(0.1))
    assert moments.variance[0] == 0


def test_a_single_value_has_none_either():
    assert taken([np.ones((1, 2, 1, 1), np.float32)]).variance.tolist() == [0, 0]

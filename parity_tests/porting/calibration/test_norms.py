"""Batch norms with statistics that only add a bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from porting.calibration import neutral_norm

CHANNELS = 500


def drawn(spread, seed=0):
    """Mean, variance and bias of channels whose deviations are about ``spread``; some are dead."""
    random = np.random.default_rng(seed)
    variance = np.square(spread * random.random(CHANNELS))
    variance[:20] = 0
    mean = random.normal(0, 3 * spread, CHANNELS)
    return mean, variance, random.normal(0, spread, CHANNELS).astype(np.float32)


def module(parameters, epsilon):
    norm = torch.nn.BatchNorm2d(CHANNELS, eps=epsilon)
    tensors = {name: torch.from_numpy(values) for name, values in parameters.items()}
    norm.load_state_dict(tensors, strict=False)
    return norm


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
@pytest.mark.parametrize("spread", [1e-4, 0.3, 1.0, 1e3])
def test_scale_and_shift_as_rounded_are_nothing(spread, epsilon):
    mean, variance, bias = drawn(spread)
    made = {n: v.astype(np.float64) for n, v in neutral_norm(mean, variance, bias, epsilon).items()}
    scale = made["weight"] / np.sqrt(made["running_var"] + epsilon)
    # Rounded separately, they would differ by 6e-8.
    assert np.abs(scale - 1).max() < 3e-8
    assert np.abs(scale - 1).mean() < 3e-9
    shift = made["bias"] - made["running_mean"] * scale - bias
    coarser = np.maximum(np.abs(made["bias"]), np.abs(made["running_mean"]))
    assert (np.abs(shift) <= 2.0**-24 * coarser + 3e-8 * np.abs(mean)).all()
    smaller = np.abs(mean) < np.abs(bias) / 2
    exact = made["bias"] - made["running_mean"] == bias
    assert exact[smaller].all()


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_the_statistics_are_those_given(epsilon):
    mean, variance, bias = drawn(1.0)
    made = neutral_norm(mean, variance, bias, epsilon)
    np.testing.assert_allclose(made["running_mean"], mean, atol=1e-6)
    np.testing.assert_allclose(made["running_var"] + epsilon, variance + epsilon, rtol=6e-4)
    assert (made["running_var"] >= 0).all()
    assert {values.dtype for values in made.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_torch_scales_by_exactly_one(epsilon):
    mean, variance, bias = drawn(1.0)
    made = neutral_norm(mean, variance, bias, epsilon)
    made["running_mean"], made["bias"] = np.zeros_like(bias), np.zeros_like(bias)
    x = torch.randn(2, CHANNELS, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(made, epsilon).eval()(x), x)


def test_dead_channels_stay_exact_in_both_modes_and_have_gradients():
    _, variance, bias = drawn(1.0)
    dead = variance == 0
    norm = module(neutral_norm(np.zeros(CHANNELS), variance, bias, 1e-3), 1e-3)
    x = torch.randn(4, CHANNELS, 5, 5, generator=torch.Generator().manual_seed(0))
    x[:, dead] = 0
    expected = torch.from_numpy(bias[dead]).reshape(1, -1, 1, 1).expand(4, -1, 5, 5)
    assert torch.equal(norm.eval()(x)[:, dead], expected)
    out = norm.train()(x)
    assert torch.equal(out[:, dead], expected)
    out.square().sum().backward()
    assert torch.isfinite(norm.weight.grad).all()
    assert (norm.bias.grad[torch.from_numpy(dead)] != 0).all()

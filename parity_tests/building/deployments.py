"""Deployed networks for tests, and how far they lie from the training form."""

from __future__ import annotations

import copy

import numpy as np
import torch

from genmobilenet import GenMobileNet, deploy
from parity_tests.genmobilenet.test_folded import drawn
from porting.parity.noise import FACTOR, floor, noise_of

SIDE = 64
SIZES = [(SIDE, SIDE), (65, 65), (63, 96), (66, 97)]


def pixels(batch, height=SIDE, width=SIDE, channels=3):
    """A batch of random images, the same for the same size."""
    generator = torch.Generator().manual_seed(height * width + batch)
    return torch.randn(batch, channels, height, width, generator=generator)


def small_pair():
    """A small network, and its deploy form at ``SIDE``."""
    model = drawn("tf_mnasnet_small")
    return model, deploy(model, SIDE)


def plainly(deployed, x):
    """A pass of plain PyTorch, also where engines would take it."""
    return GenMobileNet.forward(deployed, x)


def times_the_noise(model, found, x):
    """How many times float32's noise in ``model`` the logits ``found`` lie from the exact ones."""
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double()).numpy()
        runs = [model(x), model(x.contiguous(memory_format=torch.channels_last))]
    noise = noise_of(exact, *(run.double().numpy() for run in runs))
    apart = np.abs(found.double().numpy() - exact).reshape(len(x), -1).max(axis=1)
    return float((apart / np.maximum(noise, floor(np.abs(exact).max()))).max())


def assert_equal(model, deployed, x):
    """Logits within what float32 costs."""
    with torch.inference_mode():
        found = deployed(x)
    assert found.shape == (len(x), model.config.num_classes or model.num_features)
    assert times_the_noise(model, found, x) <= FACTOR

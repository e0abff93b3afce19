"""The purpose of calibration: a port whose training can continue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genmobilenet import create_model

STEPS, RATE = 10, 0.003


def loaded(ported):
    """The port as a user has it, without dropout, so that nothing is drawn."""
    model = create_model(ported.model, num_classes=ported.config.num_classes, drop_rate=0.0)
    model.load_state_dict(ported.state_dict)
    return model


def inputs(ported, images):
    """Images (N, H, W, C), 0..255, as the network takes them, (N, C, H, W)."""
    normalised = ported.convention.normalise(images).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(normalised))


def train_mode_distance(ported, images):
    """Distance of the logits in training mode from those in evaluation mode, over these."""
    model, x = loaded(ported), inputs(ported, images)
    with torch.no_grad():
        expected, actual = model.eval()(x), model.train()(x)
    return float((actual - expected).norm() / expected.norm())


def fine_tune(ported, images, labels):
    """Loss in evaluation mode before and after a few steps on these images."""
    model, x, y = loaded(ported), inputs(ported, images), torch.from_numpy(labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(model.eval()(x), y))

    before = loss()
    for _ in range(STEPS):
        optimiser.zero_grad()
        F.cross_entropy(model.train()(x), y).backward()
        optimiser.step()
    return before, loss()


def test_in_training_mode_the_outputs_stay(ports, images):
    """Identities are as far off as unrelated logits; half of the images are 0.1 to 0.3."""
    assert train_mode_distance(ports["calibrate"], images) < 0.02
    assert train_mode_distance(ports["calibrate"], images[:24]) < 0.5
    assert train_mode_distance(ports["identity"], images) > 0.7
    assert train_mode_distance(ports["identity"], images[:24]) > 0.7


def test_a_few_steps_lower_the_loss_when_calibrated_and_raise_it_when_not(ports, images, labels):
    """Six seeds of training gave 0.2 to 0.7 of the loss, and 2 to 75 times."""
    before, after = fine_tune(ports["calibrate"], images, labels)
    assert after < 0.8 * before
    same, worse = fine_tune(ports["identity"], images, labels)
    assert same == pytest.approx(before, rel=1e-3)  # it is the same function
    assert worse > 1.5 * same

"""Modules whose noise cannot serve as a tolerance are refused in one sentence."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import porting
from genmobilenet.factory import create_model
from parity_tests.faults.fault_kinds import Autocast
from porting.errors import BadInput
from porting.parity.compare import Comparer
from porting.parity.inputs import seeded_pixels
from porting.parity.soundness import reduced_precision

PIXELS = seeded_pixels(1, 64)


class Behind(nn.Module):
    """A module, and a function of what it gives."""

    def __init__(self, inner, function):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x):
        return self.function(self.inner(x))


def seeded_noise(x):
    generator = torch.Generator().manual_seed(3)
    return x + 1e-2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.fixture
def network(small):
    return create_model("tf_mnasnet_small", checkpoint_path=small[1]).eval()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: nn.functional.dropout(x, 0.2, True), "gives something else each time"),
        (lambda x: x + 1e-3 * torch.randn_like(x), "gives something else each time"),
        (seeded_noise, "its own float32 noise is"),
        (lambda x: x.bfloat16().to(x.dtype), "blocks.2.0.act1 are rounded to bfloat16"),
        (lambda x: x.half().to(x.dtype), "blocks.2.0.act1 are rounded to float16"),
    ],
)
def test_a_tap_that_is_not_float32_is_refused(small, network, function, reason):
    network.blocks[2][0].act1 = Behind(network.blocks[2][0].act1, function)
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert reason in comparison.unsound
    assert comparison.summary().endswith(f"it cannot be judged: {comparison.unsound}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_that_switches_autocast_on_is_refused(small, network, dtype):
    comparison = porting.compare(small[0], Autocast(network, dtype), PIXELS)
    assert not comparison
    assert f"switches autocast to {str(dtype)[6:]} on" in comparison.unsound


def test_autocast_around_a_comparison_does_not_reach_into_it(small, network):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert porting.compare(small[0], network, PIXELS)


def test_a_forward_that_fails_in_the_middle_is_named(small, network):
    network.blocks[2][0].act1 = Behind(network.blocks[2][0].act1, torch.Tensor.half)
    with pytest.raises(BadInput, match=r"its forward fails on torch.float32 inputs"):
        porting.compare(small[0], network, PIXELS)


def test_values_that_are_exact_on_both_sides_are_no_rounding():
    whole = {"tap": torch.arange(200, dtype=torch.float32)}
    assert reduced_precision(whole, whole) is None
    real = {"tap": torch.randn(200)}
    assert reduced_precision(whole, real) == "all values of tap are rounded to bfloat16"
    assert reduced_precision(real, whole) is None


def test_what_an_activation_cuts_off_does_not_count():
    values = torch.tensor([0.0] * 50 + [6.0] * 50 + [1.5] * 10)
    assert reduced_precision({"tap": values}, {"tap": torch.randn(110)}) is None


def test_the_network_is_left_as_it_was(small, network):
    before = copy.deepcopy(network.state_dict())
    assert porting.compare(small[0], network, PIXELS)
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


@pytest.mark.parametrize(("tap", "unsound"), [("block.se.gate", False), ("block.se", True)])
def test_noise_before_a_gate_is_not_the_gates_own(tap, unsound):
    # A gate ends at 1, whatever the scale of its argument; its pieces tell its own noise.
    comparer = Comparer({tap: "judge's"}, ("accumulated", "dense"))
    values, quiet = {tap: np.ones((1, 4, 1, 1), "f4")}, {tap: np.full(1, 1e-6)}
    comparer.add("accumulated", values, values, {tap: np.full(1, 1e-3)})
    comparer.add("dense", values, values, quiet)
    assert (comparer.finish("judge", "1.0").unsound is not None) is unsound
    loud = Comparer({tap: "judge's"}, ("accumulated", "dense"))
    loud.add("accumulated", values, values, quiet)
    loud.add("dense", values, values, {tap: np.full(1, 1e-3)})
    assert loud.finish("judge", "1.0").unsound is not None

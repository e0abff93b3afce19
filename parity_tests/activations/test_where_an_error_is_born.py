"""A fault in one layer: the isolated reading names that layer first."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import porting
from genmobilenet import create_model, get_config
from genmobilenet.factory import build
from parity_tests.building.tflite_networks import network_file
from porting.carry_out import carry_out
from porting.mapping.recognise import find_match
from porting.parity.inputs import seeded_pixels
from porting.sources import open_source

# Strong contrast, so that activations reach beyond 6 in every block.
PIXELS = seeded_pixels(2, 64).astype(np.float32) * 4
BLOCKS = {"first": "blocks.1.0", "middle": "blocks.3.0", "last": "blocks.5.0"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("activations") / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4))
    source = open_source(path)
    match = find_match(source, None)
    return source, build(match.config, carry_out(match.plan, source, match.config))


@pytest.fixture
def model(small):
    return copy.deepcopy(small[1])


def scale_kernel(block):
    with torch.no_grad():
        block.conv_dw.weight.mul_(1.001)
    return "act2"


def swap_channels(block):
    with torch.no_grad():
        block.conv_pwl.weight[[0, 1]] = block.conv_pwl.weight[[1, 0]]
    return "bn3"


def pad_symmetrically(block):
    """This differs from SAME only at stride 2."""
    conv = block.conv_dw
    assert conv.stride == (2, 2)
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,
                      (conv.kernel_size[0] - 1) // 2, groups=conv.groups, bias=False)  # fmt: skip
    plain.weight = conv.weight
    block.conv_dw = plain
    return "act2"


def small_epsilon(block):
    block.bn1.eps = 1e-5
    return "act1"


def relu6(block):
    block.act1 = nn.ReLU6()
    return "act1"


FAULTS = (scale_kernel, swap_channels, pad_symmetrically, small_epsilon, relu6)


@pytest.mark.parametrize("place", BLOCKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_isolated_reading_names_the_layer(small, model, fault, place):
    path = BLOCKS[place]
    tap = f"{path}.{fault(model.get_submodule(path))}"
    comparison = porting.compare(small[0], model, PIXELS)
    assert not comparison
    assert comparison.culprit.tap == tap
    isolated = [t.tap for t in comparison.taps if not t.isolated.agrees]
    assert isolated == [tap]
    # From there on the accumulated reading fails too, and does not locate the fault.
    accumulated = [t.tap for t in comparison.taps if not t.accumulated.agrees]
    assert accumulated[0] == tap
    assert len(accumulated) > 3
    assert f"born at {tap} (" in comparison.summary()


@pytest.mark.parametrize("place", BLOCKS.values())
def test_a_fault_below_the_noise_is_none(small, model, place):
    weight = model.get_submodule(place).conv_pw.weight
    with torch.no_grad():
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    assert porting.compare(small[0], model, PIXELS)


def test_a_fault_that_the_accumulated_reading_alone_would_not_place(small, model):
    """Two faults: in isolation both show, each in its own place."""
    scale_kernel(model.blocks[2][1])
    scale_kernel(model.blocks[5][1])
    comparison = porting.compare(small[0], model, PIXELS)
    isolated = [t.tap for t in comparison.taps if not t.isolated.agrees]
    assert isolated == ["blocks.2.1.act2", "blocks.5.1.act2"]


def test_modes_take_one_reading(small, model):
    for mode, other in (("accumulated", "isolated"), ("isolated", "accumulated")):
        comparison = porting.compare(small[0], model, PIXELS, mode=mode)
        assert comparison
        for tap in comparison.taps:
            assert getattr(tap, mode) is not None
            assert getattr(tap, other) is None


def test_the_model_is_left_as_it_was(small, model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    porting.compare(small[0], model, PIXELS)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.act1.inplace
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_shows_what_rounding_the_weights_costs(small, model):
    comparison = porting.compare(small[0], model.half(), PIXELS)
    assert not comparison
    assert comparison["classifier"].figures.relative < 0.05


@pytest.mark.parametrize("mode", ["both", "isolated"])
def test_a_plain_network_is_off_from_the_stem_on(small, mode):
    """Symmetric padding and epsilon 1e-5 under the same weights."""
    plain = create_model("mnasnet_small")
    plain.load_state_dict(small[1].state_dict())
    comparison = porting.compare(small[0], plain, PIXELS, name="mnasnet_small", mode=mode)
    assert comparison.culprit.tap == "act1"


class OwnGate(nn.Module):
    """Squeeze-excite whose gate comes from a function: nothing takes its result in alone."""

    def __init__(self, ours):
        super().__init__()
        self.reduce, self.expand = ours.conv_reduce, ours.conv_expand

    def forward(self, x):
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class OwnBlock(nn.Module):
    """A block with functional activations and an in-place sum."""

    def __init__(self, ours, function_gate):
        super().__init__()
        pairs = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        if not hasattr(ours, "conv_pwl"):
            pairs = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        self.steps = nn.ModuleList(
            nn.Sequential(*(getattr(ours, name) for name in pair)) for pair in pairs
        )
        squeezes = function_gate and not isinstance(ours.se, nn.Identity)
        self.attention = OwnGate(ours.se) if squeezes else ours.se
        self.residual = ours.residual

    def forward(self, x):
        shortcut = x
        for step in self.steps[:-1]:
            x = F.relu_(step(x))
        x = self.steps[-1](self.attention(x))
        if self.residual:
            x += shortcut
        return x


class Renamed(nn.Module):
    """The small network as another author would write it."""

    def __init__(self, ours, function_gate=False):
        super().__init__()
        self.stem = nn.Sequential(ours.conv_stem, ours.bn1)
        blocks = (block for stage in ours.blocks for block in stage)
        self.body = nn.ModuleList(OwnBlock(block, function_gate) for block in blocks)
        self.top = nn.Sequential(ours.conv_head, ours.bn2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), ours.classifier

    def forward(self, x):
        x = F.relu_(self.stem(x))
        for block in self.body:
            x = block(x)
        return self.fc(self.pool(F.relu(self.top(x))).flatten(1))


def own_network(small, function_gate=False):
    return Renamed(copy.deepcopy(small[1]), function_gate).eval()


def test_somebody_elses_module_is_matched_by_order_and_shape(small):
    comparison = porting.compare(small[0], own_network(small), PIXELS)
    assert comparison, comparison.summary()
    assert len(comparison.taps) == len(porting.compare(small[0], small[1], PIXELS).taps)
    assert "stem.1" in comparison.taps[0].tap or ":input" in comparison.taps[0].tap


def test_a_fault_in_somebody_elses_module_is_placed(small):
    network = own_network(small)
    with torch.no_grad():
        network.body[7].steps[1][0].weight.mul_(1.001)
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert (
        comparison.culprit.judge_name
        == porting.compare(small[0], small[1], PIXELS)["blocks.3.3.act2"].judge_name
    )


class Deciding(Renamed):
    """A module whose structure depends on the values of its input."""

    def forward(self, x):
        return super().forward(x) if float(x.abs().sum()) >= 0 else x


def test_a_tap_without_a_counterpart_counts(small):
    network = Deciding(copy.deepcopy(small[1]), True).eval()
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert all(tap.agrees for tap in comparison.taps)
    assert len(comparison.unmatched) == 10
    assert "10 taps have no counterpart" in comparison.summary()


def test_where_the_structure_is_the_sources_it_is_left_out(small):
    comparison = porting.compare(small[0], own_network(small, function_gate=True), PIXELS)
    assert comparison, comparison.summary()
    assert not comparison.unmatched
    assert len(comparison.not_comparable) == 10

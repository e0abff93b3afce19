"""Five faults, each in the first, a middle and the last block: the isolated reading names it.

On a network with the architecture of MNASNet-B1 at 0.35 and its file's weights made up, and on
Google's own files.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import porting
from genmobilenet import get_config
from genmobilenet.factory import build
from genmobilenet.layers import same_padding
from parity_tests.building.tflite_networks import network_file
from porting.parity.inputs import seeded_pixels

BLOCKS = ("first", "middle", "last")
FILES = ("mnasnet-b1/mnasnet-b1_float.tflite", "mnasnet-a1-050/mnasnet-a1_float.tflite")


def block_of(model, place):
    """The first, a middle and the last block; the middle one has stride 2."""
    blocks = {"first": model.blocks[0][0], "middle": model.blocks[3][0], "last": model.blocks[6][0]}
    path = {"first": "blocks.0.0", "middle": "blocks.3.0", "last": "blocks.6.0"}[place]
    return path, blocks[place]


def names(block):
    """Taps after the depthwise and the last pointwise convolution."""
    expanded = hasattr(block, "conv_pwl")
    return ("act2", "bn3") if expanded else ("act1", "bn2")


def scale_kernel(block):
    with torch.no_grad():
        block.conv_dw.weight.mul_(1.001)
    return names(block)[0]


def swap_channels(block):
    conv = block.conv_pwl if hasattr(block, "conv_pwl") else block.conv_pw
    with torch.no_grad():
        conv.weight[[0, 1]] = conv.weight[[1, 0]]
    return names(block)[1]


class ShiftedConv(nn.Module):
    """A depthwise convolution whose padding does not follow SAME.

    At stride 2 it is symmetric where SAME is not; at stride 1 the two are one,
    and the odd fault is a padding that leans by one place.
    """

    def __init__(self, conv):
        super().__init__()
        self.weight, self.kernel, self.stride = conv.weight, conv.kernel_size[0], conv.stride[0]

    def forward(self, x):
        k, s = self.kernel, self.stride
        total = same_padding(x.shape[2], k, s, 1)
        before = (k - 1) // 2 if s == 2 else total // 2 + 1
        after = max(total + 1, k - 1) - before if s == 2 else total - before
        x = nn.functional.pad(x, [before, after, before, after])
        return nn.functional.conv2d(x, self.weight, None, s, 0, 1, x.shape[1])


def pad_otherwise(block):
    block.conv_dw = ShiftedConv(block.conv_dw)
    return names(block)[0]


def small_epsilon(block):
    """Change the epsilon; in a file with folded batch norms the variance is one minus it."""
    block.bn1.eps = 1e-5
    return "act1"


def relu6(block):
    block.act1 = nn.ReLU6()
    return "act1"


FAULTS = (scale_kernel, swap_channels, pad_otherwise, small_epsilon, relu6)


@pytest.fixture(scope="module")
def ported(request, tmp_path_factory):
    if request.param == "made up":
        path = tmp_path_factory.mktemp("faults") / "b1.tflite"
        path.write_bytes(network_file(get_config("tf_mnasnet_035"), seed=4, size=96))
    else:
        path = request.getfixturevalue("artifacts") / request.param
    port = porting.port(path, verify=False)
    return porting.open_source(path), build(port.config, port.state_dict), port.convention.size


SOURCES = ("made up", *(pytest.param(file, marks=pytest.mark.slow) for file in FILES))
EVERY = [
    (source, fault, place) for source in ("made up", *FILES) for fault in FAULTS for place in BLOCKS
]
# In each of Google's files every fault once, in another block than in the other file.
SAMPLE = [
    (source, fault, place)
    for source, fault, place in EVERY
    if source == "made up"
    or (FAULTS.index(fault) + FILES.index(source) - BLOCKS.index(place)) % len(BLOCKS) == 0
]
CASES = [
    pytest.param(
        *case,
        marks=[
            *[pytest.mark.slow] * (case[0] in FILES), *[pytest.mark.thorough] * (case not in SAMPLE)
        ],
        id=f"{case[0]}-{case[1].__name__}-{case[2]}",
    )
    for case in EVERY
]  # fmt: skip


@pytest.mark.parametrize(("ported", "fault", "place"), CASES, indirect=["ported"])
def test_the_fault_is_named_first(ported, fault, place):
    source, network, size = ported
    model = copy.deepcopy(network)
    path, block = block_of(model, place)
    tap = f"{path}.{fault(block)}"
    comparison = porting.compare(source, model, seeded_pixels(1, size))
    assert not comparison
    assert comparison.culprit.tap == tap
    assert [t.tap for t in comparison.taps if t.is_origin] == [tap]
    assert f"born at {tap} (" in comparison.summary()


@pytest.mark.parametrize("place", BLOCKS)
@pytest.mark.parametrize("ported", SOURCES, indirect=True)
def test_a_fault_below_the_noise_is_not_reported(ported, place):
    source, network, size = ported
    model = copy.deepcopy(network)
    weight = block_of(model, place)[1].conv_pw.weight
    with torch.no_grad():
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    assert porting.compare(source, model, seeded_pixels(1, size))

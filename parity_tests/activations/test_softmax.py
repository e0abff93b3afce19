"""A judge with a softmax, compared with networks without one, with one, or with fewer classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

import porting
from genmobilenet import get_config
from genmobilenet.factory import build
from parity_tests.building.tflite_networks import network_file
from porting.parity.inputs import seeded_pixels

PIXELS = seeded_pixels(2, 64)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    config = replace(get_config("tf_mnasnet_small"), num_classes=1001)
    path = tmp_path_factory.mktemp("softmax") / "small.tflite"
    path.write_bytes(network_file(config, seed=4, softmax=True))
    return path


class Wrapped(nn.Module):
    """A user-defined module around a network."""

    def __init__(self, network, own_softmax=False):
        super().__init__()
        self.network = network
        if own_softmax:
            self.softmax = nn.Softmax(-1)

    def forward(self, x):
        logits = self.network(x)
        return self.softmax(logits) if hasattr(self, "softmax") else logits


@pytest.fixture(scope="module")
def network(source):
    port = porting.port(source, verify=False)
    return build(port.config, port.state_dict)


@pytest.mark.parametrize("own_softmax", [False, True])
def test_a_module_of_ones_own_is_compared_to_the_softmax(source, network, own_softmax):
    comparison = porting.compare(source, Wrapped(network, own_softmax), PIXELS)
    assert comparison, comparison.summary()
    assert comparison.taps[-1].tap == "softmax"
    assert comparison.unmatched == ()


def test_a_softmax_over_other_classes_is_said_to_be_left_out(source):
    port = porting.port(source, classes="drop-background", verify=False)
    comparison = porting.compare(source, build(port.config, port.state_dict), PIXELS)
    assert comparison
    assert comparison.taps[-1].tap == "classifier"
    [(name, reason)] = comparison.not_comparable.items()
    assert name
    assert "background class is dropped" in reason

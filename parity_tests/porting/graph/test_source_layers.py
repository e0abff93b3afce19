"""Layers as exporters write them: numbers a channel, multiplied channels, one layer used twice."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

import porting
from parity_tests.building.frozen_graphs import classified, frozen, seeded
from parity_tests.building.small_modules import Middle
from parity_tests.building.tflite_files import convolution_options
from porting.errors import MappingError

VECTORS = [(8,), (1, 8), (1, 1, 8), (1, 1, 1, 8)]


needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


@pytest.mark.parametrize("shape", VECTORS)
def test_a_batch_norm_spelled_out_behind_a_bias(graph, ported, shape):
    x = graph.conv(graph.start, "conv", 8)
    x = graph.by_vector("MUL", x, shape, "scale")
    x = graph.by_vector("ADD", x, shape, "shift")
    port = ported(graph.classified(x), Middle(nn.BatchNorm2d(8)))
    assert port.comparison, port.comparison.summary()
    weights = graph.weights
    state = port.state_dict
    np.testing.assert_array_equal(state["function.weight"], weights["scale/vector"].ravel())
    np.testing.assert_array_equal(state["function.bias"], weights["shift/vector"].ravel())
    np.testing.assert_array_equal(state["conv.bias"], weights["conv/bias"])


def test_a_bias_that_is_computed_is_no_stored_one(graph, ported):
    x = graph.conv(graph.start, "conv", 8)
    graph.file.graph.operators[-1].inputs[2] = graph.image
    with pytest.raises(MappingError, match="missing tensor image in the source"):
        ported(graph.classified(x), Middle(nn.Identity()), verify=False)


class Bare(Middle):
    """A convolution without a bias, whose batch norm must take the source's in."""

    def __init__(self, function):
        super().__init__(function)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)


@pytest.mark.parametrize("kinds", [("MUL",), ("ADD",), ("MUL", "ADD")])
@pytest.mark.parametrize("shape", [(8,), (1, 1, 1, 8)])
def test_a_bias_before_a_spelled_out_batch_norm_is_its_mean_turned_round(
    graph, ported, shape, kinds
):
    x = graph.conv(graph.start, "conv", 8)
    for kind in kinds:
        x = graph.by_vector(kind, x, shape, kind)
    port = ported(graph.classified(x), Bare(nn.BatchNorm2d(8)))
    assert port.comparison, port.comparison.summary()
    np.testing.assert_array_equal(
        port.state_dict["function.running_mean"], -graph.weights["conv/bias"]
    )


@needs_tensorflow
@pytest.mark.parametrize("shape", VECTORS)
def test_a_bias_and_a_batch_norm_of_a_frozen_graph(tmp_path, shape):
    def build(tf, x):
        x = tf.nn.conv2d(x, seeded(3, 3, 3, 8), 1, "SAME") + seeded(*shape)
        classified(tf, tf.nn.relu(x * seeded(*shape, seed=1) + seeded(*shape, seed=2)))

    path = frozen(tmp_path / "graph.pb", build)
    port = porting.port(path, onto=Bare(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())))
    assert port.comparison, port.comparison.summary()
    np.testing.assert_array_equal(
        port.state_dict["function.0.running_mean"], -seeded(*shape).ravel()
    )


@needs_tensorflow
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_a_depthwise_kernel_that_multiplies_channels(tmp_path, multiplier):
    def build(tf, x):
        x = tf.nn.conv2d(x, seeded(3, 3, 3, 8), 1, "SAME") + seeded(8)
        kernel = seeded(3, 3, 8, multiplier)
        x = tf.nn.depthwise_conv2d(x, kernel, (1, 2, 2, 1), "SAME")
        classified(tf, tf.nn.relu6(x + seeded(8 * multiplier)))

    path = frozen(tmp_path / "graph.pb", build, (None, 33, 33, 3))
    channels = 8 * multiplier
    function = nn.Sequential(nn.Conv2d(8, channels, 3, 2, 1, groups=8), nn.ReLU6())
    port = porting.port(path, onto=Middle(function, features=channels))
    assert port.comparison, port.comparison.summary()
    weights, stored = port.state_dict["function.0.weight"], seeded(3, 3, 8, multiplier)
    for channel, k in ((0, 0), (5, multiplier - 1)):
        np.testing.assert_array_equal(
            weights[channel * multiplier + k, 0], stored[:, :, channel, k]
        )


def applied_twice(graph, tensors, end="ADD"):
    """One convolution, whose constants two operators take, applied to each of two tensors."""
    constants = [graph.constant("kernel", (8, 3, 3, 3)), graph.constant("bias", (8,))]
    results = []
    for name, tensor in zip(("first", "second"), tensors, strict=True):
        output = graph.file.tensor(name, [1, 32, 32, 8])
        graph.file.operator("CONV_2D", [tensor, *constants], output, convolution_options())
        results.append(graph.alone("RELU", (output, 32, 8), f"{name}/relu"))
    return graph.joined(end, *results, "both")


class Siamese(Middle):
    """The sum of one branch with itself, as one value or computed twice."""

    def __init__(self, twice):
        super().__init__(nn.ReLU())
        self.twice = twice

    def forward(self, x):
        branches = [self.function(self.conv(x)) for _ in range(1 + self.twice)]
        return self.last((branches[0] + branches[-1]).mean((2, 3)))


@pytest.mark.parametrize("twice", [False, True])
def test_a_layer_that_is_applied_twice_to_one_value_is_one_layer(graph, ported, twice):
    x = applied_twice(graph, [graph.image, graph.image])
    port = ported(graph.classified(x), Siamese(twice))
    assert port.comparison, port.comparison.summary()
    np.testing.assert_array_equal(port.state_dict["conv.bias"], graph.weights["bias"])


def test_a_layer_that_is_applied_to_two_values_is_named(graph, ported):
    other = graph.by_number("MUL", graph.start, 2, "doubled")
    x = applied_twice(graph, [graph.image, graph.alone("RELU", other, "positive")[0]])
    with pytest.raises(MappingError) as raised:
        ported(graph.classified(x), Siamese(twice=True), verify=False)
    message = str(raised.value)
    assert (
        "the weight 'kernel' is in two layers, operator" in message and "CONV_2D 'first'" in message
    )
    assert "CONV_2D 'second'" in message and "cannot be ported" in message


@needs_tensorflow
def test_a_network_that_a_frozen_graph_computes_twice(tmp_path):
    kernels = seeded(3, 3, 3, 8), seeded(1, 1, 8, 8)

    def build(tf, image):
        stored = [tf.constant(kernel) for kernel in kernels]
        branches = []
        for _ in range(2):
            x = tf.nn.relu(tf.nn.conv2d(image, stored[0], 1, "SAME"))
            branches.append(tf.nn.relu6(tf.nn.conv2d(x, stored[1], 1, "SAME")))
        classified(tf, tf.add_n(branches))

    class Once(Middle):
        def __init__(self):
            super().__init__(nn.Conv2d(8, 8, 1, bias=False))
            self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

        def forward(self, x):
            x = torch.clamp(self.function(torch.relu(self.conv(x))), 0, 6)
            return self.last((x + x).mean((2, 3)))

    port = porting.port(frozen(tmp_path / "graph.pb", build), onto=Once())
    assert port.comparison, port.comparison.summary()

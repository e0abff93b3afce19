"""Operands and options that change what a source's operators compute, and some that do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from parity_tests.building.small_graphs import SmallGraph
from parity_tests.building.small_modules import Middle
from parity_tests.building.tflite_files import convolution_options
from porting.graph.from_source import graph_of_source
from porting.graph.match import GraphMismatch
from porting.sources import open_source
from porting.sources.source import Graph, Operator, Source, TensorInfo


class Joined(nn.Module):
    """Data beside a constant."""

    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.zeros(1, 8, 32, 32))

    def forward(self, x):
        return torch.cat([x, self.constant], 1)


@pytest.fixture
def nodes(tmp_path):
    """Kind and facts of each node of a file's canonical graph."""

    def read(content):
        path = tmp_path / "graph.tflite"
        path.write_bytes(content)
        graph = graph_of_source(open_source(path), 3).graph
        return [(node.kind, node.facts) for node in graph.nodes()]

    return read


def with_constant(graph, first=False):
    x = graph.conv(graph.start, "conv", 8)
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    operands = [x[0], graph.constant("constant", (1, 32, 32, 8))]
    joined = graph.file.tensor("joined", [1, 32, 32, 16])
    graph.file.operator("CONCATENATION", operands[:: -1 if first else 1], joined, options)
    return graph.classified((joined, 32, 16))


@pytest.mark.parametrize("first", [False, True])
def test_data_joined_with_a_constant_is_not_data_alone(graph, ported, nodes, first):
    content = with_constant(graph, first)
    assert ("concatenation", ("channels",)) not in nodes(content)
    with pytest.raises(GraphMismatch, match="CONCATENATION 'joined'"):
        ported(content, Middle(Joined(), features=16), verify=False)


def flattened_by_a_computed_shape(graph):
    x = graph.conv(graph.start, "conv", 4)
    shape = graph.file.tensor("shape", [4], "int32")
    graph.file.operator("SHAPE", [x[0]], shape)
    places = graph.file.tensor("places", [2], "int32")
    graph.file.operator("CUSTOM", [shape], places)
    flat = graph.file.tensor("flat", [1, 4096])
    graph.file.operator("RESHAPE", [x[0], places], flat, schema.ReshapeOptionsT())
    end = graph.file.tensor("logits", [1, 5])
    operands = [flat, graph.constant("dense/kernel", (5, 4096)), graph.constant("dense/bias", (5,))]
    graph.file.operator("FULLY_CONNECTED", operands, end, schema.FullyConnectedOptionsT())
    return graph.file.finish([graph.image], [end])


def test_a_shape_that_is_computed_from_data_is_no_data(ported):
    content = flattened_by_a_computed_shape(SmallGraph())
    module = Middle(lambda x: x.permute(0, 2, 3, 1).flatten(1), 4, 4096)
    assert ported(content, module, verify=False).plan.fills


def test_an_operator_whose_first_operand_is_no_data(graph, nodes):
    x = graph.conv(graph.start, "conv", 8)
    flat = graph.file.tensor("flat", [1, 1])
    constant = graph.constant("constant", (1, 1, 1, 1))
    graph.file.operator("RESHAPE", [constant, x[0]], flat, schema.ReshapeOptionsT())
    assert nodes(graph.file.finish([graph.image], [flat]))[-1][0] == "RESHAPE"


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_softmax_by_another_beta_is_another_function(graph, ported, beta):
    x = graph.conv(graph.start, "conv", 8)
    content = graph.classified(x, softmax=True)
    graph.file.graph.operators[-1].builtinOptions.beta = beta
    content = graph.file.finish([graph.image], [len(graph.file.graph.tensors) - 1])
    module = nn.Sequential(Middle(nn.Identity()), nn.Softmax(1))
    if beta == 1:
        assert ported(content, module).comparison
        return
    with pytest.raises(GraphMismatch, match=r"SOFTMAX 'softmax' \(softmax with beta 0.5\)"):
        ported(content, module, verify=False)


@pytest.mark.parametrize("groups", [2, 8])
def test_a_convolution_in_groups(graph, ported, groups):
    x = graph.conv(graph.start, "conv", 8)
    operands = [
        x[0],
        graph.constant("grouped/kernel", (8, 3, 3, 8 // groups)),
        graph.constant("grouped/bias", (8,)),
    ]
    grouped = graph.file.tensor("grouped", [1, 32, 32, 8])
    graph.file.operator("CONV_2D", operands, grouped, convolution_options())
    module = Middle(nn.Conv2d(8, 8, 3, padding=1, groups=groups))
    port = ported(graph.classified((grouped, 32, 8)), module)
    assert port.comparison, port.comparison.summary()


@pytest.mark.parametrize("fused", [False, True])
def test_a_clamp_at_one_either_way(graph, ported, fused):
    x = graph.conv(graph.start, "conv", 8)
    if fused:
        graph.file.graph.operators[-1].builtinOptions.fusedActivationFunction = 2
    else:
        x = graph.alone("RELU_N1_TO_1", x, "clamped")
    port = ported(graph.classified(x), Middle(nn.Hardtanh()))
    assert port.comparison, port.comparison.summary()


def test_data_without_a_known_shape_is_not_taken_for_a_single_place(graph, nodes):
    x = graph.conv(graph.start, "conv", 8)
    x = graph.conv(x, "second", 8, kernel=1)
    y = graph.alone("RELU", x, "clamped")
    turned = graph.file.tensor("turned", [])
    graph.file.operator("RESHAPE", [y[0]], turned, schema.ReshapeOptionsT())
    for tensor in graph.file.graph.tensors:
        if tensor.name in (b"conv", b"clamped", "conv", "clamped"):
            tensor.shape = np.array([], np.int32)
    kinds = [kind for kind, _ in nodes(graph.file.finish([graph.image], [turned]))]
    assert kinds == ["input", "conv", "conv", "relu", "RESHAPE"]


def test_a_dense_layer_does_not_take_in_a_pad(graph, nodes):
    amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    padded = graph.file.tensor("padded", [1, 34, 34, 3])
    stored = graph.file.tensor("amounts", [4, 2], "int32", amounts)
    graph.file.operator("PAD", [graph.image, stored], padded)
    end = graph.file.tensor("logits", [1, 34, 34, 5])
    operands = [padded, graph.constant("kernel", (5, 3)), graph.constant("bias", (5,))]
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    graph.file.operator("FULLY_CONNECTED", operands, end, options)
    assert [kind for kind, _ in nodes(graph.file.finish([graph.image], [end]))] == [
        "input", "pad", "conv",
    ]  # fmt: skip


class Pooled(Source):
    """One pooling, as TensorFlow may pad it."""

    format, files, tensors, path = "pooled", (), {}, "pooled"

    def __init__(self, padding, sides):
        options = dict.fromkeys(("filter_h", "filter_w"), 3)
        options |= dict.fromkeys(("stride_h", "stride_w"), 1)
        options["padding"] = padding
        self.graph = Graph((Operator(0, "MAX_POOL_2D", ("x",), ("y",), options),), ("x",), ("y",))
        self._sides = sides

    @property
    def activations(self):
        shapes = dict.fromkeys(("x", "y"), (1, *self._sides, 8))
        return {name: TensorInfo(name, shape, "float32", "") for name, shape in shapes.items()}

    def read(self, name):
        raise KeyError(name)


@pytest.mark.parametrize(
    ("padding", "sides", "pads"),
    [
        ("VALID", (8, 8), "rows (0, 0), columns (0, 0)"),
        ("SAME", (8, 8), "rows (1, 1), columns (1, 1)"),
        ("SAME", (-1, -1), "rows (1, 1), columns (1, 1)"),
        ("EXPLICIT", (8, 8), "None"),
    ],
)
def test_how_a_pooling_pads(padding, sides, pads):
    graph = graph_of_source(Pooled(padding, sides), 8).graph
    assert str(graph.output.facts[2]) == pads

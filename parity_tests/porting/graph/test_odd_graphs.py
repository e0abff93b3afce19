"""Operators without the operands they need, and graphs without proper inputs and outputs."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import porting
from genmobilenet import get_config
from parity_tests.building.limits import within
from parity_tests.building.mutations import packed, with_kind
from parity_tests.building.tflite_networks import NetworkFile
from parity_tests.building.tflite_variants import AveragePools, Padded
from porting.errors import MappingError
from porting.graph.from_source import graph_of_source
from porting.sources.source import Graph, Operator, Source, TensorInfo

MODEL = "tf_mnasnet_small"


@pytest.fixture
def refused(tmp_path):
    """The message over a network's file that ``spoil`` has changed."""

    def refuse(spoil, kind=NetworkFile, model=MODEL):
        file = kind(get_config(model))
        file.build()
        graph = file.file.model.subgraphs[0]
        spoil(graph, file)
        path = tmp_path / "model.tflite"
        path.write_bytes(packed(file.file.model))
        with within(mebibytes=256, seconds=20), pytest.raises(MappingError) as error_info:
            porting.port(path, model, verify=False)
        return str(error_info.value)

    return refuse


def first(file, kind):
    """The first operator of a kind."""
    number = getattr(schema.BuiltinOperator, kind)
    codes = [max(c.deprecatedBuiltinCode, c.builtinCode) for c in file.file.model.operatorCodes]
    operators = file.file.graph.operators
    return next(op for op in operators if codes[op.opcodeIndex] == number)


@pytest.mark.parametrize("given", [1, 0])
@pytest.mark.parametrize(
    ("kind", "network", "found"),
    [
        ("CONV_2D", NetworkFile, "operator 0 CONV_2D 'stem/out'"),
        ("DEPTHWISE_CONV_2D", NetworkFile, "operator 1 DEPTHWISE_CONV_2D 'block_0/dw/out'"),
        ("FULLY_CONNECTED", NetworkFile, "FULLY_CONNECTED 'logits'"),
        ("MEAN", NetworkFile, "operator 15 MEAN 'block_4/se/mean'"),
        ("ADD", NetworkFile, "operator 12 ADD 'block_3/sum'"),
        ("PAD", Padded, "operator 0 PAD 'stem/padded'"),
    ],
)
def test_operands_that_are_missing_or_left_out(refused, kind, network, found, given):
    def spoil(_graph, file):
        operator = first(file, kind)
        operator.inputs = [operator.inputs[0]] if given else [operator.inputs[0], -1]

    message = refused(spoil, network)
    assert "after" in message and "layers in agreement" in message
    assert found in message


def test_an_operator_of_nothing_but_what_is_left_out(refused):
    def spoil(_graph, file):
        first(file, "MEAN").inputs = [-1, -1]

    assert "(mean over height and width)" in refused(spoil)


def test_a_pool_over_a_tensor_without_a_shape(refused):
    def spoil(graph, file):
        graph.tensors[first(file, "AVERAGE_POOL_2D").inputs[0]].shape = []

    assert "AVERAGE_POOL_2D 'block_4/se/mean/pool'" in refused(spoil, AveragePools)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1.0, np.nan], 0), ([1, 1], 2), ([0, 3], 2), ([-1, -2], 2)],
)
def test_axes_that_are_not_height_and_width(refused, values, dtype):
    def spoil(graph, file):
        tensor = graph.tensors[file.axes]
        tensor.type = dtype
        stored = np.array(values, np.int32 if dtype else np.float32)
        file.file.model.buffers[tensor.buffer].data = stored.view(np.uint8)

    assert "operator 15 MEAN 'block_4/se/mean'" in refused(spoil)


def constant_input(graph, file):
    graph.inputs = [file.axes]


def constant_output(graph, file):
    graph.outputs = [file.axes]


def no_input(graph, _file):
    graph.inputs = []


def no_output(graph, _file):
    graph.outputs = []


def image_of(*shape):
    def spoil(graph, _file):
        graph.tensors[graph.inputs[0]].shape = list(shape)

    return spoil


def classes_of(*shape):
    def spoil(graph, _file):
        graph.tensors[graph.outputs[0]].shape = list(shape)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (constant_input, r"the graph's input 'axes' is a constant; expected images"),
        (constant_output, r"the graph's output 'axes' is a constant; expected one number"),
        (no_input, "the graph has no input; expected images"),
        (no_output, "the graph has no output; expected one number for each class"),
        (image_of(), r"the graph's input has shape \(\); expected images \(N, H, W, C\)"),
        (image_of(1, 0, 0, 3), r"has shape \(1, 0, 0, 3\); expected"),
        (image_of(1, 64, 64, -3), r"has shape \(1, 64, 64, -3\); expected"),
        (image_of(1, 1 << 30, 1 << 30, 3), "of sides up to 8,192"),
        (image_of(1, 64, 96, 3), "expected square images"),
        (classes_of(), r"the graph's output has shape \(\); expected"),
        (classes_of(1, 0), r"the graph's output has shape \(1, 0\); expected"),
        (classes_of(1, -7), r"the graph's output has shape \(1, -7\); expected"),
    ],
)
def test_ends_that_are_no_images_and_no_classes(refused, spoil, message):
    import re

    assert re.search(message, refused(spoil))


@pytest.mark.parametrize("place", [0, 1, 4, -1])
def test_an_operator_that_nobody_knows_is_named_with_its_place(refused, place):
    def spoil(graph, file):
        operator = graph.operators[place]
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        with_kind(file.file.model, operator, "CUSTOM")
        file.file.model.operatorCodes[-1].customCode = b"Mystery"

    expected = {
        0: ("operator 0 CUSTOM:Mystery 'stem/out'", "conv_stem (conv 3x3"),
        1: ("operator 1 CUSTOM:Mystery 'block_0/dw/out'", "blocks.0.0.conv_dw (depthwise 3x3"),
        4: ("operator 4 CUSTOM:Mystery 'block_1/dw/out'", "blocks.1.0.conv_dw"),
        -1: ("CUSTOM:Mystery 'logits'", "classifier (dense, 1280 -> 1000)"),
    }[place]
    lines = refused(spoil).splitlines()
    assert lines[1].startswith("  source: ") and expected[0] in lines[1]
    assert lines[2].startswith("  network: ") and expected[1] in lines[2]


def test_a_builtin_of_the_future_is_named_by_its_number(refused):
    def spoil(_graph, file):
        file.file.model.operatorCodes[0].builtinCode = 999

    assert "operator 0 BUILTIN_999 'stem/out'" in refused(spoil)


def test_an_operator_behind_the_classifier_is_named(refused):
    def spoil(graph, file):
        output = file.file.tensor("best", [1])
        file.file.operator("CUSTOM", list(graph.outputs), output)

    assert "CUSTOM: 'best'\n  network: nothing further" in refused(spoil)


class Bare(Source):
    """A graph as a reader that checks nothing might hand it on."""

    format, files, tensors, path = "bare", (), {}, "bare"

    def __init__(self, *operators):
        self.graph = Graph(operators, ("x",), ("x",))

    @property
    def activations(self):
        return {"x": TensorInfo("x", (1, 64, 64, 3), "float32", "float32")}

    def read(self, name):
        raise KeyError(name)


@pytest.mark.parametrize("kind", ["RESHAPE", "CAST", "DEQUANTIZE", "ADD"])
def test_reading_ends_in_a_cycle_by_itself(kind):
    ring = (Operator(0, kind, ("x",), ("y",)), Operator(1, kind, ("y",), ("x",)))
    for operators in ((Operator(0, kind, ("x",), ("x",)),), ring):
        with within(mebibytes=64, seconds=5), contextlib.suppress(MappingError):
            graph_of_source(Bare(*operators), 3)

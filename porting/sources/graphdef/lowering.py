"""Operations of TensorFlow as the operators that :class:`~porting.sources.source.Graph` lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from porting.errors import UnsupportedSource
from porting.sources.checkpoint.wire import Malformed
from porting.sources.graphdef import shapes
from porting.sources.graphdef.attributes import Shape
from porting.sources.graphdef.constants import FAKE_QUANTS, Constants, fake_quant_range
from porting.sources.graphdef.flat import FlatGraph, FlatNode, number_of
from porting.sources.graphdef.merging import Merged
from porting.sources.source import Operator

_SHAPES = ("Shape", "ShapeN", "Rank", "Size")
_ELEMENTWISE = {
    "Relu": "RELU", "Relu6": "RELU6", "Sigmoid": "LOGISTIC", "Softmax": "SOFTMAX", "Tanh": "TANH",
    "Cast": "CAST", "PlaceholderWithDefault": "CAST",
}  # fmt: skip
_BINARY = {
    "Add": "ADD", "AddV2": "ADD", "BiasAdd": "ADD", "AddN": "ADD", "Sub": "SUB", "Mul": "MUL",
    "RealDiv": "DIV", "Div": "DIV", "Minimum": "MINIMUM", "Maximum": "MAXIMUM",
}  # fmt: skip
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_LEAST = {
    "Conv2D": 2, "DepthwiseConv2dNative": 2, "MatMul": 2, "Mean": 2, "Reshape": 2, "ExpandDims": 2,
    "Pad": 2, "PadV2": 3, "Transpose": 2,
    **dict.fromkeys(_NORMS, 5), **dict.fromkeys(_BINARY, 2), "AddN": 1,
}  # fmt: skip
"""Fewest inputs of an operation, where that is more than one."""
_NORM_EPSILON = 1e-4
"""Of an operation that states none."""


class Lowering:
    """Turns nodes, in an order in which each stands behind its inputs, into operators.

    ``operators`` are those found; ``shapes`` those of the tensors between them, and ``ranges`` the
    least and largest value of those that are rounded as an integer type would.

    Raises:
        Malformed: an operation has fewer inputs than it takes.
        UnsupportedSource: the graph computes in NCHW, or normalises by the batch.
    """

    def __init__(self, graph: FlatGraph, constants: Constants, where: str) -> None:
        self._graph, self.constants, self._where = graph, constants, where
        self.shapes: dict[str, Shape] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._data: dict[str, bool] = {}
        self._merged = Merged(graph, constants)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators, numbered in order."""
        return self._merged.operators()

    def run(self, nodes: Sequence[FlatNode], image: str, shape: Shape) -> None:
        """Lower every node that the image reaches other than by its shape alone."""
        self.shapes[image] = shape
        self._data[image] = True
        takers: Counter[str] = Counter()
        moved = []
        for node in nodes:
            self.constants.note(node)
            reached = any(self._data.get(name, False) for name in self._graph.inputs(node))
            if reached and node.op not in _SHAPES:
                moved.append(node)
                self._data[node.name] = True
                takers.update(set(self._graph.inputs(node)))
        self._merged.takers = takers
        for node in moved:
            self._lower(node)

    def _lower(self, node: FlatNode) -> None:
        if node.attributes.text("data_format", "NHWC").startswith("NC"):
            raise UnsupportedSource(
                f"{self._where}: {node.op} {node.name!r} computes in "
                f"{node.attributes.text('data_format')}; only NHWC is read. Export the graph for "
                "the CPU, or port its checkpoint"
            )
        inputs = self._graph.inputs(node)
        if len(inputs) < _LEAST.get(node.op, 1):
            raise Malformed(f"{node.op} {node.name!r} has {len(inputs)} inputs")
        made = _LOWERED.get(node.op)
        kept = self._dropout_data(node, inputs)
        if kept is not None:
            self.emit(node, "CAST", (kept,), self.shape(kept))
        elif made is not None:
            made(self, node, inputs)
        elif node.op in _ELEMENTWISE:
            self.emit(node, _ELEMENTWISE[node.op], inputs[:1], self.shape(inputs[0]))
        elif node.op in _BINARY:
            shape = self.shape(inputs[0])
            for other in inputs[1:]:
                shape = shapes.spread(shape, self.shape(other))
            self.emit(node, _BINARY[node.op], inputs, shape)
        else:
            # No network has it: what comes behind is only told, where the two part ways.
            self.emit(node, node.op, inputs, self.shape(inputs[0]))

    def emit(
        self, node: FlatNode, kind: str, inputs: Sequence[str | None], shape: Shape,
        options: Mapping[str, Any] | None = None, output: str | None = None,
    ) -> None:  # fmt: skip
        """Add an operator; constants among its inputs are called by what is stored."""
        output = output or node.name
        given = tuple(
            self.constants.name(name) if name and self.constants.is_constant(name) else name
            for name in inputs
        )
        self.shapes[output] = shape
        self._merged.add(kind, given, output, dict(options or {}))

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor, as far as it is known."""
        if self.constants.is_constant(tensor):
            return self.constants.info(self.constants.name(tensor)).shape
        return self.shapes.get(tensor)

    def window(self, node: FlatNode, name: str) -> tuple[int, int]:
        """Height and width of a list (N, H, W, C), 1 where it is not stated."""
        listed = node.attributes.wholes(name)
        return (listed[1], listed[2]) if len(listed) == 4 else (1, 1)

    def integers(self, tensor: str) -> np.ndarray | None:
        """The whole numbers that a constant is."""
        values = self.constants.values(tensor)
        return values if values is not None and values.dtype.kind in "iu" else None

    def wanted(self, tensor: str) -> Shape:
        """The shape that a tensor of whole numbers asks for."""
        values = self.integers(tensor)
        if values is not None:
            return tuple(int(n) for n in values.ravel())
        node = self._graph.producer(tensor)
        if node is None or number_of(tensor):
            return None
        if node.op == "Shape":
            return self.shape(self._graph.inputs(node)[0])
        if node.op == "Pack":
            each = [self.integers(name) for name in node.inputs]
            return tuple(-1 if n is None or n.size != 1 else int(n.ravel()[0]) for n in each)
        return None

    def _dropout_data(self, node: FlatNode, inputs: Sequence[str]) -> str | None:
        """What a dropout that drops nothing passes on; None for any other operation.

        TensorFlow 1 multiplies by ``floor(keep_prob + uniform)``, later by
        ``cast(uniform >= rate)``, TensorFlow 2 selects by ``uniform >= rate``.

        Raises:
            UnsupportedSource: it drops values, or may be told to.
        """
        if node.op not in ("Mul", "Select", "SelectV2") or len(inputs) < 2:
            return None
        one, other = inputs[:2]
        for data, mask in ((other, one), (one, other))[: 2 if node.op == "Mul" else 1]:
            maker = self._graph.producer(mask)
            while maker is not None and maker.op in ("Cast", "Floor") and maker.inputs:
                maker = self._graph.producer(maker.inputs[0])
            if maker is None or maker.op not in ("Add", "AddV2", "GreaterEqual"):
                continue
            sides = self._graph.inputs(maker)
            random = [self._is_random(side) for side in sides]
            if sorted(random) != [False, True]:
                continue
            probability = sides[random.index(False)]
            stated = self.constants.values(probability)
            if stated is not None and stated.size == 1:
                kept = float(stated.ravel()[0])
                kept = 1 - kept if maker.op == "GreaterEqual" else kept
                if kept >= 1:
                    return data
                how = f"keeps each value with a probability of {kept:.4g}"
            else:
                how = f"keeps values with a probability that {probability!r} gives"
            raise self.unsupported(
                node,
                f"is a dropout left from training, which {how}: export the graph for inference, "
                "or with a keep_prob of 1",
            )
        return None

    def _is_random(self, tensor: str) -> bool:
        """Whether a tensor is uniformly distributed: drawn so, and perhaps scaled and moved."""
        node = self._graph.producer(tensor)
        for _ in range(2):
            if node is not None and node.op in ("Add", "AddV2", "Mul") and node.inputs:
                node = self._graph.producer(node.inputs[0])
        return node is not None and node.op == "RandomUniform"

    def unsupported(self, node: FlatNode, why: str) -> UnsupportedSource:
        """The error for a node."""
        return UnsupportedSource(f"{self._where}: {node.op} {node.name!r} {why}")


def _convolution(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    weight = low.shape(inputs[1])
    strides, dilations = low.window(node, "strides"), low.window(node, "dilations")
    options: dict[str, Any] = {
        "weight_axes": "h w i o", "padding": node.attributes.text("padding"),
        "stride_h": strides[0], "stride_w": strides[1],
        "dilation_h": dilations[0], "dilation_w": dilations[1],
    }  # fmt: skip
    kind, kernel, channels = "CONV_2D", (1, 1), None
    if weight is not None and len(weight) == 4:
        kernel, channels = weight[:2], weight[3]
        if node.op == "DepthwiseConv2dNative":
            kind, channels = "DEPTHWISE_CONV_2D", weight[2] * weight[3]
            last = 1 if weight[3] == 1 else "m"
            options |= {"weight_axes": f"h w c {last}", "depth_multiplier": weight[3]}
    data = low.shape(inputs[0])
    shape = shapes.windowed(data, kernel, strides, dilations, options["padding"], channels)
    if options["padding"] == "EXPLICIT":
        raise low.unsupported(node, "pads by a list of its own; only SAME, VALID and Pad are read")
    low.emit(node, kind, (*inputs[:2], None), shape, options)


def _dense(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    turned = node.attributes.flag("transpose_b", False)
    weight, data = low.shape(inputs[1]), low.shape(inputs[0])
    plain = not node.attributes.flag("transpose_a", False)
    if not plain or not low.constants.is_constant(inputs[1]) or weight is None or len(weight) != 2:
        low.emit(node, node.op, inputs, None)
        return
    shape = None if data is None else (*data[:-1], weight[0 if turned else 1])
    options = {"weight_axes": "o i" if turned else "i o"}
    low.emit(node, "FULLY_CONNECTED", (*inputs, None), shape, options)


def _norm(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    if node.attributes.flag("is_training", True):
        raise low.unsupported(
            node, "normalises by the batch (is_training); export the graph for inference"
        )
    epsilon = node.attributes.real("epsilon", _NORM_EPSILON)
    low.emit(node, "BATCH_NORM", inputs, low.shape(inputs[0]), {"epsilon": epsilon})


def _mean(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    keep = node.attributes.flag("keep_dims", False)
    shape = shapes.reduced(low.shape(inputs[0]), low.integers(inputs[1]), keep)
    low.emit(node, "MEAN", inputs, shape)


_POOLS = {"AvgPool": "AVERAGE_POOL_2D", "MaxPool": "MAX_POOL_2D"}


def _pool(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    window, strides = low.window(node, "ksize"), low.window(node, "strides")
    padding = node.attributes.text("padding")
    shape = shapes.windowed(low.shape(inputs[0]), window, strides, (1, 1), padding, None)
    options = {"filter_h": window[0], "filter_w": window[1], "padding": padding}
    options |= {"stride_h": strides[0], "stride_w": strides[1]}
    low.emit(node, _POOLS[node.op], inputs, shape, options)


def _reshape(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    wanted = low.wanted(inputs[1])
    shape = None if wanted is None else shapes.reshaped(low.shape(inputs[0]), wanted)
    low.emit(node, "RESHAPE", inputs[:1], shape)


def _squeeze(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    axes = node.attributes.wholes("squeeze_dims")
    low.emit(node, "SQUEEZE", inputs, shapes.squeezed(low.shape(inputs[0]), axes))


def _expand(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    shape = shapes.expanded(low.shape(inputs[0]), low.integers(inputs[1]))
    low.emit(node, "EXPAND_DIMS", inputs, shape)


def _transpose(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    shape = shapes.transposed(low.shape(inputs[0]), low.integers(inputs[1]))
    low.emit(node, "TRANSPOSE", inputs, shape)


def _fake_quant(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    ends = [low.constants.values(tensor) for tensor in inputs[1:3]]
    stated = all(end is not None and end.size == 1 for end in ends)
    if stated and len(ends) == (0 if node.op.endswith("Args") else 2):
        least, most, _ = fake_quant_range(node, *(ends or (None, None)))
        if np.isfinite([least, most]).all() and least < most:
            low.ranges[node.name] = float(least), float(most)
    low.emit(node, "FAKE_QUANT", inputs[:1], low.shape(inputs[0]))


def _pad(low: Lowering, node: FlatNode, inputs: Sequence[str]) -> None:
    shape = shapes.padded(low.shape(inputs[0]), low.integers(inputs[1]))
    low.emit(node, node.op.upper(), inputs, shape)


_LOWERED: Mapping[str, Callable[[Lowering, FlatNode, Sequence[str]], None]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "MatMul": _dense,
    **dict.fromkeys(_NORMS, _norm),
    "Mean": _mean,
    **dict.fromkeys(_POOLS, _pool),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand,
    "Transpose": _transpose,
    **dict.fromkeys(FAKE_QUANTS, _fake_quant),
    "Pad": _pad,
    "PadV2": _pad,
}

"""TensorFlow's operations converted to the operators that a source's graph lists.

What TensorFlow writes as several operations becomes one operator: a layer and its bias, a batch
norm in pieces. See :class:`porting.sources.source.Graph` for the operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from porting.errors import UnsupportedSource
from porting.sources.graphdef.constants import FAKE_QUANTS, Constants, fake_quant_range
from porting.sources.graphdef.inlining import InlinedGraph, InlinedNode, node_of, number_of
from porting.sources.protobuf import Malformed
from porting.sources.source import MASKS, Operator, slices_of
from porting.sources.tensor_proto import Shape

_SHAPE_OPERATIONS = ("Shape", "ShapeN", "Rank", "Size")
_RANDOM = (
    "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "StatelessRandomUniform",
    "StatelessRandomNormal", "StatelessRandomUniformV2", "StatelessRandomNormalV2",
)  # fmt: skip
_UNARY = {
    "Relu": "RELU", "Relu6": "RELU6", "Sigmoid": "LOGISTIC", "Softmax": "SOFTMAX", "Tanh": "TANH",
    "_FusedHardSwish": "HARD_SWISH", "Cast": "CAST", "PlaceholderWithDefault": "CAST",
    "Square": "SQUARE", "Sqrt": "SQRT", "Rsqrt": "RSQRT",
}  # fmt: skip
_BINARY = {
    "Add": "ADD", "AddV2": "ADD", "BiasAdd": "ADD", "AddN": "ADD", "Sub": "SUB", "Mul": "MUL",
    "RealDiv": "DIV", "Div": "DIV", "Minimum": "MINIMUM", "Maximum": "MAXIMUM",
}  # fmt: skip
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_POOLS = {"AvgPool": "AVERAGE_POOL_2D", "MaxPool": "MAX_POOL_2D"}
_OF_SHAPE = {
    "Mean": "MEAN", "Reshape": "RESHAPE", "Squeeze": "SQUEEZE", "ExpandDims": "EXPAND_DIMS",
    "Transpose": "TRANSPOSE", "Pad": "PAD", "PadV2": "PADV2", "Max": "REDUCE_MAX", "Sum": "SUM",
}  # fmt: skip
"""Operations that change the shape, by axes or sides that their second input states."""
_SPLITS = ("Split", "SplitV")
_MOST_PARTS = 1 << 12
"""Most outputs of one operation; a network's have a few."""
_LEAST_INPUTS = {
    "Split": 2, "SplitV": 3, "ConcatV2": 2, "Slice": 3, "StridedSlice": 4,
    "Conv2D": 2, "DepthwiseConv2dNative": 2, "MatMul": 2, "Mean": 2, "Reshape": 2, "ExpandDims": 2,
    "Pad": 2, "PadV2": 3, "Transpose": 2, "Max": 2, "Sum": 2,
    **dict.fromkeys(_NORMS, 5), **dict.fromkeys(_BINARY, 2), "AddN": 1,
}  # fmt: skip
"""Fewest inputs of an operation, where that is more than one."""
_NORM_EPSILON = 1e-4
"""Of a batch norm whose operation states none."""
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_LAYERS = (*_CONVOLUTIONS, "FULLY_CONNECTED")
_ADDITIONS = ("Add", "AddV2")


class _Draft(NamedTuple):
    """An operator that a later operation may still be merged with."""

    kind: str
    inputs: tuple[str | None, ...]
    output: str
    options: Mapping[str, Any]
    more_outputs: tuple[str, ...] = ()


class Converter:
    """Converts the nodes that an image reaches, in topological order.

    ``shapes`` are those of the tensors between the operators, and ``ranges`` the least and
    largest value of those that are rounded as an integer type would.

    Raises:
        Malformed: an operation has fewer inputs than it takes.
        UnsupportedSource: the graph computes in NCHW, or normalises by the batch.
    """

    def __init__(
        self, graph: InlinedGraph, constants: Constants, where: str,
        nodes: Sequence[InlinedNode], image: str, shape: Shape,
    ) -> None:  # fmt: skip
        self._graph, self._constants, self._where = graph, constants, where
        self.shapes: dict[str, Shape] = {image: shape}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._drafts: dict[str, _Draft] = {}
        self._consumers: Counter[str] = Counter()
        data = {image}
        on_path = []
        self._random: set[str] = set()
        for node in nodes:
            constants.add(node)
            inputs = graph.inputs(node)
            if node.op in _RANDOM or not self._random.isdisjoint(map(node_of, inputs)):
                self._random.add(node.name)
            # What the image reaches by its shape alone is not computed from it.
            if node.op not in _SHAPE_OPERATIONS and not data.isdisjoint(inputs):
                on_path.append(node)
                data.update(_outputs_of(node))
                self._consumers.update(set(inputs))
        for node in on_path:
            self._convert(node)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators, numbered in order."""
        return tuple(
            Operator(
                number, draft.kind, draft.inputs, (draft.output, *draft.more_outputs), draft.options
            )
            for number, draft in enumerate(self._drafts.values())
        )

    def _convert(self, node: InlinedNode) -> None:
        data_format = node.attributes.text("data_format", "NHWC")
        if data_format.startswith("NC"):
            raise self._unsupported(
                node,
                f"computes in {data_format}; only NHWC is read. Export the graph for the CPU, or "
                "port its checkpoint",
            )
        inputs = self._graph.inputs(node)
        if len(inputs) < _LEAST_INPUTS.get(node.op, 1):
            raise Malformed(f"{node.op} {node.name!r} has {len(inputs)} inputs")
        dropout_data = self._dropout_data(node, inputs)
        if dropout_data is not None:
            self._add(node, "CAST", (dropout_data,), self._shape(dropout_data))
        elif any(node_of(name) in self._random and name not in self.shapes for name in inputs):
            raise self._unsupported(
                node,
                "changes values at random each time that the graph runs, as augmentation does in "
                "training: export the model without its augmentation layers, or port its .keras or "
                ".h5 file",
            )
        elif node.op in _METHODS:
            _METHODS[node.op](self, node, inputs)
        elif node.op.startswith("Quantize"):
            raise self._unsupported(
                node,
                "computes with integers, as quantize_nodes of TensorFlow 1's graph-transform tool "
                "writes it: port the frozen graph that it was made from",
            )
        else:
            # No network has it; it is listed so that messages can name it.
            self._add(node, node.op, inputs, self._shape(inputs[0]))

    def elementwise(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Activations and arithmetic."""
        if node.op in _UNARY:
            self._add(node, _UNARY[node.op], inputs[:1], self._shape(inputs[0]))
            return
        shape = self._shape(inputs[0])
        for other in inputs[1:]:
            shape = broadcast(shape, self._shape(other))
        self._add(node, _BINARY[node.op], inputs, shape)

    def norm(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Batch norms."""
        if node.attributes.flag("is_training", True):
            raise self._unsupported(
                node, "normalises by the batch (is_training); export the graph for inference"
            )
        options = {"epsilon": node.attributes.real("epsilon", _NORM_EPSILON)}
        self._add(node, "BATCH_NORM", inputs, self._shape(inputs[0]), options)

    def fake_quant(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Rounding to the steps of an integer type, as in quantisation-aware training."""
        ends = [self._constants.values(tensor) for tensor in inputs[1:3]]
        are_numbers = all(end is not None and end.size == 1 for end in ends)
        if are_numbers and len(ends) == (0 if node.op.endswith("Args") else 2):
            least, most, _ = fake_quant_range(node, *(ends or (None, None)))
            if np.isfinite([least, most]).all() and least < most:
                self.ranges[node.name] = float(least), float(most)
        self._add(node, "FAKE_QUANT", inputs[:1], self._shape(inputs[0]))

    def convolution(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Convolutions, depthwise or not."""
        weight, padding = self._shape(inputs[1]), node.attributes.text("padding")
        strides, dilations = self._window(node, "strides"), self._window(node, "dilations")
        options: dict[str, Any] = {
            "weight_axes": "h w i o", "padding": padding,
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
        if padding == "EXPLICIT":
            raise self._unsupported(
                node, "pads by a list of its own; only SAME, VALID and Pad are read"
            )
        shape = windowed(self._shape(inputs[0]), kernel, strides, dilations, padding, channels)
        self._add(node, kind, (*inputs[:2], None), shape, options)

    def dense(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Products with a matrix of weights."""
        outputs_first = node.attributes.flag("transpose_b", False)
        weight, data = self._shape(inputs[1]), self._shape(inputs[0])
        plain = not node.attributes.flag("transpose_a", False)
        if not plain or not self._constants.is_constant(inputs[1]) or len(weight or ()) != 2:
            self._add(node, node.op, inputs, None)
            return
        assert weight is not None
        shape = None if data is None else (*data[:-1], weight[0 if outputs_first else 1])
        options = {"weight_axes": "o i" if outputs_first else "i o"}
        self._add(node, "FULLY_CONNECTED", (*inputs, None), shape, options)

    def pool(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Average and maximum pooling."""
        window, strides = self._window(node, "ksize"), self._window(node, "strides")
        padding = node.attributes.text("padding")
        shape = windowed(self._shape(inputs[0]), window, strides, (1, 1), padding, None)
        options = {"filter_h": window[0], "filter_w": window[1], "padding": padding}
        options |= {"stride_h": strides[0], "stride_w": strides[1]}
        self._add(node, _POOLS[node.op], inputs, shape, options)

    def change_of_shape(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Operations of :data:`_OF_SHAPE`."""
        data, shape = self._shape(inputs[0]), None
        numbers = self._integers(inputs[1]) if len(inputs) > 1 else None
        if node.op == "Reshape":
            shape = self._shape_in(inputs[1])
            if data is not None and shape is not None and -1 not in data and shape.count(-1) == 1:
                # The one open side takes what the others leave.
                rest = int(np.prod([side for side in shape if side != -1], dtype=np.int64))
                total = int(np.prod(data, dtype=np.int64))
                shape = tuple(total // rest if side == -1 and rest > 0 else side for side in shape)
        elif data is not None and node.op == "Squeeze":
            axes: Sequence[int] = node.attributes.integers("squeeze_dims")
            axes = axes or [axis for axis, side in enumerate(data) if side == 1]
            ones = {axis % len(data) for axis in axes} if data else set()
            shape = tuple(side for axis, side in enumerate(data) if axis not in ones)
        elif data is None or numbers is None:
            pass
        elif node.op in ("Mean", "Max", "Sum") and data:
            means = {int(axis) % len(data) for axis in numbers.ravel()}
            keep = node.attributes.flag("keep_dims", False)
            sides = (1 if axis in means else side for axis, side in enumerate(data))
            shape = tuple(n for axis, n in enumerate(sides) if keep or axis not in means)
        elif node.op == "ExpandDims" and numbers.size == 1:
            place = int(numbers.ravel()[0]) % (len(data) + 1)
            shape = (*data[:place], 1, *data[place:])
        elif node.op == "Transpose" and sorted(numbers.ravel()) == list(range(len(data))):
            shape = tuple(data[int(axis)] for axis in numbers.ravel())
        elif node.op in ("Pad", "PadV2") and numbers.shape == (len(data), 2):
            sums = numbers.sum(axis=1).tolist()
            shape = tuple(-1 if side < 0 else side + n for side, n in zip(data, sums, strict=True))
        operands = inputs[:1] if node.op == "Reshape" else inputs
        self._add(node, _OF_SHAPE[node.op], operands, shape)

    def split(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """Parts along an axis: ``Split`` (axis, data), ``SplitV`` (data, sizes, axis)."""
        equal = node.op == "Split"
        data, axis = (
            self._shape(inputs[1 if equal else 0]),
            self._integers(inputs[0 if equal else 2]),
        )
        names = _outputs_of(node)
        sizes = None if equal else self._integers(inputs[1])
        kind = "SPLIT" if equal else "SPLIT_V"
        self._add(node, kind, inputs[: 2 if equal else 3], None, {"parts": len(names)})
        self._drafts[node.name] = self._drafts[node.name]._replace(more_outputs=names[1:])
        if data is None or not data or axis is None or axis.size != 1:
            return
        place = int(axis.ravel()[0]) % len(data)
        widths = [data[place] // len(names)] * len(names)
        if not equal:
            widths = [] if sizes is None else [int(n) for n in sizes.ravel()]
        if len(widths) == len(names):
            rest = data[place] - sum(widths) - 1
            for name, width in zip(names, widths, strict=True):
                side = rest if width == -1 else width
                self.shapes[name] = (*data[:place], side, *data[place + 1 :])

    def concatenation(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """``ConcatV2`` (data, ..., axis)."""
        *parts, last = inputs
        axis, shapes = self._integers(last), [self._shape(part) for part in parts]
        first = shapes[0]
        if axis is None or axis.size != 1 or not first or None in shapes:
            self._add(node, node.op, inputs, None)
            return
        place = int(axis.ravel()[0]) % len(first)
        sides = [shape[place] for shape in shapes if shape is not None and len(shape) > place]
        total = sum(sides) if len(sides) == len(parts) and -1 not in sides else -1
        shape = (*first[:place], total, *first[place + 1 :])
        self._add(node, "CONCATENATION", parts, shape, {"axis": place})

    def slice(self, node: InlinedNode, inputs: Sequence[str]) -> None:
        """``Slice`` (data, begin, size) and ``StridedSlice`` (data, begin, end, strides)."""
        kind = "SLICE" if node.op == "Slice" else "STRIDED_SLICE"
        options = {mask: node.attributes.integer(mask, 0) for mask in MASKS}
        data, shape = self._shape(inputs[0]), None
        arrays = [self._integers(tensor) for tensor in inputs[1:]]
        numbers = [[int(n) for n in array.ravel()] for array in arrays if array is not None]
        if data is not None and len(numbers) == len(arrays):
            slices = slices_of(kind, numbers, options, len(data))
            if slices is not None:
                shape = tuple(
                    side if part == slice(None) else len(range(*part.indices(max(side, 0))))
                    for side, part in zip(data, slices, strict=True)
                )
        self._add(node, kind, inputs, shape, options)

    def _dropout_data(self, node: InlinedNode, inputs: Sequence[str]) -> str | None:
        """The data of a dropout that drops nothing; None for any other operation.

        TensorFlow 1 multiplies by ``floor(keep_prob + uniform)``, later by
        ``cast(uniform >= rate)``, TensorFlow 2 selects by ``uniform >= rate``.

        Raises:
            UnsupportedSource: it drops values, or an input decides whether it does.
        """
        if node.op not in ("Mul", "Select", "SelectV2") or len(inputs) < 2:
            return None
        one, other = inputs[:2]
        for data, mask in ((other, one), (one, other))[: 2 if node.op == "Mul" else 1]:
            test = self._graph.producer(mask)
            while test is not None and test.op in ("Cast", "Floor") and test.inputs:
                test = self._graph.producer(test.inputs[0])
            if test is None or test.op not in ("Add", "AddV2", "GreaterEqual"):
                continue
            sides = self._graph.inputs(test)
            random = [self._is_random(side) for side in sides]
            if sorted(random) != [False, True]:
                continue
            threshold = sides[random.index(False)]
            values = self._constants.values(threshold)
            if values is not None and values.size == 1:
                keep_prob = float(values.ravel()[0])
                keep_prob = 1 - keep_prob if test.op == "GreaterEqual" else keep_prob
                if keep_prob >= 1:
                    return data
                how = f"keeps each value with a probability of {keep_prob:.4g}"
            else:
                how = f"keeps values with a probability that {threshold!r} gives"
            raise self._unsupported(
                node,
                f"is a dropout left from training, which {how}: export the graph for inference, "
                "or with a keep_prob of 1",
            )
        return None

    def _is_random(self, tensor: str) -> bool:
        """Whether a tensor is uniformly random, perhaps scaled and shifted."""
        node = self._graph.producer(tensor)
        for _ in range(2):
            if node is not None and node.op in ("Add", "AddV2", "Mul") and node.inputs:
                node = self._graph.producer(node.inputs[0])
        return node is not None and node.op in _RANDOM

    def _shape(self, tensor: str) -> Shape:
        """The shape of a tensor, as far as it is known."""
        if self._constants.is_constant(tensor):
            return self._constants.info(self._constants.name(tensor)).shape
        return self.shapes.get(tensor)

    def _window(self, node: InlinedNode, name: str) -> tuple[int, int]:
        """Height and width of a list (N, H, W, C), 1 where it is not stated."""
        sides = node.attributes.integers(name)
        return (sides[1], sides[2]) if len(sides) == 4 else (1, 1)

    def _integers(self, tensor: str) -> np.ndarray | None:
        """The values of a constant of integers."""
        values = self._constants.values(tensor)
        return values if values is not None and values.dtype.kind in "iu" else None

    def _shape_in(self, tensor: str) -> Shape:
        """The shape that a tensor of integers holds."""
        values = self._integers(tensor)
        if values is not None:
            return tuple(int(n) for n in values.ravel())
        node = self._graph.producer(tensor)
        if node is None or number_of(tensor):
            return None
        if node.op == "Shape":
            return self._shape(self._graph.inputs(node)[0])
        if node.op == "Pack":
            each = [self._integers(name) for name in node.inputs]
            return tuple(-1 if n is None or n.size != 1 else int(n.ravel()[0]) for n in each)
        return None

    def _unsupported(self, node: InlinedNode, why: str) -> UnsupportedSource:
        return UnsupportedSource(f"{self._where}: {node.op} {node.name!r} {why}")

    def _add(
        self, node: InlinedNode, kind: str, inputs: Sequence[str | None], shape: Shape,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Add an operator, merged with the one before where the two are one step."""
        names = tuple(
            self._constants.name(name) if name and self._constants.is_constant(name) else name
            for name in inputs
        )
        self.shapes[node.name] = shape
        draft = _Draft(kind, names, node.name, options or {})
        if kind == "ADD" and len(names) == 2:
            draft = self._merged(draft)
        self._drafts[draft.output] = draft

    def _merged(self, addition: _Draft) -> _Draft:
        """An addition, merged with the operators before it where nothing else takes those."""
        data, shift = self._operands(addition)
        before = self._drafts.get(data or "")
        if before is None or shift is None or self._consumers[before.output] != 1:
            return addition
        operator = None
        if before.kind in _LAYERS and before.inputs[2] is None:
            if self._is_vector_of(shift, before):
                operator = before._replace(inputs=(*before.inputs[:2], shift))
        elif before.kind == "MUL":
            # data * scale + shift is a batch norm behind a convolution.
            data, scale = self._operands(before)
            layer = self._drafts.get(data or "")
            if scale is None or layer is None:
                return addition
            if (parts := self._batch_norm_parts(scale, shift)) is not None:
                *vectors, epsilon = parts
                operator = _Draft("BATCH_NORM", (data, *vectors), "", {"epsilon": epsilon})
            elif (
                layer.kind in _CONVOLUTIONS
                and self._is_vector_of(scale, layer)
                and self._is_vector_of(shift, layer)
            ):
                inputs = (data, scale, shift, None, None)
                operator = _Draft("BATCH_NORM", inputs, "", {"epsilon": None})
        if operator is None:
            return addition
        del self._drafts[before.output]
        return operator._replace(output=addition.output)

    def _batch_norm_parts(
        self, scale: str, shift: str
    ) -> tuple[str | None, str, str, str, float] | None:
        """Gamma, beta, mean, variance and epsilon of ``tf.nn.batch_normalization``.

        ``scale`` is rsqrt(variance + epsilon) * gamma, ``shift`` is beta - mean * scale.
        """
        constants = self._constants
        gamma, root = None, self._operation(scale, "Rsqrt")
        if root is None and (product := self._operation(scale, "Mul")) is not None:
            for one, other in (product.inputs[:2], product.inputs[1::-1]):
                if (root := self._operation(one, "Rsqrt")) is not None:
                    gamma = constants.name(other)
                    break
        inner = None if root is None else self._operation(root.inputs[0], *_ADDITIONS)
        outer = self._operation(shift, "Sub")
        offset = None if outer is None else self._operation(outer.inputs[1], "Mul")
        if inner is None or outer is None or offset is None:
            return None
        names = [constants.name(tensor) for tensor in offset.inputs]
        if names.count(scale) != 1:
            return None
        mean = names[1 - names.index(scale)]
        values = [constants.values(tensor) for tensor in inner.inputs]
        scalars = [i for i, array in enumerate(values) if array is not None and array.size == 1]
        if len(scalars) != 1:
            return None
        variance = constants.name(inner.inputs[1 - scalars[0]])
        epsilon = values[scalars[0]]
        assert epsilon is not None
        return gamma, constants.name(outer.inputs[0]), mean, variance, float(epsilon.ravel()[0])

    def _operands(self, draft: _Draft) -> tuple[str | None, str | None]:
        """The data and the constant of two operands; None, None where they are not one of each."""
        inputs = draft.inputs
        constant = [name for name in inputs if name and self._constants.is_constant(name)]
        if len(inputs) != 2 or None in inputs or len(constant) != 1:
            return None, None
        return inputs[1 - inputs.index(constant[0])], constant[0]

    def _is_vector_of(self, name: str, layer: _Draft) -> bool:
        """Whether a constant is a vector with one number for each output channel of a layer."""
        weight = layer.inputs[1]
        if weight is None or not self._constants.is_constant(weight):
            return False
        sides = self._constants.info(weight).shape
        axes = str(layer.options["weight_axes"]).split()
        if len(sides) != len(axes):
            return False
        if axes[0] == "o":
            channels = sides[0]
        else:
            channels = sides[-1] * (sides[-2] if layer.kind == "DEPTHWISE_CONV_2D" else 1)
        shape = self._constants.info(name).shape
        return shape[-1:] == (channels,) and all(side == 1 for side in shape[:-1])

    def _operation(self, tensor: str, *ops: str) -> InlinedNode | None:
        """The node that computes a tensor, where it is one of these operations."""
        node = self._graph.producer(tensor)
        if node is None or node.op not in ops:
            return None
        return node if len(node.inputs) == (1 if node.op == "Rsqrt" else 2) else None


_METHODS: Mapping[str, Callable[[Converter, InlinedNode, Sequence[str]], None]] = {
    "Conv2D": Converter.convolution,
    "DepthwiseConv2dNative": Converter.convolution,
    "MatMul": Converter.dense,
    "ConcatV2": Converter.concatenation,
    "Slice": Converter.slice,
    "StridedSlice": Converter.slice,
    **dict.fromkeys(_SPLITS, Converter.split),
    **dict.fromkeys(_POOLS, Converter.pool),
    **dict.fromkeys(_NORMS, Converter.norm),
    **dict.fromkeys(_OF_SHAPE, Converter.change_of_shape),
    **dict.fromkeys(FAKE_QUANTS, Converter.fake_quant),
    **dict.fromkeys([*_UNARY, *_BINARY], Converter.elementwise),
}
"""Operation -> the method that adds its operator."""


def _outputs_of(node: InlinedNode) -> tuple[str, ...]:
    """The names of an operation's outputs.

    Raises:
        Malformed: it claims none, or more than an operation has.
    """
    count = node.attributes.integer("num_split", 1) if node.op in _SPLITS else 1
    if not 1 <= count <= _MOST_PARTS:
        raise Malformed(f"{node.op} {node.name!r} has {count:,} outputs")
    return (node.name, *(f"{node.name}:{number}" for number in range(1, count)))


def windowed(
    data: Shape, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    padding: str, channels: int | None,
) -> Shape:  # fmt: skip
    """The shape after a convolution or pooling (NHWC), -1 for a side that is left open.

    ``channels`` None keeps those of the data. Source: the notes on padding at
    https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    if data is None or len(data) != 4:
        return None
    sides = []
    for side, size, stride, dilation in zip(data[1:3], kernel, strides, dilations, strict=True):
        if side < 0 or stride < 1:
            sides.append(-1)
        elif padding == "SAME":
            sides.append(-(-side // stride))
        else:
            sides.append(max(-(-(side - (size - 1) * dilation) // stride), 0))
    return (data[0], *sides, data[3] if channels is None else channels)


def broadcast(one: Shape, other: Shape) -> Shape:
    """The shape that two operands broadcast to, -1 for a side that is left open."""
    if one is None or other is None:
        return None
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    short = (1,) * (len(long) - len(short)) + short
    return tuple(
        b if a == 1 else a if b in (1, a) else max(a, b) if -1 in (a, b) else -1
        for a, b in zip(long, short, strict=True)
    )

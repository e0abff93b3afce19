"""The canonical graph of a source."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from porting.errors import MappingError
from porting.graph.match import GraphMismatch
from porting.graph.node import (
    NORM,
    Graph,
    Node,
    NodeTable,
    SourceLayer,
    SourceNorm,
    Tap,
    Value,
    layer_kind,
    takes,
)
from porting.graph.operators import (
    AFFINE,
    CASTS,
    channel_slices,
    constant_of,
    describe,
    facts_of,
    integers_of,
    is_constant,
    is_plain,
    moves_channels_last,
    operand,
    pads_of,
    reduces_space,
    stored_name,
    takes_channels_first,
)
from porting.graph.padding import NO_PADS, Padding, Pads, same_pads
from porting.graph.rewrites import Operation, plain, rewrite
from porting.sources.source import WEIGHT_AXES, Operator, Source
from porting.sources.source import Graph as SourceOperators

SUB_FROM = "SUB from a constant"
"""Kind of a step that normalises by subtracting the data from a constant."""

_SHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_MEANS = ("MEAN", "AVERAGE_POOL_2D")
_MAXIMA = ("REDUCE_MAX", "MAX_POOL_2D")
_PADS = ("PAD", "PADV2")
_POOLS = {"AVERAGE_POOL_2D": "average pool", "MAX_POOL_2D": "max pool"}
_PLAIN = {
    "ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "RELU": "relu", "RELU6": "relu6",
    "RELU_0_TO_1": "relu1", "RELU_N1_TO_1": "relu_n1_to_1", "LOGISTIC": "sigmoid",
    "HARD_SWISH": "hard_swish", "TANH": "tanh", "SOFTMAX": "softmax",
    "L2_NORMALIZATION": "l2_normalise", "SQUARE": "square", "SQRT": "sqrt", "RSQRT": "rsqrt",
    "SILU": "silu", "HARD_SIGMOID": "hard_sigmoid",
}  # fmt: skip
"""Operators without weights -> the kind of node that they become."""
_OF_ONE_CHANNEL = {"1 h w c": "i h w o", "h w c 1": "h w i o", "h w c m": "h w i o"}
"""Axes of a depthwise weight -> those of a convolution, for a single input channel."""
_OF_ONE_CHANNEL_A_GROUP = {"o h w i": "c h w 1", "h w i o": "h w 1 c"}
"""Axes of a grouped convolution's weight -> those of a depthwise one."""
_SCALES = ("MUL", "DIV")
_SLICES = ("SPLIT", "SPLIT_V", "STRIDED_SLICE", "SLICE")
_OF_ONE_VALUE = (
    *CASTS, *_SHAPES, *WEIGHT_AXES, *_MEANS, *_MAXIMA, *_PADS, *_POOLS, "BATCH_NORM", "TRANSPOSE",
)  # fmt: skip
"""Operators whose first input is data; the others are weights, axes, amounts or a shape."""


@dataclass(frozen=True)
class Reading:
    """How to read a graph where its file leaves open what was meant.

    ``gates_in_layers`` as in :class:`~porting.graph.rewrites.Operation`. ``activation`` is that of
    a layer without a stated one whose quantised result cannot hold less than 0: converters leave
    out what the range does by itself. None: ReLU6 where the range ends at 6.
    """

    gates_in_layers: bool = False
    activation: str | None = None


@dataclass(frozen=True, eq=False)
class SourceGraph:
    """A source's canonical graph, and what the graph does not say of the source.

    ``data`` is the tensor at which the network proper begins, behind the steps that normalise
    (operator, constant). ``parameters`` gives the operator that uses a stored tensor. ``surplus``
    describes an operator that works on the data and not towards the output. The values of the
    nodes in ``computed_twice`` are in several tensors, each computed by itself.
    """

    path: str
    graph: Graph
    data: str
    normalisation: tuple[tuple[str, str], ...]
    parameters: dict[str, str]
    surplus: str | None
    computed_twice: frozenset[Node]


def readings(source: Source) -> tuple[Reading, ...]:
    """The ways to read a source's graph, the most likely first."""
    activations: tuple[str | None, ...] = (None,)
    kinds = {operator.outputs[0]: operator.kind for operator in _operators(source)}
    for operator in _operators(source):
        data_kind = kinds.get(operator.inputs[0] or "") if operator.kind == "FAKE_QUANT" else None
        if operator.kind not in WEIGHT_AXES and data_kind not in (*WEIGHT_AXES, "BATCH_NORM"):
            continue
        result = source.activations.get(operator.outputs[0])
        if is_plain(operator) and result is not None and _starts_at_zero(result.range):
            activations = (None, "relu6", "relu")
    gates = (False, True)
    return tuple(Reading(gate, activation) for activation, gate in product(activations, gates))


def graph_of_source(
    source: Source, channels: int, reading: Reading = Reading(), whole: bool = False
) -> SourceGraph:
    """Read a source's graph, from images of so many channels to its first output.

    With ``whole`` to all its outputs, of which a node stands for several.

    Raises:
        MappingError: its input is normalised unevenly, it has no output or one that is not made
            from the input, or one weight is in two layers.
    """
    reader = _Reader(source, channels, reading)
    for operator in reader.remaining:
        reader.read(operator)
    assert source.graph is not None  # the reader looked
    if not source.graph.outputs:
        raise MappingError(f"{source.path}: the graph has no output")
    end = source.graph.outputs[0]
    if whole:
        ends = [plain(reader.values[n], n) for n in source.graph.outputs if n in reader.values]
        output = ends[0] if len(ends) == 1 else Node("outputs", (), tuple(ends), "the outputs")
        return SourceGraph(
            str(source.path), Graph(output, reader.taps), reader.data, tuple(reader.normalisation),
            reader.parameters, None, frozenset(reader.computed_twice),
        )  # fmt: skip
    if end not in reader.values:
        raise MappingError(
            f"{source.path}: the graph's output {end!r} is not computed from its input"
        )
    output = plain(reader.values[end], f"the output {end!r}")
    graph = Graph(output, reader.taps)
    check_weights(graph, source.path)
    return SourceGraph(
        str(source.path), graph, reader.data, tuple(reader.normalisation), reader.parameters,
        reader.surplus(end), frozenset(reader.computed_twice),
    )  # fmt: skip


def check_weights(graph: Graph, path: Path) -> None:
    """Check that no weight is in two layers.

    Raises:
        MappingError: one is.
    """
    places: dict[str, str] = {}
    for node in graph.nodes():
        if isinstance(node.layer, SourceLayer):
            # What is applied twice to the same value is one node already.
            weight = node.layer.weight
            if weight in places:
                raise MappingError(
                    f"{path}: the weight {weight!r} is in two layers, {places[weight]} and "
                    f"{node.place}: a layer that is applied to different values, or in different "
                    "ways, cannot be ported"
                )
            places[weight] = node.place


def _operators(source: Source) -> tuple[Operator, ...]:
    if source.graph is None:
        raise MappingError(f"{source.path}: has no graph to align with")
    return source.graph.operators


@dataclass
class _Reader:
    """Builds the graph from operators, one by one; ``values`` are by the tensor's name."""

    source: Source
    channels: int
    reading: Reading
    values: dict[str, Value] = field(default_factory=dict)
    taps: dict[Node, Tap] = field(default_factory=dict)
    normalisation: list[tuple[str, str]] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    computed_twice: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        operators, graph = _operators(self.source), self.source.graph
        assert graph is not None  # _operators looked
        self._consumers, self._needed = graph.consumers, _needed_operators(graph)
        self.data = graph.inputs[0] if graph.inputs else ""
        indices = self._pass_normalisation()
        self.remaining = [op for op in operators if op.index not in indices]
        self._nodes = NodeTable()
        start = self._nodes.unique(Node("input", place="the input"))
        self.values[self.data] = Value(start)
        self.taps[start] = Tap(self.data)

    def _pass_normalisation(self) -> set[int]:
        """Skip and record the leading steps that add or multiply a constant; their indices.

        Raises:
            GraphMismatch: a step is other than by one finite number, or one a channel.
        """
        indices: set[int] = set()
        channel_axis = -3 if takes_channels_first(self.source) else -1
        while True:
            takers = self._consumers.get(self.data, ())
            if len(takers) != 1 or takers[0].index in indices:
                return indices
            (operator,) = takers
            if channel_axis == -3 and moves_channels_last(operator, self.source):
                channel_axis = -1
            elif operator.kind in AFFINE and is_plain(operator):
                places = [
                    place
                    for place, name in enumerate(operator.inputs)
                    if name and is_constant(name, self.source)
                ]
                if len(operator.inputs) != 2 or len(places) != 1:
                    return indices
                from_constant = places == [0] and operator.kind in ("SUB", "DIV")
                if from_constant and operator.kind == "DIV":
                    return indices
                name = operator.inputs[places[0]]
                assert name is not None  # a constant has a name
                values = self.source.read(stored_name(name, self.source))
                axis = values.ndim + channel_axis
                uneven = any(
                    side != 1 and not (place == axis and side == self.channels)
                    for place, side in enumerate(values.shape)
                )
                cannot_be_undone = operator.kind in _SCALES and not values.all()
                if uneven or cannot_be_undone or not np.isfinite(values).all() or not values.size:
                    raise GraphMismatch(
                        str(self.source.path), 0, describe(operator, self.source),
                        "a normalisation by one finite number, or one for each of "
                        f"{self.channels} channels",
                    )  # fmt: skip
                self.normalisation.append((SUB_FROM if from_constant else operator.kind, name))
            elif operator.kind not in CASTS:
                return indices
            indices.add(operator.index)
            self._note_parameters(operator)
            self.data = operator.outputs[0]

    def _note_parameters(self, operator: Operator) -> None:
        for name in operator.inputs:
            if name is not None and name in self.source.tensors:
                self.parameters[name] = operator.kind

    def read(self, operator: Operator) -> None:
        """Add the value of an operator that computes from the graph's input."""
        self._note_parameters(operator)
        inputs = tuple(self.values[name] for name in operator.inputs if name in self.values)
        if not inputs:
            return
        if operator.kind in _SLICES and self._read_slices(operator):
            return
        value, activation = self._value(operator, inputs), self._activation(operator, inputs[0])
        if activation != "none":
            # The graph shows a layer with a fused activation behind it alone.
            value = self._rewritten(operator, activation, (), (value,))
        self._keep(operator, operator.outputs[0], value)

    def _keep(self, operator: Operator, name: str, value: Value) -> None:
        """Record the value of an operator's output, as the node that computes it already."""
        unique = self._nodes.unique(value.node)
        if unique is not value.node:
            value = replace(value, node=unique)
            if operator.index in self._needed:
                self.computed_twice.add(unique)
        self.values[name] = value
        # Of several tensors that show some number times a value, the one nearest to it itself.
        tap = self.taps.get(value.node)
        if tap is None or abs(value.times - 1) < abs(tap.times - 1):
            self.taps[value.node] = Tap(name, value.times)

    def _read_slices(self, operator: Operator) -> bool:
        """Add the values of an operator that slices the channels; return whether it is one."""
        slices = channel_slices(operator, self.source)
        if slices is None or slices.data not in self.values:
            return False
        x = self.values[slices.data]
        for name, (start, stop) in zip(operator.outputs, slices.ranges, strict=True):
            value = x
            if (start, stop) != (0, slices.channels):
                facts = start, stop, slices.channels
                value = self._rewritten(operator, "channels", facts, (x,))
            self._keep(operator, name, value)
        return True

    def surplus(self, end: str) -> str | None:
        """Describe an operator that computes from the input and that the output does not need."""
        # Casts and reshapes of the output itself change nothing.
        last = self.values[end].node
        for operator in self.remaining:
            value = self.values.get(operator.outputs[0])
            is_output = value is not None and value.node is last
            is_stored = is_constant(operator.outputs[0], self.source)
            if operator.index not in self._needed and not is_output and not is_stored:
                return describe(operator, self.source)
        return None

    def _rewritten(
        self, operator: Operator, kind: str, facts: tuple[Hashable, ...], inputs: tuple[Value, ...]
    ) -> Value:
        place = describe(operator, self.source)
        if kind in _PADS:
            place += ", of other than height and width, or not with 0"
        return rewrite(Operation(kind, facts, inputs, place, self.reading.gates_in_layers))

    def _value(self, operator: Operator, inputs: tuple[Value, ...]) -> Value:
        kind = operator.kind
        if kind in _OF_ONE_VALUE:
            data = self.values.get(operator.inputs[0] or "")
            if data is None:
                return self._rewritten(operator, *_unknown(operator), inputs)
            inputs = (data,)
        before, after = self._shape(operator.inputs[0]), self._shape(operator.outputs[0])
        result = self.source.activations.get(operator.outputs[0])
        is_real = result is None or kind != "CAST" or result.dtype.startswith("float")
        # An operator that adds and drops axes of 1 alone passes its data on; a reshape may do
        # anything to data of no known shape.
        moves_ones = [n for n in before[1:] if n != 1] == [n for n in after[1:] if n != 1]
        moves_ones &= bool(before or after) or kind != "RESHAPE"
        reduces = kind in (*_MEANS, *_MAXIMA) and reduces_space(operator, self.source)
        if (kind in CASTS and is_real) or (moves_ones and (kind in _SHAPES or reduces)):
            return inputs[0]
        if kind in WEIGHT_AXES:
            facts = facts_of(operator, self.source)
            sizes = *facts.kernel, *facts.stride, *facts.dilation, facts.in_channels
            if facts.weight and min(*sizes, facts.out_channels) > 0:
                return Value(self._layer(operator, inputs[0]))
        norm = None
        if kind == "BATCH_NORM":
            norm = self._batch_norm(operator, inputs[0])
        elif kind in ("ADD", "MUL") and len(inputs) == 1:
            norm = self._spelled_out_norm(operator, inputs[0])
            norm = norm or self._bias_behind_a_sum(operator, inputs[0])
        if norm is not None:
            return Value(norm)
        return self._rewritten(operator, *self._kind(operator, inputs), inputs)

    def _kind(  # noqa: PLR0911, PLR0912 - a table of cases
        self, operator: Operator, inputs: tuple[Value, ...]
    ) -> tuple[str, tuple[Hashable, ...]]:
        """Kind and facts of an operator without weights."""
        kind, options = operator.kind, operator.options
        before, after = self._shape(operator.inputs[0]), self._shape(operator.outputs[0])
        if kind in (*_MEANS, *_MAXIMA) and reduces_space(operator, self.source):
            return f"{'mean' if kind in _MEANS else 'max'} over height and width", ()
        if (
            kind in ("MEAN", "TRANSPOSE")
            and (axes := integers_of(operator, 1, self.source)) is not None
        ):
            numbers = tuple(int(axis) % max(len(before), 1) for axis in axes.ravel())
            if kind == "TRANSPOSE":
                return "transpose", numbers
            return "mean over axes", (numbers, len(before), len(before) == len(after))
        if (
            kind == "SUM"
            and (axes := integers_of(operator, 1, self.source)) is not None
            and [int(axis) % max(len(before), 1) for axis in axes.ravel()] == [len(before) - 1]
        ):
            return "sum over channels", ()
        if kind in _PADS and (pads := pads_of(operator, self.source)) is not None:
            return "pad", (pads,)
        if kind in _POOLS:
            window, stride = (
                (options[f"{name}_h"], options[f"{name}_w"]) for name in ("filter", "stride")
            )
            padding: Pads | None = NO_PADS
            if options["padding"] != "VALID":
                # TensorFlow's largest may also pad by a list of its own, which is not read.
                is_same = options["padding"] == "SAME" and len(before) == 4
                padding = same_pads(before[1:3], window, stride) if is_same else None
            return _POOLS[kind], (window, stride, padding)
        if kind == "CONCATENATION" and len(inputs) == len(operator.inputs):
            axis = int(options["axis"]) % max(len(after), 1)
            if len(after) not in (2, 4):
                return "concatenation", (f"axis {axis}",)
            axis = axis if len(after) == 4 else 3 * axis
            return "concatenation", (("images", "height", "width", "channels")[axis],)
        if kind == "RESHAPE" and len(before) == 4 and len(after) == 2:
            return "flatten", ("height, width, channels", before[1:], after[1:])
        number = self._number(operator) if len(inputs) == 1 else None
        if number is not None:
            if kind in ("ADD", "SUB"):
                return "shift", (number if kind == "ADD" else -number,)
            if kind in _SCALES and number:
                return "scale", (number if kind == "MUL" else 1.0 / number,)
            if kind in ("MINIMUM", "MAXIMUM"):
                return "clamp", (None, number) if kind == "MINIMUM" else (number, None)
        if kind == "SOFTMAX" and (beta := options.get("beta", 1.0)) != 1:
            return "softmax", (f"with beta {beta:g}",)
        if kind in _PLAIN and len(inputs) == takes(_PLAIN[kind]) == len(operator.inputs):
            return _PLAIN[kind], ()
        return _unknown(operator)

    def _layer(self, operator: Operator, x: Value) -> Node:
        facts, shape = facts_of(operator, self.source), self._shape(operator.inputs[0])
        before, below = NO_PADS, x.node
        convolves = operator.kind != "FULLY_CONNECTED"
        if convolves and below.kind == "pad" and isinstance(below.facts[0], Pads):
            before, below = below.facts[0], below.inputs[0]
        inputs = facts.in_channels
        groups = inputs if operator.kind == "DEPTHWISE_CONV_2D" else 1
        if operator.kind == "CONV_2D" and len(shape) == 4 and shape[3] > inputs:
            groups, inputs = shape[3] // inputs, shape[3]
        kind, numbers = layer_kind(
            facts.kernel, facts.stride, facts.dilation, inputs, facts.out_channels, groups,
            on_one_pixel=all(side == 1 for side in shape[1:-1]) and (bool(shape) or not convolves),
        )  # fmt: skip
        rows, columns = ((k - 1) * d + 1 for k, d in zip(facts.kernel, facts.dilation, strict=True))
        padding = None
        if convolves:
            plane = shape[1:3] if len(shape) == 4 else (0, 0)
            sides = tuple(
                side - sum(ends) if side > 0 else 0
                for side, ends in zip(plane, (before.rows, before.columns), strict=True)
            )
            padding = Padding(facts.padding, before, sides, (rows, columns), facts.stride)
        axes = operator.weight_axes
        if kind != "depthwise" and operator.kind == "DEPTHWISE_CONV_2D":
            # Of one channel, it is a convolution: the channel's multiples are outputs.
            axes = _OF_ONE_CHANNEL[axes]
        elif kind == "depthwise" and operator.kind == "CONV_2D":
            axes = _OF_ONE_CHANNEL_A_GROUP[axes]
        layer = SourceLayer(facts.weight, self._bias_of(operator, facts.bias), axes)
        place = describe(operator, self.source)
        return Node(kind, numbers, (below,), place, layer, padding, x.times)

    def _bias_of(self, operator: Operator, bias: str | None) -> str | None:
        """A layer's bias; None for one of zeros of a part of a mixed convolution.

        Converters give those zeros, though a batch norm stands behind the parts.
        """
        takers = self._consumers.get(operator.outputs[0], ())
        is_part = any(taker.kind == "CONCATENATION" for taker in takers)
        if bias is None or not is_part or bias not in self.source.tensors:
            return bias
        return bias if self.source.read(bias).any() else None

    def _batch_norm(self, operator: Operator, x: Value) -> Node | None:
        """A layer with the batch norm directly behind it, or a batch norm that is no layer's part.

        It is a part of the layer where nothing else looks at that. None where the source does not
        store all that the norm takes.
        """
        layer = x.node.layer
        if x.times != 1:
            return None
        names = [operand(operator, place, self.source) for place in range(1, 5)]
        has_computed_vector = any(
            tensor is not None and name is None
            for name, tensor in zip(names, operator.inputs[1:5], strict=False)
        )
        if has_computed_vector:
            return None
        gamma, beta, mean, variance = names
        epsilon = operator.options.get("epsilon")
        norm = SourceNorm(gamma, beta, mean, variance, None if epsilon is None else float(epsilon))
        alone = len(self._consumers[str(operator.inputs[0])]) == 1
        if not isinstance(layer, SourceLayer) or layer.norm is not None or not alone:
            return self._norm_by_itself(operator, x.node, norm)
        return _with_norm(x.node, norm, describe(operator, self.source))

    def _norm_by_itself(self, operator: Operator, x: Node, norm: SourceNorm) -> Node | None:
        """A batch norm of vectors, in a head, or behind joined parts; None of anything else."""
        shape = self._shape(operator.outputs[0])
        is_plane = x.kind != "concatenation" and any(side != 1 for side in shape[1:-1])
        if len(shape) < 2 or shape[-1] < 1 or is_plane:
            return None
        return Node(NORM, shape[-1:], (x,), describe(operator, self.source), norm)

    def _spelled_out_norm(self, operator: Operator, x: Value) -> Node | None:
        """A product or a sum by one number a channel: a batch norm in two steps."""
        layer, values = x.node.layer, constant_of(operator, self.source)
        data = [name for name in operator.inputs if name in self.values]
        alone = all(len(self._consumers[str(name)]) == 1 for name in data)
        channels = self._shape(operator.outputs[0])[-1:]
        if x.times != 1 or values is None or values.size < 2:
            return None
        if not values.shape[-1:] == channels == (values.size,):
            return None
        (constant,) = (n for n in operator.inputs if n and is_constant(n, self.source))
        name, adds = stored_name(constant, self.source), operator.kind == "ADD"
        if not isinstance(layer, SourceLayer) or not alone:
            if isinstance(layer, SourceNorm) and layer.beta is None and adds and alone:
                place = describe(operator, self.source)
                return replace(x.node, layer=replace(layer, beta=name), place=place)
            norm = SourceNorm(name, None, None, None, None)
            # An exporter may spell a number out for all channels; behind parts it is a norm's.
            is_joined = x.node.kind == "concatenation"
            is_number = not is_joined and bool(np.all(values == values.ravel()[0]))
            return None if adds or is_number else self._norm_by_itself(operator, x.node, norm)
        return self._norm_of_layer(operator, x.node, layer, name)

    def _norm_of_layer(
        self, operator: Operator, node: Node, layer: SourceLayer, name: str
    ) -> Node | None:
        """A layer with the product by or the sum with a vector behind it."""
        place, norm = describe(operator, self.source), layer.norm
        if operator.kind == "ADD" and norm is None and layer.bias is None:
            return replace(node, layer=replace(layer, bias=name), place=place)
        if operator.kind == "MUL" and norm is None:
            norm = SourceNorm(name, None, None, None, None)
        elif operator.kind == "ADD" and (norm is None or norm.beta is None):
            norm = replace(norm or SourceNorm(None, None, None, None, None), beta=name)
        else:
            return None
        return _with_norm(node, norm, place)

    def _bias_behind_a_sum(self, operator: Operator, x: Value) -> Node | None:
        """``(x + layer(y)) + bias``, one number a channel -> x + layer(y) with that bias.

        So TensorFlow's grappler orders the three terms (``AddOpsRewrite`` of its arithmetic
        optimizer), in every graph model of TensorFlow.js.
        """
        values = constant_of(operator, self.source)
        if operator.kind != "ADD" or x.node.kind != "add" or x.times != 1 or values is None:
            return None
        tensors = {self.values[name].node: name for name in self.values}
        channels = self._shape(operator.outputs[0])[-1:]
        if values.size < 2 or not values.shape[-1:] == channels == (values.size,):
            return None
        (constant,) = (n for n in operator.inputs if n and is_constant(n, self.source))
        for place in (1, 0):
            node = x.node.inputs[place]
            layer = node.layer
            takers = [self._consumers.get(tensors.get(each, "")) or () for each in (node, x.node)]
            bare = isinstance(layer, SourceLayer) and layer.bias is None and layer.norm is None
            if isinstance(layer, SourceLayer) and bare and all(len(t) == 1 for t in takers):
                name = stored_name(constant, self.source)
                terms = list(x.node.inputs)
                terms[place] = replace(node, layer=replace(layer, bias=name))
                return replace(x.node, inputs=tuple(terms), place=describe(operator, self.source))
        return None

    def _activation(self, operator: Operator, x: Value) -> str:
        """The activation fused into an operator, or implied by the range of its result.

        ``x`` is what it takes: a layer's result that is rounded to a range has it too.
        """
        activation = str(operator.options.get("activation", "none"))
        rounds_a_layer = operator.kind == "FAKE_QUANT" and x.node.weighted
        if activation != "none" or not (operator.kind in (*WEIGHT_AXES, "ADD") or rounds_a_layer):
            return activation
        result = self.source.activations.get(operator.outputs[0])
        if result is None or result.range is None or not _starts_at_zero(result.range):
            return activation
        high, step = result.range[1], (result.range[1] - result.range[0]) / 255
        if operator.kind == "ADD":
            # That before a hard sigmoid; a residual sum has its clamp stated, or none.
            behind_three = self._number(operator) == 3 and high < 6 + step / 2
            return "relu6" if behind_three else activation
        if abs(high - 6) < step / 2:
            return self.reading.activation or "relu6"
        fits = self.reading.activation == "relu" or high < 6
        return self.reading.activation or activation if fits else activation

    def _number(self, operator: Operator) -> float | None:
        """The number that every element of the constant operand equals; None if there is none.

        Of DIV and SUB the constant must be the second operand.
        """
        if operator.kind in ("DIV", "SUB") and is_constant(operator.inputs[0] or "", self.source):
            return None
        values = constant_of(operator, self.source)
        if values is None or not values.size or not np.all(values == values.ravel()[0]):
            return None
        return float(values.ravel()[0])

    def _shape(self, name: str | None) -> tuple[int, ...]:
        info = self.source.activations.get(name or "")
        return () if info is None else info.shape


def _needed_operators(graph: SourceOperators) -> set[int]:
    """Indices of the operators that the first output is computed by."""
    made_by = {name: operator for operator in graph.operators for name in operator.outputs}
    indices, pending = set(), list(graph.outputs[:1])
    while pending:
        operator = made_by.get(pending.pop())
        if operator is not None and operator.index not in indices:
            indices.add(operator.index)
            pending += [name for name in operator.inputs if name is not None]
    return indices


def _unknown(operator: Operator) -> tuple[str, tuple[Hashable, ...]]:
    """A kind that no network has, so that the comparison names this operator."""
    return operator.kind, (operator.index,)


def _with_norm(node: Node, norm: SourceNorm, place: str) -> Node:
    assert isinstance(node.layer, SourceLayer)  # the callers looked
    return replace(node, layer=replace(node.layer, norm=norm), place=f"{node.place}, then {place}")


def _starts_at_zero(ends: tuple[float, float] | None) -> bool:
    """Whether a range of 256 steps begins at 0, to within half a step."""
    return ends is not None and abs(ends[0]) < (ends[1] - ends[0]) / 255 / 2

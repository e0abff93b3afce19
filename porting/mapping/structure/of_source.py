"""The structure of a source's graph."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np

from porting.errors import MappingError
from porting.mapping.normalisation import take_normalisation
from porting.mapping.operators import (
    OperatorFacts,
    averages_space,
    constant_of,
    describe,
    facts_of,
    is_constant,
    operand,
)
from porting.mapping.padding import NO_PADS, PADS, Pads, pads_of, same_pad
from porting.mapping.structure.node import Node, SourceLayer, Structure, layer_kind, takes
from porting.mapping.structure.spelled_out import simplified
from porting.mapping.walk import CASTS, Alignment, Norm, Walk
from porting.sources.source import Operator, Source

_SHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_MEANS = ("MEAN", "AVERAGE_POOL_2D")
_POOLS = {"AVERAGE_POOL_2D": "average pool", "MAX_POOL_2D": "max pool"}
_PLAIN = {
    "ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "RELU": "relu", "RELU6": "relu6",
    "LOGISTIC": "sigmoid", "HARD_SWISH": "hard_swish", "TANH": "tanh", "SOFTMAX": "softmax",
}  # fmt: skip
"""Operators of data alone -> the kind of node that they make."""


@dataclass(frozen=True)
class SourceStructure:
    """A source's graph as nodes.

    ``alignment`` has where the network proper begins, behind any normalisation,
    and which operator uses each stored tensor; its taps are for a match to add.
    """

    structure: Structure
    alignment: Alignment


def structure_of_source(source: Source, channels: int, lifted: bool = False) -> SourceStructure:
    """Read a source's graph: images of so many channels in, its first output out.

    ``lifted`` as in :func:`~porting.mapping.structure.spelled_out.simplified`.

    Raises:
        GraphMismatch: its input is normalised unevenly.
        MappingError: the output is not made from the input.
    """
    walk = Walk(source)
    take_normalisation(walk, channels)
    reader = _Reader(walk, lifted)
    for operator in walk.graph.operators:
        if operator.index not in walk.found.visited:
            reader.read(operator)
    end = walk.graph.outputs[0]
    if end not in reader.values:
        raise MappingError(f"{source.path}: the graph's output {end!r} does not come of its input")
    return SourceStructure(Structure(reader.values[end]), walk.found)


class _Reader:
    """Values by the tensor that holds them, operator by operator."""

    def __init__(self, walk: Walk, lifted: bool) -> None:
        self._lifted = lifted
        self._source, self._found, self._consumers = walk.source, walk.found, walk.consumers
        start = walk.found.data
        self.values = {start: Node("input", place="the input", value=start)}

    def read(self, operator: Operator) -> None:
        """Add what an operator gives, where it works on data."""
        for name in operator.inputs:
            if name is not None and name in self._source.tensors:
                self._found.parameters[name] = operator.kind
        given = tuple(self.values[name] for name in operator.inputs if name in self.values)
        if not given:
            return
        node = self._node(operator, given)
        activation = self._activation(operator)
        if activation != "none":
            # The graph shows a layer with a fused activation behind it alone.
            place, name = describe(operator, self._source), operator.outputs[0]
            node = simplified(
                Node(activation, (), (replace(node, value=None),), place, name), self._lifted
            )
        self.values[operator.outputs[0]] = node

    def _node(self, operator: Operator, given: tuple[Node, ...]) -> Node:
        kind = operator.kind
        if (kind in CASTS and self._is_real(operator)) or (
            kind in (*_SHAPES, *_MEANS) and self._moves_ones(operator)
        ):
            return given[0]
        if kind in _LAYERS and _is_sound(facts_of(operator, self._source)):
            return self._layer(operator, given[0])
        if kind == "BATCH_NORM" and self._has_no_norm(operator, given[0]):
            return self._normed(operator, given[0])
        place = describe(operator, self._source)
        node = Node(*self._kind(operator, given), given, place, operator.outputs[0])
        return simplified(node, self._lifted)

    def _kind(
        self, operator: Operator, given: tuple[Node, ...]
    ) -> tuple[str, tuple[Hashable, ...]]:
        """Kind and facts of an operator without weights."""
        kind = operator.kind
        made: tuple[str, tuple[Hashable, ...]] | None = None
        if kind in _MEANS and averages_space(operator, self._source):
            made = "mean over height and width", ()
        elif kind in PADS and (pads := pads_of(operator, self._source)) is not None:
            made = "pad", (pads,)
        elif kind in _SHAPES:
            order, after = "height, width, channels", self._shape(operator.outputs[0])[1:]
            made = "flatten", (order, self._shape(operator.inputs[0])[1:], after)
        elif kind in _POOLS:
            made = _POOLS[kind], self._window(operator)
        elif kind == "CONCATENATION":
            made = "concatenation", (self._axis(operator),)
        elif kind in _PLAIN and len(given) == len(operator.inputs) == takes(_PLAIN[kind]):
            made = _PLAIN[kind], ()
        elif len(given) == 1:
            made = self._by_a_number(operator)
        # Else of a kind that no module has: the first difference will show it.
        return made or (f"TensorFlow's {kind}", (operator.index,))

    def _by_a_number(self, operator: Operator) -> tuple[str, tuple[Hashable, ...]] | None:
        """A sum or product with one number."""
        number, kind = self._number(operator), operator.kind
        if number is None:
            return None
        if kind in ("ADD", "SUB"):
            return "shift", (number if kind == "ADD" else -number,)
        if kind in ("MUL", "DIV") and number:
            return "scale", (number if kind == "MUL" else 1.0 / number,)
        return None

    def _layer(self, operator: Operator, given: Node) -> Node:
        facts, shape = facts_of(operator, self._source), self._shape(operator.inputs[0])
        pads: Pads | None = NO_PADS
        if given.kind == "pad" and isinstance(given.facts[0], Pads):
            pads, given = given.facts[0], given.inputs[0]
        inputs = facts.in_channels
        groups = inputs if operator.kind == "DEPTHWISE_CONV_2D" else 1
        if operator.kind == "CONV_2D" and len(shape) == 4 and shape[3] > inputs:
            groups, inputs = shape[3] // inputs, shape[3]
        kind, numbers = layer_kind(
            facts.kernel, facts.stride, facts.dilation, inputs, facts.out_channels, groups,
            on_a_place=all(side == 1 for side in shape[1:-1]),
        )  # fmt: skip
        reach = tuple((k - 1) * d + 1 for k, d in zip(facts.kernel, facts.dilation, strict=True))
        if facts.padding == "SAME" and operator.kind != "FULLY_CONNECTED":
            pads = _and(pads, self._same(shape[1:3], reach, facts.stride))
        layer = SourceLayer(facts.weight, facts.bias, operator.weight_axes)
        place = describe(operator, self._source)
        return Node(kind, numbers, (given,), place, operator.outputs[0], layer, pads)

    def _has_no_norm(self, operator: Operator, given: Node) -> bool:
        """Whether a batch norm stands directly behind a layer, which nothing else looks at."""
        alone = len(self._consumers.get(operator.inputs[0] or "", ())) == 1
        return alone and isinstance(given.layer, SourceLayer) and given.layer.norm is None

    def _normed(self, operator: Operator, given: Node) -> Node:
        assert isinstance(given.layer, SourceLayer)  # _has_no_norm looked
        gamma, beta, mean, variance = (operand(operator, n, self._source) for n in range(1, 5))
        norm = Norm(operator, gamma, beta, mean, variance)
        return replace(given, layer=replace(given.layer, norm=norm), value=operator.outputs[0])

    def _activation(self, operator: Operator) -> str:
        """The activation fused into an operator, or left to the range of what it gives."""
        stated = str(operator.options.get("activation", "none"))
        info = self._source.activations.get(operator.outputs[0])
        if stated != "none" or operator.kind not in _LAYERS or info is None or info.range is None:
            return stated
        low, high = info.range
        step = (high - low) / 255
        return "relu6" if abs(low) < step / 2 and abs(high - 6) < step / 2 else stated

    def _window(self, operator: Operator) -> tuple[Hashable, ...]:
        options = operator.options
        window = options["filter_h"], options["filter_w"]
        stride = options["stride_h"], options["stride_w"]
        same = options["padding"] == "SAME"
        sides = self._shape(operator.inputs[0])[1:3]
        return window, stride, self._same(sides, window, stride) if same else NO_PADS

    def _same(
        self, sides: tuple[int, ...], reach: tuple[int, ...], stride: tuple[int, ...]
    ) -> Pads | None:
        """What SAME adds; None where the graph leaves its size open, or has no such stride."""
        if len(sides) != 2 or min(*sides, *stride) < 1:
            return None
        rows, columns = (same_pad(*place) for place in zip(sides, reach, stride, strict=True))
        return Pads(rows, columns)

    def _is_real(self, operator: Operator) -> bool:
        """Whether a cast goes on holding real numbers: as floats, or in steps of a scale."""
        info = self._source.activations.get(operator.outputs[0])
        return info is None or operator.kind != "CAST" or info.dtype.startswith("float")

    def _moves_ones(self, operator: Operator) -> bool:
        """Whether an operator adds and drops axes of 1 alone, and so passes its data on."""
        before, after = self._shape(operator.inputs[0]), self._shape(operator.outputs[0])
        if operator.kind in _MEANS and not averages_space(operator, self._source):
            return False
        return [n for n in before[1:] if n != 1] == [n for n in after[1:] if n != 1]

    def _axis(self, operator: Operator) -> str:
        """Along what data is joined, NHWC."""
        rank = len(self._shape(operator.outputs[0]))
        axis = int(operator.options["axis"]) % max(rank, 1)
        if rank not in (2, 4):
            return f"axis {axis}"
        return ("images", "height", "width", "channels")[axis if rank == 4 else 3 * axis]

    def _number(self, operator: Operator) -> float | None:
        """The one number that all of an operator's constant is; of DIV and SUB the second."""
        if operator.kind in ("DIV", "SUB") and is_constant(operator.inputs[0] or "", self._source):
            return None
        values = constant_of(operator, self._source)
        if values is None or not values.size or not np.all(values == values.ravel()[0]):
            return None
        return float(values.ravel()[0])

    def _shape(self, name: str | None) -> tuple[int, ...]:
        info = self._source.activations.get(name or "")
        return () if info is None else info.shape


def _is_sound(facts: OperatorFacts) -> bool:
    """Whether an operator has a stored weight, and sides and channels of at least 1."""
    channels = facts.in_channels, facts.out_channels
    return bool(facts.weight) and min(*facts.kernel, *facts.stride, *facts.dilation, *channels) > 0


def _and(one: Pads | None, other: Pads | None) -> Pads | None:
    if one is None or other is None:
        return None
    rows = one.rows[0] + other.rows[0], one.rows[1] + other.rows[1]
    return Pads(rows, (one.columns[0] + other.columns[0], one.columns[1] + other.columns[1]))

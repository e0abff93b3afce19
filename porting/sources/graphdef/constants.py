"""Tensors of a graph that no input changes: constants, variables, and what is computed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.checkpoint.wire import Malformed
from porting.sources.extent import elements
from porting.sources.graphdef.flat import FlatGraph, FlatNode, number_of
from porting.sources.graphdef.tensors import TYPES, Constant, parse_constant
from porting.sources.source import TensorInfo

VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
READS = ("ReadVariableOp",)
_MOST_COMPUTED = 1 << 24
"""Most elements of a computed constant; a network's largest weight has some millions."""


_DEEPEST = 64
"""Most operations behind one another that a constant is computed by."""


class Variables(Protocol):
    """Values of the variables, by the names of their nodes."""

    def info(self, name: str) -> TensorInfo | None:
        """What is stored, None where nothing is."""

    def read(self, name: str) -> np.ndarray:
        """The values."""


class Constants:
    """Constants of one graph, each read when it is asked for.

    Raises (every method):
        BadSource: a constant is damaged.
        UnsupportedSource: a variable's values are not there.
    """

    def __init__(self, graph: FlatGraph, variables: Variables, where: str) -> None:
        self._graph, self._variables, self._where = graph, variables, where
        self._parsed: dict[str, Constant | None] = {}
        self._depth: dict[str, int] = {}
        self._computed: dict[str, np.ndarray] = {}

    def note(self, node: FlatNode) -> None:
        """Settle whether a node is constant; its inputs must have been noted before."""
        inputs = self._graph.inputs(node)
        if node.op == "Const" or node.op in VARIABLES:
            self._depth[node.name] = 1
            return
        known = node.op in _COMPUTED or node.op in READS or node.op == "PlaceholderWithDefault"
        if known and inputs and all(self.is_constant(name) for name in inputs):
            depth = 1 + max(self._depth[name] for name in inputs)
            if depth <= _DEEPEST:
                self._depth[node.name] = depth

    def is_constant(self, tensor: str) -> bool:
        """Whether no input changes a tensor, and it can be read."""
        return self._graph.origin(tensor) in self._depth

    def name(self, tensor: str) -> str:
        """The stored tensor that a constant is, behind reads and what changes nothing of it."""
        tensor = self._graph.origin(tensor)
        node = self._graph.nodes[tensor]
        if node.op in READS or node.op == "PlaceholderWithDefault":
            return self.name(node.inputs[0])
        return self._unchanged(node) or tensor

    def info(self, name: str) -> TensorInfo:
        """Shape and type of a constant, by what :meth:`name` gives."""
        node = self._graph.nodes[name]
        if node.op == "Const":
            held = self._stored(node)
            if held is None:
                raise UnsupportedSource(f"{self._where}: constant {name!r} is of a type not read")
            return TensorInfo(name, held.shape, held.dtype, held.stored_as)
        if node.op in VARIABLES:
            found = self._variables.info(name)
            if found is None:
                raise UnsupportedSource(
                    f"{self._where}: variable {name!r} has no values in it: the graph is not "
                    "frozen. Give the checkpoint, or the SavedModel's directory"
                )
            return found
        values = self.read(name)
        return TensorInfo(name, values.shape, str(values.dtype), "computed in the graph")

    def read(self, name: str) -> np.ndarray:
        """The values of a constant, by what :meth:`name` gives."""
        node = self._graph.nodes[name]
        try:
            if node.op == "Const":
                held = self._stored(node)
                if held is None or held.dtype == "string":
                    raise UnsupportedSource(f"{self._where}: constant {name!r} is not of numbers")
                return held.values()
            if node.op in VARIABLES:
                self.info(name)
                return self._variables.read(name)
            if name not in self._computed:
                self._computed[name] = self._compute(node)
            return self._computed[name]
        except (Malformed, ValueError, IndexError, TypeError, np.exceptions.AxisError) as error:
            raise BadSource(f"{self._where}: constant {name!r} is damaged: {error}") from error

    def values(self, tensor: str) -> np.ndarray | None:
        """The values of any tensor, None where an input changes it."""
        return self.read(self.name(tensor)) if self.is_constant(tensor) else None

    def _stored(self, node: FlatNode) -> Constant | None:
        if node.name not in self._parsed:
            held = node.attributes.tensor("value")
            try:
                self._parsed[node.name] = None if held is None else parse_constant(held)
            except Malformed as error:
                raise BadSource(
                    f"{self._where}: constant {node.name!r} is damaged: {error}"
                ) from error
        return self._parsed[node.name]

    def _compute(self, node: FlatNode) -> np.ndarray:
        given = [self.read(self.name(tensor)) for tensor in node.inputs]
        size = elements(np.broadcast_shapes(*(a.shape for a in given)) if _spreads(node) else (0,))
        if size > _MOST_COMPUTED or number_of(node.name):
            raise Malformed(f"{node.op} gives {size:,} elements")
        with np.errstate(all="ignore"):
            return np.asarray(_COMPUTED[node.op](node, *given))

    def _unchanged(self, node: FlatNode) -> str | None:
        """The constant that reshapes have brought back to its own shape."""
        before = node
        while before.op in _RESHAPING:
            before = self._graph.nodes[self._graph.origin(before.inputs[0])]
        if before is node:
            return None
        held = self.name(before.name)
        info = self.info(held)
        same = info.dtype != "string" and self.read(node.name).shape == info.shape
        return held if same else None


def _spreads(node: FlatNode) -> bool:
    return node.op in _SPREADING


def _reshape(_: FlatNode, values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return values.reshape(shape.ravel().tolist())


def _squeeze(node: FlatNode, values: np.ndarray) -> np.ndarray:
    return values.squeeze(node.attributes.wholes("squeeze_dims") or None)


def _expand(_: FlatNode, values: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.expand_dims(values, int(axis.ravel()[0]))


def _cast(node: FlatNode, values: np.ndarray) -> np.ndarray:
    kind = TYPES.get(node.attributes.whole("DstT"), "")
    return values.astype("float32" if kind == "bfloat16" else kind)


def _pack(_: FlatNode, *values: np.ndarray) -> np.ndarray:
    return np.asarray(np.stack(values))


def _same_type(change: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def computed(_: FlatNode, *values: np.ndarray) -> np.ndarray:
        return np.asarray(change(*values)).astype(values[0].dtype)

    return computed


def _rsqrt(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / np.sqrt(values))


def fake_quant_range(
    node: FlatNode, low: np.ndarray | None, high: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least value, largest value and step, float32, to which a FakeQuant operation rounds.

    ``low`` and ``high`` are its operands, None where they are attributes. The range is moved so
    that it holds 0 exactly.

    Source: ``Nudge`` in tensorflow/core/kernels/fake_quant_ops_functor.h.
    """
    one = np.float32
    least = one(node.attributes.flag("narrow_range", False))
    most = one(2 ** node.attributes.whole("num_bits", 8) - 1)
    lowest, highest = (
        np.asarray(node.attributes.real(name, default) if end is None else end, one)
        for name, default, end in (("min", -6.0, low), ("max", 6.0, high))
    )
    step = (highest - lowest) / (most - least)
    zero = np.clip(np.floor(least - lowest / step + one(0.5)), least, most)
    return (least - zero) * step, (most - zero) * step, step


def _fake_quant(node: FlatNode, values: np.ndarray, *ends: np.ndarray) -> np.ndarray:
    """What weights are rounded to, to the last bit as TensorFlow computes it."""
    low, high = ends if len(ends) == 2 else (None, None)
    if low is not None and high is not None and low.size == 1 and not low.any() and not high.any():
        return np.zeros_like(values)
    least, most, step = fake_quant_range(node, low, high)
    half, inverse = np.float32(0.5), 1 / step
    zero = np.floor(-least * inverse + half)
    moved = np.clip(values, least, most) - least
    return np.asarray(np.floor(moved * inverse - zero + half) * step)


FAKE_QUANTS = (
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel",
)  # fmt: skip
"""Operations of quantisation-aware training, which round to the steps of an integer type."""

_RESHAPING = ("Reshape", "Squeeze", "ExpandDims")
_SPREADING = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum")
_COMPUTED: Mapping[str, Callable[..., np.ndarray]] = {
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand,
    "Cast": _cast,
    "Pack": _pack,
    **{
        op: _same_type(change)
        for op, change in zip(
            _SPREADING,
            (np.add, np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum),
            strict=True,
        )
    },
    "Neg": _same_type(np.negative),
    "Sqrt": _same_type(np.sqrt),
    "Square": _same_type(np.square),
    "Rsqrt": _same_type(_rsqrt),
    **dict.fromkeys(FAKE_QUANTS, _fake_quant),
}
"""Operations that graphs prepare their constants with -> what they compute."""

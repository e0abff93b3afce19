"""Tensors of a graph that no input changes: constants, variables, and what is computed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import Display
from porting.sources.checkpoint.format_v2 import FormatV2
from porting.sources.checkpoint.reader import read_object_graph
from porting.sources.checkpoint.weight_sets import GRAPH_KEY, VALUE, parse_object_graph
from porting.sources.checkpoint.weight_sets import Node as Object
from porting.sources.graphdef.graph_def import Constant, MetaGraph
from porting.sources.graphdef.inlining import (
    CALLS,
    InlinedGraph,
    InlinedNode,
    node_of,
    number_of,
    tensor_name,
)
from porting.sources.memory import elements
from porting.sources.protobuf import Malformed
from porting.sources.source import TensorInfo
from porting.sources.tensor_proto import read_type

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
_READS = ("ReadVariableOp", "PlaceholderWithDefault")
_ASSIGNMENTS = ("Assign", "AssignVariableOp")
_MOST_COMPUTED = 1 << 24
"""Most elements of a computed constant; a network's largest weight has some millions."""
_MOST_OPERATIONS = 64
"""Most operations in a chain that computes a constant."""


class StoredVariables(Protocol):
    """Tensors whose values lie beside the graph, by the names of their nodes."""

    def info(self, name: str) -> TensorInfo | None:
        """Describe a tensor; None where none has that name."""

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor."""


class RestoredVariables:
    """The variables of a SavedModel, in the checkpoint beside its graph.

    The graph says from which tensor each is restored: an operation assigns what RestoreV2
    reads. Names do not, as in TF2 those of variables and of keys differ. For Keras 3's models
    that operation assigns copies, which nothing uses; there the object graph says it, as it does
    for ``tf.saved_model.load``. A module of TF Hub restores nothing itself: there the names are
    the keys (``recover_partitioned_variable_map`` in tensorflow_hub/native_module.py).

    Raises:
        BadSource: the checkpoint is damaged.
        Malformed: the graph restores them in a way that leads nowhere.
    """

    def __init__(
        self, graph: InlinedGraph, meta: MetaGraph, prefix: Path, display: Display
    ) -> None:
        self._checkpoint, self._prefix = FormatV2(prefix, display), display(prefix)
        self._keys = _restored_keys(graph, meta.restore)
        handles = {n for n, node in graph.nodes.items() if node.op == "VarHandleOp"}
        if not handles <= self._keys.keys() and GRAPH_KEY in self._checkpoint.tensors:
            saved_objects = read_object_graph(self._checkpoint, display)
            self._keys = _keys_of_captures(graph, meta, saved_objects) | self._keys

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards."""
        return self._checkpoint.files

    def info(self, name: str) -> TensorInfo | None:
        """Describe the variable of a node; None where the checkpoint does not have it."""
        info = self._checkpoint.tensors.get(self._key(name))
        return None if info is None else replace(info, name=name)

    def read(self, name: str) -> np.ndarray:
        """The values, after their checksums have been verified."""
        return self._checkpoint.read(self._key(name))

    def _key(self, name: str) -> str:
        key, part = self._keys.get(name, (name, ""))
        if part:
            raise UnsupportedSource(
                f"{self._prefix}: variable {name!r} is a part of {key!r}; partitioned variables of "
                "a SavedModel are not read. Port the checkpoint that it was exported from"
            )
        return key


def _restored_keys(graph: InlinedGraph, restore: str) -> dict[str, tuple[str, str]]:
    """Node of a variable -> its key in the checkpoint, and which slice of that ("" for all)."""
    keys = {}
    for assignment in graph.running(restore):
        if assignment.op not in _ASSIGNMENTS or len(assignment.inputs) < 2:
            continue
        target, value = graph.inputs(assignment)[:2]
        variable, reader = graph.nodes.get(node_of(target)), graph.nodes.get(node_of(value))
        if variable is None or reader is None or variable.op not in _VARIABLES:
            continue
        if reader.op == "RestoreV2" and len(reader.inputs) == 3:
            number = number_of(value)
            lists = []
            for tensor in graph.inputs(reader)[1:]:
                node = graph.producer(tensor)
                is_constant = node is not None and node.op == "Const"
                names = node.attributes.constant("value") if node and is_constant else None
                if names is None or names.dtype != "string":
                    raise Malformed(f"{tensor!r} is not a list of names")
                lists.append(names.strings())
            if number >= min(map(len, lists)):
                raise Malformed(f"{reader.name!r} restores no tensor {number}")
            key, part = (names[number].decode("utf-8", errors="replace") for names in lists)
            keys[variable.name] = (key, part)
    return keys


def _keys_of_captures(
    graph: InlinedGraph, meta: MetaGraph, saved_objects: Sequence[Object]
) -> dict[str, tuple[str, str]]:
    """Node of a variable -> its key in the checkpoint, for those that a function captures.

    A call passes them behind the function's arguments, in the order in which the SavedModel's
    object graph lists them. An object of that graph and one of ``saved_objects`` are the
    same where the same path of names leads to them.

    Source: ``_setup_function_captures`` and ``_restore_checkpoint`` in
    tensorflow/python/saved_model/load.py.
    """
    objects = parse_object_graph(meta.objects) if meta.objects else []
    pairs: dict[int, int] = {0: 0}
    stack = [0] if objects else []
    while stack:
        number = stack.pop()
        counterparts = dict(saved_objects[pairs[number]].children)
        for name, child in objects[number].children:
            if name in counterparts and child not in pairs:
                pairs[child] = counterparts[name]
                stack.append(child)
    keys = {}
    for node in meta.graph.nodes:
        captures = meta.captures.get(node.attributes.function("f")) if node.op in CALLS else ()
        inputs = [name for name in node.inputs if not name.startswith("^")]
        if not captures or len(captures) > len(inputs):
            continue
        for reference, number in zip(inputs[-len(captures) :], captures, strict=True):
            for name, _, key in saved_objects[pairs[number]].attributes if number in pairs else ():
                if name == VALUE:
                    keys[node_of(graph.origin(tensor_name(reference)))] = (key, "")
    return keys


class Constants:
    """Constants of one graph, each read when it is needed; ``where`` names the file in messages.

    ``variables`` is None for a frozen graph, whose variables have become constants.

    Raises (every method):
        BadSource: a constant is damaged.
        UnsupportedSource: a variable has no values.
    """

    def __init__(self, graph: InlinedGraph, variables: StoredVariables | None, where: str) -> None:
        self._graph, self._variables, self._where = graph, variables, where
        self._parsed: dict[str, Constant | None] = {}
        self._depth: dict[str, int] = {}
        self._values: dict[str, np.ndarray] = {}

    def add(self, node: InlinedNode) -> None:
        """Decide whether a node is constant; its inputs must have been added before."""
        inputs = self._graph.inputs(node)
        if node.op == "Const" or node.op in _VARIABLES:
            self._depth[node.name] = 1
            return
        folds = node.op in _COMPUTATIONS or node.op in _READS
        if folds and inputs and all(self.is_constant(name) for name in inputs):
            depth = 1 + max(self._depth[name] for name in inputs)
            if depth <= _MOST_OPERATIONS:
                self._depth[node.name] = depth

    def is_constant(self, tensor: str) -> bool:
        """Whether no input changes a tensor, and it can be read."""
        return self._graph.origin(tensor) in self._depth

    def name(self, tensor: str) -> str:
        """The stored tensor that a constant is, before reads and reshapes that cancel."""
        tensor = self._graph.origin(tensor)
        node = self._graph.nodes[tensor]
        if node.op in _READS:
            return self.name(node.inputs[0])
        before = node
        while before.op in _RESHAPES:
            before = self._graph.nodes[self._graph.origin(before.inputs[0])]
        if before is not node:
            name = self.name(before.name)
            info = self.info(name)
            if info.dtype != "string" and self.read(node.name).shape == info.shape:
                return name
        return tensor

    def info(self, name: str) -> TensorInfo:
        """Shape and type of a constant that :meth:`name` returned."""
        node = self._graph.nodes[name]
        if node.op == "Const":
            constant = self._constant(node)
            if constant is None:
                raise UnsupportedSource(f"{self._where}: constant {name!r} is of a type not read")
            return TensorInfo(name, constant.shape, constant.dtype, constant.stored_as)
        if node.op in _VARIABLES:
            info = self._variables.info(name) if self._variables else None
            if info is None:
                raise UnsupportedSource(
                    f"{self._where}: variable {name!r} has no values in it: the graph is not "
                    "frozen. Give the checkpoint, or the SavedModel's directory"
                )
            return info
        values = self.read(name)
        return TensorInfo(name, values.shape, str(values.dtype), "computed in the graph")

    def read(self, name: str) -> np.ndarray:
        """The values of a constant that :meth:`name` returned."""
        node = self._graph.nodes[name]
        try:
            if node.op == "Const":
                constant = self._constant(node)
                if constant is None or constant.dtype == "string":
                    raise UnsupportedSource(f"{self._where}: constant {name!r} is not of numbers")
                return constant.values()
            if node.op in _VARIABLES:
                self.info(name)
                assert self._variables is not None  # else info raises
                return self._variables.read(name)
            if name not in self._values:
                operands = [self.read(self.name(tensor)) for tensor in node.inputs]
                size = 0
                if node.op in _BROADCAST:
                    size = elements(np.broadcast_shapes(*(array.shape for array in operands)))
                if size > _MOST_COMPUTED or number_of(node.name):
                    raise Malformed(f"{node.op} gives {size:,} elements")
                with np.errstate(all="ignore"):
                    self._values[name] = np.asarray(_COMPUTATIONS[node.op](node, *operands))
            return self._values[name]
        except (Malformed, ValueError, IndexError, TypeError, np.exceptions.AxisError) as error:
            raise BadSource(f"{self._where}: constant {name!r} is damaged: {error}") from error

    def values(self, tensor: str) -> np.ndarray | None:
        """The values of any tensor, None where an input changes it."""
        return self.read(self.name(tensor)) if self.is_constant(tensor) else None

    def _constant(self, node: InlinedNode) -> Constant | None:
        if node.name not in self._parsed:
            try:
                self._parsed[node.name] = node.attributes.constant("value")
            except Malformed as error:
                raise BadSource(
                    f"{self._where}: constant {node.name!r} is damaged: {error}"
                ) from error
        return self._parsed[node.name]


def _same_type(func: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def compute(_: InlinedNode, *values: np.ndarray) -> np.ndarray:
        return np.asarray(func(*values)).astype(values[0].dtype)

    return compute


def fake_quant_range(
    node: InlinedNode, low: np.ndarray | None, high: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least value, largest value and step, float32, to which a FakeQuant operation rounds.

    ``low`` and ``high`` are its operands, None where they are attributes. The range is shifted so
    that it holds 0 exactly.

    Source: ``Nudge`` in tensorflow/core/kernels/fake_quant_ops_functor.h.
    """
    one = np.float32
    least = one(node.attributes.flag("narrow_range", False))
    most = one(2 ** node.attributes.integer("num_bits", 8) - 1)
    lowest, highest = (
        np.asarray(node.attributes.real(name, default) if end is None else end, one)
        for name, default, end in (("min", -6.0, low), ("max", 6.0, high))
    )
    step = (highest - lowest) / (most - least)
    zero = np.clip(np.floor(least - lowest / step + one(0.5)), least, most)
    return (least - zero) * step, (most - zero) * step, step


def _fake_quant(node: InlinedNode, values: np.ndarray, *ends: np.ndarray) -> np.ndarray:
    """The values that weights are rounded to, to the last bit as TensorFlow computes them."""
    low, high = ends if len(ends) == 2 else (None, None)
    if low is not None and high is not None and low.size == 1 and not low.any() and not high.any():
        return np.zeros_like(values)
    least, most, step = fake_quant_range(node, low, high)
    half, inverse = np.float32(0.5), 1 / step
    zero = np.floor(-least * inverse + half)
    offset = np.clip(values, least, most) - least
    return np.asarray(np.floor(offset * inverse - zero + half) * step)


def _dequantise(
    node: InlinedNode, values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """The real values of weights that TensorFlow 1's graph-transform tool has quantised.

    Source: ``DequantizeOp`` in tensorflow/core/kernels/dequantize_op.cc, and
    ``QuantizedToFloatStruct`` in quantization_utils.h.
    """
    mode, limits = node.attributes.text("mode", "MIN_COMBINED"), np.iinfo(values.dtype)
    steps = values.astype(np.float32) - np.float32(limits.min)
    lowest, highest = np.float32(low.ravel()[0]), np.float32(high.ravel()[0])
    step = np.float32((highest - lowest) / np.float64(limits.max - limits.min))
    if mode == "MIN_FIRST" and lowest != highest:
        # std::round takes halves away from zero.
        quotient = lowest / step
        lowest = np.copysign(np.floor(abs(quotient) + np.float32(0.5)), quotient) * step
    elif mode not in ("MIN_FIRST", "MIN_COMBINED"):
        raise Malformed(f"Dequantize in mode {mode} is not read")
    return np.asarray(steps * step + lowest)


FAKE_QUANTS = (
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel",
)  # fmt: skip
"""Operations of quantisation-aware training, which round to the steps of an integer type."""

_RESHAPES = ("Reshape", "Squeeze", "ExpandDims")
_BROADCAST: Mapping[str, Callable[..., np.ndarray]] = {
    "Add": _same_type(np.add),
    "AddV2": _same_type(np.add),
    "Sub": _same_type(np.subtract),
    "Mul": _same_type(np.multiply),
    "RealDiv": _same_type(np.divide),
    "Maximum": _same_type(np.maximum),
    "Minimum": _same_type(np.minimum),
}
"""Operations that broadcast their operands -> their function."""
_COMPUTATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    **_BROADCAST,
    "Reshape": lambda _, values, shape: values.reshape(shape.ravel().tolist()),
    "Squeeze": lambda node, values: values.squeeze(
        node.attributes.integers("squeeze_dims") or None
    ),
    "ExpandDims": lambda _, values, axis: np.expand_dims(values, int(axis.ravel()[0])),
    "Cast": lambda node, values: values.astype(read_type(node.attributes.dtype("DstT"))),
    "Pack": lambda _, *values: np.stack(values),
    "Neg": _same_type(np.negative),
    "Sqrt": _same_type(np.sqrt),
    "Square": _same_type(np.square),
    **dict.fromkeys(FAKE_QUANTS, _fake_quant),
    "Dequantize": _dequantise,
    "Rsqrt": _same_type(lambda values: 1 / np.sqrt(values)),
}
"""Operations with which graphs prepare their constants -> their function."""

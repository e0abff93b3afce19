"""A TensorFlow graph read operation by operation into steps, as it will be run.

Nothing of how the graph was built is used but its placeholder, its logits and the names of its
taps: kernels, strides, padding, epsilons and constants are those of the operations themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from porting.judges.reference.builder import ReferenceGraph
from porting.judges.reference.steps import SAME, Step, Steps, required_steps

_PASSED = ("Identity", "Squeeze", "Reshape")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_ADDITIONS = ("Add", "AddV2", "BiasAdd")
_WEIGHTED = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
_SIMPLE = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Mul": "multiply", "Add": "add",
           "AddV2": "add"}  # fmt: skip

_SHIFT = 3.0
_SHIFTED, _CLAMPED, _SCALED = "x + 3", "relu6(x + 3)", "x * relu6(x + 3)"
_WHOLE = {_CLAMPED: "hard_sigmoid", _SCALED: "hard_swish"}
"""Parts that a constant completes."""


@dataclass(frozen=True)
class _Weight:
    """A variable or a constant, which no data flows through: its shape, and a constant's value.

    ``maker`` names the operation that computes it of others, empty where it is as restored.
    """

    shape: tuple[int, ...]
    value: float | None = None
    values: tuple[int, ...] = ()
    maker: str = ""


@dataclass(frozen=True)
class _Part:
    """Data on its way through a hard sigmoid or hard-swish: ``kind`` says how far."""

    kind: str
    of: int


_Value = int | _Weight | _Part
"""What a tensor holds; an ``int`` is the place of a step."""


def steps_of_graph(reference: ReferenceGraph) -> Steps:
    """The steps from a graph's placeholder to its logits, each tap's name at its step."""
    return _Reader(reference).read()


class _Reader:
    def __init__(self, reference: ReferenceGraph) -> None:
        self.reference = reference
        self.places = {tensor.name: path for path, tensor in reference.taps.items()}
        self.steps: list[Step] = []
        self.values: dict[str, _Value] = {}

    def read(self) -> Steps:
        for operation in _in_order(self.reference):
            first = operation.outputs[0].name
            value = self.values[first] = self.value_of(operation)
            if first in self.places and isinstance(value, int):
                place = self.places[first]
                self.steps[value] = replace(self.steps[value], place=place)
        return required_steps(self.steps, self.data(self.reference.logits.name))

    def data(self, name: str) -> int:
        """The step that a tensor holds; what only began as a hard sigmoid becomes one of its own.

        A constant where data is expected becomes a step too, so that it is seen.
        """
        value = self.values[name]
        if isinstance(value, _Part):
            value = self.step(value.kind, (value.of,), self.steps[value.of].channels)
        elif isinstance(value, _Weight):
            value = self.step("constant", (), 0)
        self.values[name] = value
        return value

    def step(self, kind: str, inputs: tuple[int, ...], channels: int, **facts: Any) -> int:
        self.steps.append(Step(kind, inputs, channels, **facts))
        return len(self.steps) - 1

    def value_of(self, operation: Any) -> _Value:
        kind, names = operation.type, [tensor.name for tensor in operation.inputs]
        if operation is self.reference.image.op:
            return self.step("image", (), int(operation.outputs[0].shape[-1]))
        if kind == "Const":
            return _constant(operation)
        if not names:
            return _Weight(_shape(operation.outputs[0]))
        values = [self.values[name] for name in names]
        if all(isinstance(value, _Weight) for value in values):
            passes_through = kind in _PASSED
            return (
                values[0] if passes_through else _Weight(_shape(operation.outputs[0]), maker=kind)
            )
        if kind in _PASSED:
            return values[0]
        part = self.part_of(operation, values)
        return self.computed(operation, names, values) if part is None else part

    def part_of(self, operation: Any, values: list[_Value]) -> _Value | None:
        """What an operation makes of a hard sigmoid or hard-swish; None where it is no part."""
        kind, first = operation.type, values[0]
        if kind == "Relu6" and isinstance(first, _Part) and first.kind == _SHIFTED:
            return _Part(_CLAMPED, first.of)
        if len(values) != 2 or kind not in (*_ADDITIONS, "Mul"):
            return None
        # A constant, where there is one, last.
        data, other = sorted(values, key=lambda value: isinstance(value, _Weight))
        if kind == "Mul":
            return self.product(data, other)
        shifts = isinstance(other, _Weight) and other.value == _SHIFT
        return _Part(_SHIFTED, data) if isinstance(data, int) and shifts else None

    def product(self, data: _Value, other: _Value) -> _Value | None:
        """``x * relu6(x + 3)``, or a part times a constant, which completes it."""
        if isinstance(other, _Weight):
            if not isinstance(data, _Part) or other.value is None or data.kind not in _WHOLE:
                return None
            channels = self.steps[data.of].channels
            return self.step(_WHOLE[data.kind], (data.of,), channels, number=other.value)
        for part, factor in ((data, other), (other, data)):
            if isinstance(part, _Part) and part.kind == _CLAMPED and part.of == factor:
                return _Part(_SCALED, part.of)
        return None

    def computed(self, operation: Any, names: list[str], values: list[_Value]) -> int:
        kind = operation.type
        inputs = tuple(
            self.data(name)
            for name, value in zip(names, values, strict=True)
            if not isinstance(value, _Weight)
        )
        weights = [value for value in values if isinstance(value, _Weight)]
        if kind in _WEIGHTED and len(weights) == 1 and not weights[0].maker:
            return self.weighted(operation, inputs, weights[0])
        channels = self.steps[inputs[0]].channels
        if kind in _NORMS and not operation.get_attr("is_training"):
            return self.step("norm", inputs, channels, number=operation.get_attr("epsilon"))
        step_kind = (
            "" if any(weight.maker for weight in weights) else _plain_kind(kind, weights, channels)
        )
        return self.step(step_kind or f"TensorFlow's {kind}", inputs, channels)

    def weighted(self, operation: Any, inputs: tuple[int, ...], weight: _Weight) -> int:
        """A convolution, HWIO or HWC1, or a matrix product, IO."""
        if operation.type == "MatMul":
            kernel, stride, padding, outputs = (1, 1), (1, 1), SAME, weight.shape[1]
        else:
            strides = operation.get_attr("strides")
            kernel, stride = (weight.shape[0], weight.shape[1]), (strides[1], strides[2])
            padding, outputs = operation.get_attr("padding").decode(), weight.shape[3]
        kind = "conv"
        if operation.type == "DepthwiseConv2dNative":
            kind, outputs = "depthwise", weight.shape[2] * weight.shape[3]
        if operation.type != "MatMul" and set(operation.get_attr("dilations")) != {1}:
            kind = f"{kind} with dilation"
        return self.step(kind, inputs, outputs, kernel=kernel, stride=stride, padding=padding)


def _plain_kind(kind: str, weights: list[_Weight], channels: int) -> str:
    """What an operation without facts of its own computes; empty where no description has it."""
    if kind in _ADDITIONS and len(weights) == 1 and weights[0].shape == (channels,):
        return "bias"
    if kind == "Mean" and len(weights) == 1 and sorted(weights[0].values) == [1, 2]:
        return "mean"
    return "" if weights else _SIMPLE.get(kind, "")


def _in_order(reference: ReferenceGraph) -> Iterable[Any]:
    """The operations that the logits need, inputs before what is made of them."""
    names, pending = set(), [reference.logits.op]
    while pending:
        operation = pending.pop()
        if operation.name not in names:
            names.add(operation.name)
            pending += [tensor.op for tensor in operation.inputs]
    # An operation is created after those that it takes.
    return (op for op in reference.graph.get_operations() if op.name in names)


def _constant(operation: Any) -> _Weight:
    import tensorflow as tf

    values = tf.make_ndarray(operation.get_attr("value"))
    number = float(values.item()) if values.size == 1 and values.dtype.kind in "fiu" else None
    whole = tuple(int(v) for v in values.ravel()) if values.dtype.kind == "i" else ()
    return _Weight(values.shape, number, whole)


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape.as_list()) if tensor.shape.rank is not None else ()

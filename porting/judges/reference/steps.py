"""A network as steps: what computes each value, from which values, in the order of execution.

A description written down outside this package, a TensorFlow graph and a PyTorch network all
come down to steps, and are compared as such. Nothing here knows block strings or
:class:`~genmobilenet.config.NetworkConfig`. The second half reads the steps of a TensorFlow graph.

================= =========================================================================
kind              what it computes
================= =========================================================================
``image``         the network's input, already normalised
``conv``          a convolution, or a dense layer, which is one of 1x1
``depthwise``     a depthwise convolution
``bias``          a number added to each channel
``norm``          batch norm by moving statistics; ``number`` is its epsilon
``relu``          and ``relu6``, ``hard_swish``, ``silu``, ``sigmoid``
``hard_sigmoid``  relu6(x + 3) times ``number``, a sixth or what stands for it
``mean``          over height and width
``multiply``      of two values; so is ``add``
================= =========================================================================

Reshapes, casts and dropout are not steps. A reader that meets anything else gives the step the
framework's name of the operation, which no description has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porting.judges.reference.graphs import ReferenceGraph


SAME = "SAME"
"""TensorFlow's padding: ``ceil(size / stride)`` places, the odd element at the end."""

SIXTH = 1 / 6
"""The constant of hard sigmoid and hard-swish; slim's squeeze-excite writes 0.16667."""

CONVOLUTIONS = ("conv", "depthwise")
COMMUTATIVE = ("add", "multiply")

_CLOSE = 1e-6
"""Relative: float32 rounds an epsilon by 5e-8, and 0.16667 differs from a sixth by 2e-5."""


@dataclass(frozen=True)
class Step:
    """One value, and what computes it.

    ``inputs`` are the places of earlier steps in the sequence, ``channels`` those of the value
    itself. ``place`` is its module path in the PyTorch network (``blocks.2.0.bn1``), empty where
    a reader does not know it.
    """

    kind: str
    inputs: tuple[int, ...]
    channels: int
    kernel: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    padding: str = ""
    number: float = 0.0
    place: str = ""

    def describe(self) -> str:
        """For messages: kind, kernel, stride, padding, number, channels, inputs."""
        words = [self.kind]
        if self.kind in CONVOLUTIONS:
            words.append(f"{self.kernel[0]}x{self.kernel[1]}")
        text = " ".join(words)
        if self.kind in CONVOLUTIONS:
            strides = self.stride[0] if len(set(self.stride)) == 1 else self.stride
            text += f", stride {strides}, padding {self.padding}"
        if self.number:
            text += f" ({'epsilon' if self.kind == 'norm' else 'constant'} {self.number:.6g})"
        of = " and ".join(map(str, self.inputs))
        return f"{text}, {self.channels} channels" + (f", of step {of}" if of else "")

    def computes_as(self, other: Step) -> bool:
        """Whether both compute the same from the same values, at the same place."""
        if self.place and other.place and self.place != other.place:
            return False
        return (
            self._facts() == other._facts()
            and self._operands() == other._operands()
            and math.isclose(self.number, other.number, rel_tol=_CLOSE)
        )

    def _facts(self) -> tuple[object, ...]:
        return self.kind, self.channels, self.kernel, self.stride, self.padding

    def _operands(self) -> tuple[int, ...]:
        return tuple(sorted(self.inputs)) if self.kind in COMMUTATIVE else self.inputs


Steps = tuple[Step, ...]
"""A whole network; the last step is its logits."""


def required_steps(steps: Sequence[Step], output: int) -> Steps:
    """The steps that ``output`` depends on, renumbered in their order; ``output`` is the last."""
    ancestors, pending = set(), [output]
    while pending:
        number = pending.pop()
        if number not in ancestors:
            ancestors.add(number)
            pending += steps[number].inputs
    numbers = {old: new for new, old in enumerate(sorted(ancestors))}
    return tuple(
        replace(steps[old], inputs=tuple(numbers[number] for number in steps[old].inputs))
        for old in numbers
    )


def first_difference(description: Steps, actual: Steps) -> str | None:
    """The first step where a network differs from its description, both named; None for none."""
    for number, (entry, step) in enumerate(zip(description, actual, strict=False)):
        if not entry.computes_as(step):
            place = entry.place or step.place
            text = f"step {number}, {place}: described {entry.describe()}; found {step.describe()}"
            differs = step.place and entry.place and step.place != entry.place
            return f"{text} at {step.place}" if differs else text
    if len(description) == len(actual):
        return None
    number = min(len(description), len(actual))
    extra, whose = (
        (description[number], "is described and not there")
        if len(description) > number
        else (actual[number], "is there and not described")
    )
    return f"step {number}, {extra.place or 'at no known path'}: {extra.describe()}, {whose}"


def multiply_adds(steps: Steps, side: int) -> int:
    """Multiplications with a weight on one square image of ``side`` pixels, padding SAME."""
    sides, total = [side], 0
    for step in steps[1:]:
        sides.append(1 if step.kind == "mean" else max(sides[number] for number in step.inputs))
        if step.kind in CONVOLUTIONS:
            sides[-1] = math.ceil(sides[-1] / step.stride[0])
            total += weights_of(step, steps) * sides[-1] ** 2
    return total


def parameters(steps: Steps) -> int:
    """The number of trainable parameters: weights, biases, scale and shift of batch norms."""
    learnt = {"bias": 1, "norm": 2}
    return sum(weights_of(s, steps) + learnt.get(s.kind, 0) * s.channels for s in steps)


def weights_of(step: Step, steps: Steps) -> int:
    """The number of a convolution's weights; 0 for any other step."""
    if step.kind not in CONVOLUTIONS:
        return 0
    area = step.kernel[0] * step.kernel[1]
    depth = steps[step.inputs[0]].channels if step.kind == "conv" else 1
    return area * depth * step.channels


# --- steps of a TensorFlow graph ---
#
# Of how the graph was built only its placeholder, its logits and the names of its taps are used:
# kernels, strides, padding, epsilons and constants are those of the operations themselves.

_PASS_THROUGH = ("Identity", "Squeeze", "Reshape")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_ADDITIONS = ("Add", "AddV2", "BiasAdd")
_WEIGHT_OPERATIONS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
_SIMPLE = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Mul": "multiply", "Add": "add",
           "AddV2": "add"}  # fmt: skip

_SHIFT = 3.0
_SHIFT_PART, _CLAMP_PART, _SCALE_PART = "x + 3", "relu6(x + 3)", "x * relu6(x + 3)"
_WHOLE = {_CLAMP_PART: "hard_sigmoid", _SCALE_PART: "hard_swish"}
"""Parts that a constant completes."""


@dataclass(frozen=True)
class _Weight:
    """A variable or a constant that does not depend on the image: its shape, a constant's value.

    ``maker`` names the operation that computes it of others, empty where it is as restored.
    """

    shape: tuple[int, ...]
    value: float | None = None
    values: tuple[int, ...] = ()
    maker: str = ""


@dataclass(frozen=True)
class _Part:
    """An unfinished hard sigmoid or hard-swish of step ``of``: ``kind`` is its formula so far."""

    kind: str
    of: int


_Value = int | _Weight | _Part
"""What a tensor holds; an ``int`` is the place of a step."""


def steps_of_graph(reference: ReferenceGraph) -> Steps:
    """The steps from a graph's placeholder to its logits, with the taps' names."""
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
        """The step that a tensor holds; an unfinished hard sigmoid becomes a step by itself.

        So does a constant where data is expected, to show as a difference.
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
        if kind in _PASS_THROUGH:
            return values[0]
        if all(isinstance(value, _Weight) for value in values):
            return _Weight(_shape(operation.outputs[0]), maker=kind)
        part = self.part_of(operation, values)
        return self.computed(operation, names, values) if part is None else part

    def part_of(self, operation: Any, values: list[_Value]) -> _Value | None:
        """The part of a hard sigmoid or hard-swish that an operation computes; None for none."""
        kind, first = operation.type, values[0]
        if kind == "Relu6" and isinstance(first, _Part) and first.kind == _SHIFT_PART:
            return _Part(_CLAMP_PART, first.of)
        if len(values) != 2 or kind not in (*_ADDITIONS, "Mul"):
            return None
        # A constant, where there is one, last.
        data, other = sorted(values, key=lambda value: isinstance(value, _Weight))
        if kind == "Mul":
            return self.product(data, other)
        shifts = isinstance(other, _Weight) and other.value == _SHIFT
        return _Part(_SHIFT_PART, data) if isinstance(data, int) and shifts else None

    def product(self, data: _Value, other: _Value) -> _Value | None:
        """``x * relu6(x + 3)``, or a part times a constant, which completes it; a SiLU."""
        if isinstance(other, _Weight):
            if not isinstance(data, _Part) or other.value is None or data.kind not in _WHOLE:
                return None
            channels = self.steps[data.of].channels
            return self.step(_WHOLE[data.kind], (data.of,), channels, number=other.value)
        for part, factor in ((data, other), (other, data)):
            if isinstance(part, _Part) and part.kind == _CLAMP_PART and part.of == factor:
                return _Part(_SCALE_PART, part.of)
            if isinstance(part, int) and isinstance(factor, int):
                gate = self.steps[part]
                if (gate.kind, gate.inputs) == ("sigmoid", (factor,)):
                    return self.step("silu", (factor,), gate.channels)
        return None

    def computed(self, operation: Any, names: list[str], values: list[_Value]) -> int:
        kind = operation.type
        inputs = tuple(
            self.data(name)
            for name, value in zip(names, values, strict=True)
            if not isinstance(value, _Weight)
        )
        weights = [value for value in values if isinstance(value, _Weight)]
        if kind in _WEIGHT_OPERATIONS and len(weights) == 1 and not weights[0].maker:
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
    """The kind of step of an operation without attributes; empty where no description has it."""
    if kind in _ADDITIONS and len(weights) == 1 and weights[0].shape == (channels,):
        return "bias"
    if kind == "Mean" and len(weights) == 1 and sorted(weights[0].values) == [1, 2]:
        return "mean"
    return "" if weights else _SIMPLE.get(kind, "")


def _in_order(reference: ReferenceGraph) -> Iterable[Any]:
    """The operations that the logits depend on, each after its inputs."""
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

"""A network as steps: what computes each value, from which values, in the order of execution.

A description written down outside this package, a TensorFlow graph and a PyTorch network all
come down to steps, and are held against each other as such. Nothing here knows block strings,
:class:`~genmobilenet.config.NetworkConfig` or either framework.

================= =========================================================================
kind              what it computes
================= =========================================================================
``image``         the network's input, already normalised
``conv``          a convolution, or a dense layer, which is one of 1x1
``depthwise``     a depthwise convolution
``bias``          a number added to each channel
``norm``          batch norm by moving statistics; ``number`` is its epsilon
``relu``          and ``relu6``, ``hard_swish``, ``sigmoid``
``hard_sigmoid``  relu6(x + 3) times ``number``, a sixth or what stands for it
``mean``          over height and width
``multiply``      of two values; so is ``add``
================= =========================================================================

Reshapes, casts and dropout are no steps. A reader that meets anything else gives the step its
framework's own name for the operation, which no description has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

SAME = "SAME"
"""TensorFlow's padding: ``ceil(size / stride)`` places, the odd element at the end."""

SIXTH = 1 / 6
"""The constant of hard sigmoid and hard-swish; slim's squeeze-excite writes 0.16667."""

WEIGHTED = ("conv", "depthwise")
COMMUTATIVE = ("add", "multiply")

_CLOSE = 1e-6
"""Relative: float32 holds an epsilon to 5e-8, and 0.16667 lies 2e-5 from a sixth."""


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
        if self.kind in WEIGHTED:
            words.append(f"{self.kernel[0]}x{self.kernel[1]}")
        text = " ".join(words)
        if self.kind in WEIGHTED:
            strides = self.stride[0] if len(set(self.stride)) == 1 else self.stride
            text += f", stride {strides}, padding {self.padding}"
        if self.number:
            text += f" ({'epsilon' if self.kind == 'norm' else 'constant'} {self.number:.6g})"
        of = " and ".join(map(str, self.inputs))
        return f"{text}, {self.channels} channels" + (f", of step {of}" if of else "")

    def computes_as(self, other: Step) -> bool:
        """Whether both compute the same of the same values, and stand at the same place."""
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
    """The steps that ``output`` needs, in their order, ``output`` last, numbered anew."""
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
    for number, (expected, step) in enumerate(zip(description, actual, strict=False)):
        if not expected.computes_as(step):
            return _difference(number, expected, step)
    if len(description) == len(actual):
        return None
    number = min(len(description), len(actual))
    extra, whose = (
        (description[number], "is described and not there")
        if len(description) > number
        else (actual[number], "is there and not described")
    )
    return f"step {number}, {extra.place or 'at no known path'}: {extra.describe()}, {whose}"


def _difference(number: int, expected: Step, actual: Step) -> str:
    place = expected.place or actual.place
    text = f"step {number}, {place}: described {expected.describe()}; found {actual.describe()}"
    other_place = actual.place and expected.place and actual.place != expected.place
    return f"{text} at {actual.place}" if other_place else text


def multiply_adds(steps: Steps, side: int) -> int:
    """Multiplications with a weight on one square image of ``side`` pixels, padding SAME."""
    sides, total = [side], 0
    for step in steps[1:]:
        sides.append(1 if step.kind == "mean" else max(sides[number] for number in step.inputs))
        if step.kind in WEIGHTED:
            sides[-1] = math.ceil(sides[-1] / step.stride[0])
            total += weights_of(step, steps) * sides[-1] ** 2
    return total


def parameters(steps: Steps) -> int:
    """Numbers that training changes: weights, biases, and scale and shift of batch norms."""
    learnt = {"bias": 1, "norm": 2}
    return sum(weights_of(s, steps) + learnt.get(s.kind, 0) * s.channels for s in steps)


def weights_of(step: Step, steps: Steps) -> int:
    """How many weights a convolution has; 0 for any other step."""
    if step.kind not in WEIGHTED:
        return 0
    area = step.kernel[0] * step.kernel[1]
    depth = steps[step.inputs[0]].channels if step.kind == "conv" else 1
    return area * depth * step.channels

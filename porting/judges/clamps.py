"""Activations that a quantised file leaves to the range of its integers.

TensorFlow 1's converter drops a fused activation where the output's integers
cannot hold what it would cut off: uint8 with zero point 0 holds nothing below
0, and with a step of 6 / 255 nothing above 6 either. Float32 holds both, so a
float counterpart needs the activation back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

ACTIVATION_FIELDS = {
    "CONV_2D": 10,
    "DEPTHWISE_CONV_2D": 12,
    "FULLY_CONNECTED": 4,
    "ADD": 4,
}
"""Operators that may be followed by an activation -> the place of it among their options."""


def kind_of(model: Any, operator: Any) -> int:
    """An operator's code. Files of before 2020 fill the narrow field alone."""
    code = model.OperatorCodes(operator.OpcodeIndex())
    return max(int(code.DeprecatedBuiltinCode()), int(code.BuiltinCode()))


def implied_clamps(model: Any, tflite: Any) -> Iterator[tuple[Any, int, int]]:
    """Operators that lost their activation: the operator, the option's place, the activation."""
    graph = model.Subgraphs(0)
    fields = {getattr(tflite.BuiltinOperator, n): f for n, f in ACTIVATION_FIELDS.items()}
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        field = fields.get(kind_of(model, operator))
        if field is None or _activation(operator, field):
            continue
        clamp = _implied(graph.Tensors(operator.Outputs(0)), tflite)
        if clamp is not None:
            yield operator, field, clamp


def _activation(operator: Any, field: int) -> int:
    """The code of the activation that the options name; 0 stands for none."""
    options = operator.BuiltinOptions()
    place = options.Offset(field) if options is not None else 0
    return int(options.Bytes[options.Pos + place]) if place else 0


def _implied(output: Any, tflite: Any) -> int | None:
    """What the integers of a result cut off.

    - From 0 up to 6, to within a step: a ReLU6. Nothing else ends there but by chance.
    - From 0 up, in uint8: a ReLU. What the range cuts off above is the
      quantisation's own, a float counterpart is free of it.
    - From 0 up, in int8: nothing. The converters that write int8 keep
      activations in the options, and what they saw of a result was positive.
    """
    limits = {tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT8: np.int8}
    quantisation, dtype = output.Quantization(), limits.get(output.Type())
    if dtype is None or quantisation is None or quantisation.ScaleLength() != 1:
        return None
    step, zero = quantisation.Scale(0), quantisation.ZeroPoint(0)
    if zero != np.iinfo(dtype).min:
        return None
    if abs(step * 255 - 6) <= step:
        return int(tflite.ActivationFunctionType.RELU6)
    return int(tflite.ActivationFunctionType.RELU) if dtype is np.uint8 else None

"""Rewriting TFLite files for a judge: in float32 throughout, or with more outputs.

The reader of ``porting.sources`` takes no part in it, but the schema classes of
the ``tflite`` package: a mistake there must not reach the judge.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, MissingJudge, UnsupportedSource
from porting.judges.flatbuffer_patching import (
    append_buffers,
    append_vector,
    field_position,
    remove_field,
    set_byte,
)
from porting.judges.tflite_constants import layer_behind as read_layer_behind
from porting.judges.tflite_constants import real_values, stands_for_reals

_MODEL_BUFFERS, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_SPARSITY = 12, 6, 8, 16
_GRAPH_OUTPUTS, _OPTIONS = 8, 12
_CODES, _CODE_VERSION = (4, 10), 8
"""Places of fields of ``Model``, ``Tensor``, ``SubGraph``, ``Operator`` and ``OperatorCode``."""

_ACTIVATION_FIELDS = {
    "CONV_2D": 10,
    "DEPTHWISE_CONV_2D": 12,
    "FULLY_CONNECTED": 4,
    "ADD": 4,
}
"""Operators that may be followed by an activation -> the place of it among their options."""

_NO_VALUES = 0
"""The buffer of tensors that are computed: LiteRT takes no values from it, whatever it holds."""


def dequantise(content: bytes, path: Path) -> bytes:
    """Turn a file that computes with integers into one that computes the same in float32.

    Constants and whatever else held integers for real numbers are float32,
    sparse constants are dense, and the operators that led from one form to the
    other copy. Activations that the range of the integers stood for are put
    back, see :func:`_implied_clamps`.

    Raises:
        MissingJudge: the schema classes are not installed.
        BadInput: the file contradicts itself.
        UnsupportedSource: the file keeps its constants outside the flatbuffer, or the
            range of integers implies an activation that has no place in the options.
    """
    tflite = _schema()
    result = bytearray(content)
    model = tflite.Model.GetRootAsModel(content, 0)
    try:
        _change_constants(result, model, path, tflite)
        _change_types(result, model, tflite)
        _restore_activations(result, model, path, tflite)
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise BadInput(f"{path}: cannot be turned into a float file: {error}") from error
    _copy_in_place_of_conversions(result, model, tflite)
    return bytes(result)


def with_every_result(content: bytes) -> bytes:
    """A file whose operators' results are all outputs of the graph.

    tflite-runtime lets an ADD overwrite its input although it was asked to
    preserve all tensors; what leads to an output it leaves alone.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    graph = _schema().Model.GetRootAsModel(content, 0).Subgraphs(0)
    outputs = list(graph.OutputsAsNumpy())
    for number in range(graph.OperatorsLength()):
        outputs += (i for i in graph.Operators(number).OutputsAsNumpy() if i not in outputs)
    result = bytearray(content)
    values = np.asarray(outputs, "<i4").tobytes()
    append_vector(result, field_position(graph, _GRAPH_OUTPUTS), len(outputs), values)
    return bytes(result)


def with_output(content: bytes, tensor: int) -> bytes:
    """A file whose graph's output is one of its tensors alone.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    graph = _schema().Model.GetRootAsModel(content, 0).Subgraphs(0)
    result = bytearray(content)
    append_vector(result, field_position(graph, _GRAPH_OUTPUTS), 1, struct.pack("<i", tensor))
    return bytes(result)


def layer_behind(content: bytes, tensor: int) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Kind, weight (OIHW or OI) and bias of the layer that a tensor comes from, in float32.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    tflite = _schema()
    return read_layer_behind(tflite.Model.GetRootAsModel(content, 0), tensor, tflite)


def _schema() -> Any:
    try:
        import tflite
    except ImportError as error:
        raise MissingJudge(
            "judging this file needs its schema classes, which are not installed: pip install "
            "tflite"
        ) from error
    return tflite


def _change_constants(file: bytearray, model: Any, path: Path, tflite: Any) -> None:
    """Put real values in the place of integers and halves.

    Converters keep equal bytes once, whatever their scales and types. Of tensors that share a
    buffer and stand for different values, all but the first get buffers of their own.
    """
    graph, int8_tensors = model.Subgraphs(0), _int8_in_uint8(model, tflite)
    buffers = [_content_of(model.Buffers(number)) for number in range(model.BuffersLength())]
    holders: dict[tuple[int, bytes], int] = {}
    changed_buffers: set[int] = set()
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        number, real = tensor.Buffer(), stands_for_reals(tensor, tflite)
        if number == _NO_VALUES or not buffers[number]:
            continue
        if not isinstance(buffers[number], bytes):
            if real:
                raise UnsupportedSource(
                    f"{path}: keeps constants behind the model; it is not judged"
                )
            continue
        raw = model.Buffers(number).DataAsNumpy()
        values = (
            real_values(tensor, raw, index in int8_tensors, tflite) if real else raw
        ).tobytes()
        if (number, values) not in holders:
            if number in changed_buffers:
                holders[number, values] = len(buffers)
                buffers.append(values)
            else:
                holders[number, values] = number
                buffers[number] = values
                changed_buffers.add(number)
        if holders[number, values] != number:
            at = field_position(tensor, _TENSOR_BUFFER)
            struct.pack_into("<I", file, at, holders[number, values])
    append_buffers(file, field_position(model, _MODEL_BUFFERS), buffers)


def _content_of(buffer: Any) -> bytes | tuple[int, int]:
    """A buffer's bytes, or in a file over 2 GB where they lie and how many they are."""
    if buffer.DataLength():
        return bytes(buffer.DataAsNumpy())
    return (int(buffer.Offset()), int(buffer.Size())) if buffer.Size() else b""


def _change_types(file: bytearray, model: Any, tflite: Any) -> None:
    graph, float32 = model.Subgraphs(0), tflite.TensorType.FLOAT32
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        if not stands_for_reals(tensor, tflite):
            continue
        if tensor.Type() != float32:
            file[field_position(tensor, _TENSOR_TYPE)] = float32
        if tensor.Sparsity() is not None:
            remove_field(file, tensor, _TENSOR_SPARSITY)


def _int8_in_uint8(model: Any, tflite: Any) -> set[int]:
    """Weights typed uint8 whose bytes are int8, as hybrid kernels take the files of 2018."""
    graph, kinds = model.Subgraphs(0), tflite.BuiltinOperator
    layer_kinds = (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED)
    hybrid = (tflite.TensorType.FLOAT32, tflite.TensorType.UINT8)
    tensors = set()
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        if _operator_code(model, operator) not in layer_kinds:
            continue
        data, weight = (graph.Tensors(operator.Inputs(i)) for i in (0, 1))
        if (data.Type(), weight.Type()) == hybrid:
            tensors.add(int(operator.Inputs(1)))
    return tensors


def _restore_activations(file: bytearray, model: Any, path: Path, tflite: Any) -> None:
    for operator, field, activation in _implied_clamps(model, tflite):
        options = operator.BuiltinOptions()
        if options is None:
            name = model.Subgraphs(0).Tensors(operator.Outputs(0)).Name().decode()
            raise UnsupportedSource(
                f"{path}: the range of {name!r} implies an activation, but its operator has no "
                "options to name one"
            )
        set_byte(file, field_position(operator, _OPTIONS), options, field, activation)


def _copy_in_place_of_conversions(file: bytearray, model: Any, tflite: Any) -> None:
    """Between float32 and float32 a CAST copies; its options may be any other operator's."""
    kinds = tflite.BuiltinOperator
    for number in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(number)
        kind = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        if kind not in (kinds.QUANTIZE, kinds.DEQUANTIZE, kinds.DENSIFY):
            continue
        for field in _CODES:
            if code._tab.Offset(field):
                layout = "<b" if field == _CODES[0] else "<i"
                struct.pack_into(layout, file, field_position(code, field), kinds.CAST)
        if code._tab.Offset(_CODE_VERSION):
            struct.pack_into("<i", file, field_position(code, _CODE_VERSION), 1)


def _operator_code(model: Any, operator: Any) -> int:
    """An operator's code. Files of before 2020 fill the narrow field alone."""
    code = model.OperatorCodes(operator.OpcodeIndex())
    return max(int(code.DeprecatedBuiltinCode()), int(code.BuiltinCode()))


def _implied_clamps(model: Any, tflite: Any) -> Iterator[tuple[Any, int, int]]:
    """Operators whose activation a quantised file leaves to the range of its integers.

    TensorFlow 1's converter drops a fused activation where the output's integers cannot hold
    what it would cut off: uint8 with zero point 0 holds nothing below 0, and with a step of
    6 / 255 nothing above 6 either. Float32 holds both, so a float counterpart needs the
    activation back. Yields the operator, the place of the option and the activation.
    """
    graph = model.Subgraphs(0)
    fields = {getattr(tflite.BuiltinOperator, n): f for n, f in _ACTIVATION_FIELDS.items()}
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        field = fields.get(_operator_code(model, operator))
        if field is None or _activation(operator, field):
            continue
        clamp = _implied_activation(graph.Tensors(operator.Outputs(0)), tflite)
        if clamp is not None:
            yield operator, field, clamp


def _activation(operator: Any, field: int) -> int:
    """The code of the activation that the options name; 0 stands for none."""
    options = operator.BuiltinOptions()
    offset = options.Offset(field) if options is not None else 0
    return int(options.Bytes[options.Pos + offset]) if offset else 0


def _implied_activation(output: Any, tflite: Any) -> int | None:
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

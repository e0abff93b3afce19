"""Rewriting TFLite files for a judge: in float32, with other outputs, or in another order.

The reader of ``porting.sources`` takes no part in it, but the schema classes of the ``tflite``
package: a mistake there must not reach the judge. So a file's constants are read here a second
time, in another way.

A flatbuffer is patched by appending to it: nothing in it moves. Tables are those of the generated
classes, read from the file as it was. A table's fields are found through its list of places, which
may lie anywhere: a table gets another list where a field is to go, and is copied whole where one
is to come.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, MissingJudge, NoPieces, UnsupportedSource

_MODEL_BUFFERS, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_SPARSITY = 12, 6, 8, 16
_GRAPH_OUTPUTS, _GRAPH_OPERATORS, _OPTIONS = 8, 10, 12
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
"""The buffer of computed tensors: LiteRT reads no values from it, whatever it holds."""


def dequantise(content: bytes, path: Path) -> bytes:
    """Turn a file that computes with integers into one that computes the same in float32.

    Constants and activations that were integers for real numbers are float32,
    sparse constants are dense, and the operators that converted between the
    forms copy. Activations that the range of the integers implied are restored,
    see :func:`_implied_clamps`.

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
        graph, float32 = model.Subgraphs(0), tflite.TensorType.FLOAT32
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            if not stands_for_reals(tensor, tflite):
                continue
            if tensor.Type() != float32:
                result[field_position(tensor, _TENSOR_TYPE)] = float32
            if tensor.Sparsity() is not None:
                remove_field(result, tensor, _TENSOR_SPARSITY)
        for operator, field, activation in _implied_clamps(model, tflite):
            options = operator.BuiltinOptions()
            if options is None:
                name = model.Subgraphs(0).Tensors(operator.Outputs(0)).Name().decode()
                raise UnsupportedSource(
                    f"{path}: the range of {name!r} implies an activation, but its operator has no "
                    "options to name one"
                )
            set_byte(result, field_position(operator, _OPTIONS), options, field, activation)
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


def up_to(content: bytes, tensor: int) -> bytes:
    """A file that ends with the operator that computes a tensor, its only output.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    result = bytearray(with_output(content, tensor))
    graph = _schema().Model.GetRootAsModel(bytes(result), 0).Subgraphs(0)
    count = 1 + next(
        number
        for number in range(graph.OperatorsLength())
        if tensor in graph.Operators(number).OutputsAsNumpy()
    )
    at = field_position(graph, _GRAPH_OPERATORS)
    struct.pack_into("<I", result, at + struct.unpack_from("<I", result, at)[0], count)
    return bytes(result)


def producing_layer(content: bytes, tensor: int) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The last convolution or dense layer that a tensor is computed by.

    Kind (``conv``, ``depthwise`` or ``dense``), weight and bias, float32. The weight is OIHW, or
    OI; a file without a bias for the layer gives zeros. A product with or a sum with one constant a
    channel behind the layer is part of it. None where there is no such layer.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    tflite = _schema()
    model = tflite.Model.GetRootAsModel(content, 0)
    graph, kinds = model.Subgraphs(0), tflite.BuiltinOperator
    layers = {
        kinds.CONV_2D: ("conv", (0, 3, 1, 2)),
        kinds.DEPTHWISE_CONV_2D: ("depthwise", (3, 0, 1, 2)),
        kinds.FULLY_CONNECTED: ("dense", (0, 1)),
    }
    producers = {
        int(output): graph.Operators(number)
        for number in range(graph.OperatorsLength())
        for output in graph.Operators(number).OutputsAsNumpy()
    }
    steps: list[tuple[int, np.ndarray]] = []
    while (operator := producers.get(tensor)) is not None:
        code = _operator_code(model, operator)
        layer = layers.get(code)
        if layer is None:
            tensor, *others = operator.InputsAsNumpy().tolist()
            if code in (kinds.MUL, kinds.ADD) and len(others) == 1:
                operands = tensor, *others
                constants = [n for n in operands if n not in producers and _holds(model, n)]
                if len(constants) == 1:
                    (tensor,) = (n for n in operands if n != constants[0])
                    values = _constant(model, constants[0], producers, tflite).ravel()
                    steps += [(code, values)] * (values.size > 1)
            continue
        kind, axes = layer
        weight = _constant(model, int(operator.Inputs(1)), producers, tflite).transpose(axes)
        bias = np.zeros(len(weight), np.float32)
        if operator.InputsLength() > 2 and operator.Inputs(2) >= 0:
            bias = _constant(model, int(operator.Inputs(2)), producers, tflite)
        for code, values in reversed(steps):
            if values.size != len(weight):
                return None
            if code == kinds.MUL:
                scale = values.reshape(-1, *[1] * (weight.ndim - 1))
                weight, bias = weight * scale, bias * values
            else:
                bias = bias + values
        return kind, weight, bias
    return None


def _holds(model: Any, tensor: int) -> bool:
    """Whether a file stores the values of a tensor."""
    buffer = model.Buffers(model.Subgraphs(0).Tensors(tensor).Buffer())
    return buffer is not None and buffer.DataLength() > 0


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
    """Replace integers and halves by the real values that they stand for.

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
    """A buffer's bytes, or their offset and number in a file over 2 GB."""
    if buffer.DataLength():
        return bytes(buffer.DataAsNumpy())
    return (int(buffer.Offset()), int(buffer.Size())) if buffer.Size() else b""


def _int8_in_uint8(model: Any, tflite: Any) -> set[int]:
    """Weights of type uint8 whose bytes are int8: hybrid kernels read files of 2018 so."""
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


def _copy_in_place_of_conversions(file: bytearray, model: Any, tflite: Any) -> None:
    """Turn conversions into CASTs, which copy float32 and accept any operator's options."""
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
    """An operator's code. Files from before 2020 fill only the field of one byte."""
    code = model.OperatorCodes(operator.OpcodeIndex())
    return max(int(code.DeprecatedBuiltinCode()), int(code.BuiltinCode()))


def _implied_clamps(model: Any, tflite: Any) -> Iterator[tuple[Any, int, int]]:
    """Operators whose activation a quantised file expresses only by the range of its integers.

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
        if field is None:
            continue
        options = operator.BuiltinOptions()
        offset = options.Offset(field) if options is not None else 0
        if offset and options.Bytes[options.Pos + offset]:
            continue  # the options name an activation
        clamp = _implied_activation(graph.Tensors(operator.Outputs(0)), tflite)
        if clamp is not None:
            yield operator, field, clamp


def _implied_activation(output: Any, tflite: Any) -> int | None:
    """The activation that the range of a result's integers implies, None for none.

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


# --- another order of operators ---
#
# The flatbuffer is walked by hand: importing the schema classes takes longer than this does.

_SUBGRAPHS, _SIGNATURES, _OPERATORS, _INPUTS, _OUTPUTS = 8, 18, 10, 6, 8
"""Places of ``Model.subgraphs`` and ``.signature_defs``, ``SubGraph.operators``,
``Operator.inputs`` and ``.outputs``."""


def with_one_subgraph(content: bytes, number: int) -> bytes:
    """A file that has only one subgraph of several, and no signatures, which would name others."""
    file = bytearray(content)
    places = _vector(content, _offset(content, 0), _SUBGRAPHS)
    struct.pack_into("<I", file, places[0], _target(content, places[number]) - places[0])
    struct.pack_into("<I", file, places[0] - 4, 1)
    if signatures := _vector(content, _offset(content, 0), _SIGNATURES):
        struct.pack_into("<I", file, signatures[0] - 4, 0)
    return bytes(file)


def piece_by_piece(content: bytes, substitutes: Collection[int]) -> bytes:
    """A file whose operators each run before those that would overwrite the values fed to them.

    ``substitutes`` are tensors, by index, that are set before a run. What takes one of them runs
    before the operator that computes it, so that every operator works on the fed values, and
    each of these tensors holds afterwards what the piece of the graph before it made of them.

    Raises:
        NoPieces: the operators have no such order.
    """
    reordered_file = bytearray(content)
    graph = _vector(content, _offset(content, 0), _SUBGRAPHS)[0]
    places = _vector(content, _target(content, graph), _OPERATORS)
    operators = [_target(content, place) for place in places]
    producers = {
        int(tensor): number
        for number, operator in enumerate(operators)
        for tensor in _indices_in(content, operator, _OUTPUTS)
    }
    order = TopologicalSorter({number: set() for number in range(len(operators))})
    for number, operator in enumerate(operators):
        for tensor in map(int, _indices_in(content, operator, _INPUTS)):
            producer = producers.get(tensor)
            if producer is not None:
                order.add(*((producer, number) if tensor in substitutes else (number, producer)))
    try:
        numbers = list(order.static_order())
    except CycleError as error:
        raise NoPieces("its operators cannot be run piece by piece") from error
    for place, number in zip(places, numbers, strict=True):
        # An offset is positive: the tables have to come after their vector.
        if operators[number] <= place:
            raise NoPieces("its operators lie before the list of them")
        struct.pack_into("<I", reordered_file, place, operators[number] - place)
    return bytes(reordered_file)


def _offset(content: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", content, place)[0])


def _target(content: bytes, place: int) -> int:
    """Where the offset at a place leads."""
    return place + _offset(content, place)


def _vector(content: bytes, table: int, field: int) -> range:
    """The offsets of the elements of a table's vector, four bytes each."""
    vtable = table - int(struct.unpack_from("<i", content, table)[0])
    size = struct.unpack_from("<H", content, vtable)[0]
    place = int(struct.unpack_from("<H", content, vtable + field)[0]) if field < size else 0
    if not place:
        return range(0)
    start = _target(content, table + place)
    return range(start + 4, start + 4 + 4 * _offset(content, start), 4)


def _indices_in(content: bytes, table: int, field: int) -> np.ndarray:
    """A table's vector of tensors, by index."""
    places = _vector(content, table, field)
    return np.frombuffer(content, "<i4", len(places), places.start if places else 0)


# --- real values of constants ---

_NUMBERS = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "INT8": "i1", "UINT8": "u1", "INT16": "<i2",
    "UINT16": "<u2", "INT32": "<i4", "UINT32": "<u4", "INT64": "<i8", "UINT64": "<u8",
}  # fmt: skip
_HALVES = ("FLOAT16", "BFLOAT16")
_INTEGERS = ("INT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


def _type_name(tensor: Any, tflite: Any) -> str:
    """The name of a tensor's type in the schema."""
    types = vars(tflite.TensorType).items()
    return next((name for name, code in types if code == tensor.Type()), str(tensor.Type()))


def stands_for_reals(tensor: Any, tflite: Any) -> bool:
    """Whether a tensor holds real numbers in another form than dense float32."""
    kind, quantisation = _type_name(tensor, tflite), tensor.Quantization()
    if kind in _INTEGERS:
        return quantisation is not None and quantisation.ScaleLength() > 0
    return kind in _HALVES or (kind == "FLOAT32" and tensor.Sparsity() is not None)


def real_values(tensor: Any, raw: np.ndarray, is_int8: bool, tflite: Any) -> np.ndarray:
    """A constant as float32 in its shape; ``raw`` are its bytes.

    ``is_int8`` says that a tensor of type UINT8 holds int8.
    """
    kind = "INT8" if is_int8 else _type_name(tensor, tflite)
    numbers = _numbers(raw, kind)
    shape = [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
    if tensor.Sparsity() is not None:
        numbers = _dense(numbers, shape, tensor.Sparsity(), tflite)
    numbers = numbers[: math.prod(shape)].reshape(shape)
    if kind not in _INTEGERS:
        return numbers.astype(np.float32)
    quantisation = tensor.Quantization()
    scale = np.asarray(quantisation.ScaleAsNumpy(), np.float64)
    zero = np.asarray(quantisation.ZeroPointAsNumpy(), np.float64)
    along = [1] * len(shape)
    if max(scale.size, zero.size) > 1:
        along[quantisation.QuantizedDimension()] = -1
    real = (numbers - zero.reshape(along)) * scale.reshape(along)
    return np.ascontiguousarray(real.astype(np.float32))


def _constant(model: Any, tensor: int, producers: Mapping[int, Any], tflite: Any) -> np.ndarray:
    """The real values of the stored tensor that a tensor is unpacked from."""
    while tensor in producers:
        tensor = int(producers[tensor].Inputs(0))
    constant = model.Subgraphs(0).Tensors(tensor)
    raw = model.Buffers(constant.Buffer()).DataAsNumpy()
    if stands_for_reals(constant, tflite):
        return real_values(constant, raw, False, tflite)
    shape = [constant.Shape(axis) for axis in range(constant.ShapeLength())]
    return np.asarray(raw.view("<f4").reshape(shape))


def _numbers(raw: np.ndarray, kind: str) -> np.ndarray:
    """The stored numbers, flat; with one too many where an odd number of INT4 is packed."""
    if kind == "INT4":
        return np.stack([raw << 4, raw & 0xF0], axis=-1).ravel().view(np.int8) >> 4
    if kind == "BFLOAT16":
        halves = raw.reshape(-1, 2)
        return np.concatenate([np.zeros_like(halves), halves], axis=1).view("<f4").ravel()
    return raw.view(_NUMBERS[kind])


def _dense(numbers: np.ndarray, shape: list[int], sparsity: Any, tflite: Any) -> np.ndarray:
    """Sparse values scattered into the dense tensor, flattened.

    Raises:
        ValueError, IndexError: the sparse levels do not fit the shape.
    """
    rank = len(shape)
    order = [sparsity.TraversalOrder(i) for i in range(sparsity.TraversalOrderLength())]
    block_axes = [sparsity.BlockMap(i) for i in range(sparsity.BlockMapLength())]
    nodes = np.zeros((1, len(order)), np.int64)  # a coordinate for each dimension and block
    sides = [1] * len(block_axes)
    for number, dimension in enumerate(order):
        level = sparsity.DimMetadata(number)
        counts, coordinates = _children(level, len(nodes), math.prod(shape), tflite)
        nodes = np.repeat(nodes, counts, axis=0)
        nodes[:, dimension] = coordinates
        if dimension >= rank:
            sides[dimension - rank] = level.DenseSize()
    for block, axis in enumerate(block_axes):
        nodes[:, axis] = nodes[:, axis] * sides[block] + nodes[:, rank + block]
    dense = np.zeros(shape, numbers.dtype)
    dense[tuple(nodes[:, :rank].T)] = numbers
    return dense.ravel()


def _children(level: Any, parents: int, most: int, tflite: Any) -> tuple[np.ndarray, np.ndarray]:
    """How many children each parent has, and the coordinate of each child."""
    if level.Format() == tflite.DimensionType.DENSE:
        size = level.DenseSize()
        if parents * size > most:
            raise ValueError("more values than the dense tensor has")
        return np.full(parents, size), np.tile(np.arange(size), parents)
    segments = _indices(level.ArraySegmentsType(), level.ArraySegments(), tflite)
    return np.diff(segments), _indices(level.ArrayIndicesType(), level.ArrayIndices(), tflite)


def _indices(kind: int, union: Any, tflite: Any) -> np.ndarray:
    names = {getattr(tflite.SparseIndexVector, n): n for n in _INDEX_VECTORS}
    vector = getattr(tflite, names[kind])()
    vector.Init(union.Bytes, union.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)


_INDEX_VECTORS = ("Int32Vector", "Uint16Vector", "Uint8Vector")


# --- patching a flatbuffer ---

_ALIGNMENT = 16

_EMPTY = struct.pack("<2H", 4, 4)
_WITH_DATA = struct.pack("<3H", 6, 8, 4)
_ELSEWHERE = struct.pack("<5H", 10, 24, 0, 8, 16)
"""Lists of places of a ``Buffer`` with no field, with ``data``, with ``offset`` and ``size``."""


def field_position(table: Any, field: int) -> int:
    """The offset in the file of a field that is present; ``field`` is its place in the list."""
    return int(table._tab.Pos + table._tab.Offset(field))


def append_vector(content: bytearray, at: int, length: int, values: bytes) -> None:
    """Append a vector of ``length`` elements and let the offset at ``at`` lead to it."""
    content.extend(bytes(-(len(content) + 4) % _ALIGNMENT))
    struct.pack_into("<I", content, at, len(content) - at)
    content.extend(struct.pack("<I", length))
    content.extend(values)


def append_buffers(content: bytearray, at: int, buffers: Sequence[bytes | tuple[int, int]]) -> None:
    """Append ``Buffer`` tables and let the offset at ``at`` lead to a vector of them.

    All of them are written: offsets are positive, so that a vector after the existing
    tables could not refer to them. A buffer is its bytes, or where in the file they
    begin and how many they are.
    """
    append_vector(content, at, len(buffers), bytes(4 * len(buffers)))
    entry = len(content) - 4 * len(buffers)
    for buffer in buffers:
        if not isinstance(buffer, bytes):
            table = _append_table(content, _ELSEWHERE, struct.pack("<4x2Q", *buffer))
        elif not buffer:
            table = _append_table(content, _EMPTY, b"")
        else:
            table = _append_table(content, _WITH_DATA, bytes(4))
            append_vector(content, table + 4, len(buffer), buffer)
        struct.pack_into("<I", content, entry, table - entry)
        entry += 4


def _append_table(content: bytearray, fields: bytes, values: bytes) -> int:
    """Append a table after its list of places; its offset, a multiple of 8."""
    content.extend(bytes(-(len(content) + len(fields)) % 8))
    content.extend(fields)
    content.extend(struct.pack("<i", len(fields)))
    content.extend(values)
    return len(content) - len(values) - 4


def remove_field(content: bytearray, table: Any, field: int) -> None:
    """Remove a field from a table."""
    start, fields = int(table._tab.Pos), _fields(content, table._tab)
    struct.pack_into("<H", fields, field, 0)
    content.extend(bytes(len(content) % 2))
    # Signed: the list may be on either side of the table.
    struct.pack_into("<i", content, start, start - len(content))
    content.extend(fields)


def set_byte(content: bytearray, at: int, table: Any, field: int, value: int) -> None:
    """Set a field of one byte in a table of scalars, to which the offset at ``at`` leads."""
    if table.Offset(field):
        content[table.Pos + table.Offset(field)] = value
        return
    fields = _fields(content, table)
    size = struct.unpack_from("<H", fields, 2)[0]
    fields.extend(bytes(max(0, field + 2 - len(fields))))
    struct.pack_into("<HH", fields, 0, len(fields), size + 1)
    struct.pack_into("<H", fields, field, size)
    content.extend(bytes(len(content) % 2))
    places = len(content)
    content.extend(fields)
    content.extend(bytes((table.Pos - len(content)) % _ALIGNMENT))  # scalars stay aligned
    table_copy = len(content)
    content.extend(struct.pack("<i", table_copy - places))
    content.extend(content[table.Pos + 4 : table.Pos + size])
    content.append(value)
    struct.pack_into("<I", content, at, table_copy - at)


def _fields(content: bytearray, table: Any) -> bytearray:
    """A table's list of places: its own size, the table's size, then a place for each field."""
    start = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
    return content[start : start + struct.unpack_from("<H", content, start)[0]]

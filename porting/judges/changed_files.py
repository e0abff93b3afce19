"""TFLite files changed for a judge: weights dequantised, every result kept.

The reader of ``porting.sources`` takes no part in it, but the schema classes of
the ``tflite`` package: a mistake there must not reach the judge.

Whatever changes goes behind the end of the file, and the one offset that led to
the old is pointed at the new; every other byte stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import MissingJudge, UnsupportedSource

_ALIGNMENT = 16
_TENSOR_TYPE, _BUFFER_DATA, _GRAPH_OUTPUTS = 6, 4, 8
"""Places in the vtables of ``Tensor`` (type), ``Buffer`` (data) and ``SubGraph`` (outputs)."""


def dequantised(content: bytes, path: Path) -> bytes:
    """A file with the weights that float operators read as int8 turned into float32.

    Weights that a DEQUANTIZE operator turns into float32 are left: the file
    computes with them in float already.

    Raises:
        MissingJudge: the schema classes are not installed.
        UnsupportedSource: two weights share their bytes and differ in scale.
    """
    tflite = _schema()
    model = tflite.Model.GetRootAsModel(content, 0)
    graph, changed = model.Subgraphs(0), bytearray(content)
    written: dict[int, bytes] = {}
    for index in sorted(set(_hybrid_weights(model, graph, tflite))):
        tensor = graph.Tensors(index)
        values = _real_values(tensor, model.Buffers(tensor.Buffer())).tobytes()
        if written.setdefault(tensor.Buffer(), values) != values:
            raise UnsupportedSource(
                f"{path}: tensor {tensor.Name().decode()!r} shares its bytes with another of "
                "another scale, which cannot be judged"
            )
        changed[_place(tensor, _TENSOR_TYPE)] = tflite.TensorType.FLOAT32
    for number, values in written.items():
        _point_at(changed, _place(model.Buffers(number), _BUFFER_DATA), len(values), values)
    return bytes(changed)


def with_every_result(content: bytes) -> bytes:
    """A file whose operators' results are all outputs of the graph.

    tflite-runtime lets an ADD overwrite its input although it was asked to
    preserve all tensors; what leads to an output it leaves alone.

    Raises:
        MissingJudge: the schema classes are not installed.
    """
    graph = _schema().Model.GetRootAsModel(content, 0).Subgraphs(0)
    outputs = list(graph.OutputsAsNumpy())
    for place in range(graph.OperatorsLength()):
        outputs += (i for i in graph.Operators(place).OutputsAsNumpy() if i not in outputs)
    changed = bytearray(content)
    values = np.asarray(outputs, "<i4").tobytes()
    _point_at(changed, _place(graph, _GRAPH_OUTPUTS), len(outputs), values)
    return bytes(changed)


def _schema() -> Any:
    try:
        import tflite
    except ImportError as error:
        raise MissingJudge(
            "judging this file needs its schema classes, which are not installed: pip install "
            "tflite"
        ) from error
    return tflite


def _place(table: Any, field: int) -> int:
    """Where a field of a flatbuffer table lies in the file."""
    return int(table._tab.Pos + table._tab.Offset(field))


def _hybrid_weights(model: Any, graph: Any, tflite: Any) -> Iterator[int]:
    """Tensors of quantised weights that operators on float data read."""
    kinds = tflite.BuiltinOperator
    weighted = (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED)
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        if kind not in weighted:
            continue
        data, weight = graph.Tensors(operator.Inputs(0)), graph.Tensors(operator.Inputs(1))
        integers = weight.Type() in (tflite.TensorType.INT8, tflite.TensorType.UINT8)
        if integers and data.Type() == tflite.TensorType.FLOAT32:
            yield operator.Inputs(1)


def _real_values(tensor: Any, buffer: Any) -> np.ndarray:
    # Hybrid kernels take uint8 weights for int8: the files of 2018 are typed so.
    stored = buffer.DataAsNumpy().view(np.int8).reshape(tensor.ShapeAsNumpy())
    quantisation = tensor.Quantization()
    scale = np.asarray(quantisation.ScaleAsNumpy(), np.float32)
    zero = np.asarray(quantisation.ZeroPointAsNumpy(), np.int64)
    if scale.size > 1:
        along = [1] * stored.ndim
        along[quantisation.QuantizedDimension()] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    return np.ascontiguousarray((stored - zero).astype(np.float32) * scale)


def _point_at(content: bytearray, field: int, length: int, values: bytes) -> None:
    """Append a vector of ``length`` elements and let the offset at ``field`` lead to it."""
    content.extend(bytes(-(len(content) + 4) % _ALIGNMENT))
    content[field : field + 4] = struct.pack("<I", len(content) - field)
    content.extend(struct.pack("<I", length))
    content.extend(values)

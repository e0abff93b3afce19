"""The real values of a TFLite file's constants, read through the schema classes of ``tflite``.

A second reading beside that of ``porting.sources``, made in another way: a
mistake there must not reach the judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_NUMBERS = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "INT8": "i1", "UINT8": "u1", "INT16": "<i2",
    "UINT16": "<u2", "INT32": "<i4", "UINT32": "<u4", "INT64": "<i8", "UINT64": "<u8",
}  # fmt: skip
_HALVES = ("FLOAT16", "BFLOAT16")
_INTEGERS = ("INT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


def type_name(tensor: Any, tflite: Any) -> str:
    """The name of a tensor's type in the schema."""
    types = vars(tflite.TensorType).items()
    return next((name for name, code in types if code == tensor.Type()), str(tensor.Type()))


def stands_for_reals(tensor: Any, tflite: Any) -> bool:
    """Whether a tensor holds real numbers in another form than dense float32."""
    kind, quantisation = type_name(tensor, tflite), tensor.Quantization()
    if kind in _INTEGERS:
        return quantisation is not None and quantisation.ScaleLength() > 0
    return kind in _HALVES or (kind == "FLOAT32" and tensor.Sparsity() is not None)


def real_values(tensor: Any, raw: np.ndarray, is_int8: bool, tflite: Any) -> np.ndarray:
    """A constant as float32 in its shape; ``raw`` are its bytes.

    ``is_int8`` says that a tensor of type UINT8 holds int8.
    """
    kind = "INT8" if is_int8 else type_name(tensor, tflite)
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


def layer_behind(model: Any, tensor: int, tflite: Any) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The convolution or dense layer that a tensor comes from, with no other layer between.

    Kind (``conv``, ``depthwise`` or ``dense``), weight and bias, float32. The weight is OIHW, or
    OI; a file without a bias for the layer gives zeros. None where there is no such layer.
    """
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
    while (operator := producers.get(tensor)) is not None:
        code = model.OperatorCodes(operator.OpcodeIndex())
        layer = layers.get(max(code.DeprecatedBuiltinCode(), code.BuiltinCode()))
        if layer is None:
            tensor = int(operator.Inputs(0))
            continue
        kind, axes = layer
        weight = _constant(model, int(operator.Inputs(1)), producers, tflite).transpose(axes)
        bias = np.zeros(len(weight), np.float32)
        if operator.InputsLength() > 2 and operator.Inputs(2) >= 0:
            bias = _constant(model, int(operator.Inputs(2)), producers, tflite)
        return kind, weight, bias
    return None


def _constant(model: Any, tensor: int, producers: Mapping[int, Any], tflite: Any) -> np.ndarray:
    """A stored tensor's real values, behind whatever unpacks it."""
    while tensor in producers:
        tensor = int(producers[tensor].Inputs(0))
    constant = model.Subgraphs(0).Tensors(tensor)
    raw = model.Buffers(constant.Buffer()).DataAsNumpy()
    if stands_for_reals(constant, tflite):
        return real_values(constant, raw, False, tflite)
    shape = [constant.Shape(axis) for axis in range(constant.ShapeLength())]
    return np.asarray(raw.view("<f4").reshape(shape))


def _numbers(raw: np.ndarray, kind: str) -> np.ndarray:
    """Flat; one more than there are where an odd number of INT4 was packed."""
    if kind == "INT4":
        return np.stack([raw << 4, raw & 0xF0], axis=-1).ravel().view(np.int8) >> 4
    if kind == "BFLOAT16":
        halves = raw.reshape(-1, 2)
        return np.concatenate([np.zeros_like(halves), halves], axis=1).view("<f4").ravel()
    return raw.view(_NUMBERS[kind])


def _dense(numbers: np.ndarray, shape: list[int], sparsity: Any, tflite: Any) -> np.ndarray:
    """Sparse values in their places in the dense tensor, flattened.

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

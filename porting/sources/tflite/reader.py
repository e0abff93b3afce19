"""The TFLite reader: weights and graph without TensorFlow or LiteRT."""

from __future__ import annotations

import math
import mmap
from functools import cached_property
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.source import Source, TensorInfo
from porting.sources.tflite.model import ParsedModel, StoredTensor, parse
from porting.sources.tflite.schema import IDENTIFIER

_PLAIN = {
    "float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32",
    "int64", "uint64", "bool",
}  # fmt: skip
_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_HYBRID_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def looks_like_tflite(path: Path) -> bool:
    """Whether the file's identifier says TFLite."""
    try:
        with path.open("rb") as stream:
            return stream.read(8)[4:] == IDENTIFIER
    except OSError:
        return False


class TFLiteSource(Source):
    """One TFLite file, mapped into memory; tensors are read when asked for.

    Weights that are stored as float16 or quantised are read as float32:
    ``scale * (stored - zero_point)``, as LiteRT's DEQUANTIZE computes it.

    Raises:
        BadSource: the file is damaged, cut short or not a TFLite file.
        UnsupportedSource: it holds several subgraphs.
    """

    format = "tflite"
    weight_sets = ("as stored",)

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = _map(path)
        self._model: ParsedModel = parse(self._data, path)
        self.graph = self._model.graph
        self._stored = {tensor.name: tensor for tensor in self._model.tensors}
        self._int8_in_uint8 = _legacy_hybrid(self._model)
        for tensor in self._model.tensors:
            _check_extent(tensor, path)
        self.tensors = {
            tensor.name: self._info(tensor) for tensor in self._model.tensors if tensor.constant
        }

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.path,)

    @cached_property
    def activations(self) -> dict[str, TensorInfo]:
        """What operators pass on, and the inputs: tensors without stored values."""
        return {t.name: self._info(t) for t in self._model.tensors if not t.constant}

    @property
    def quantised_weights(self) -> bool:
        """Whether a constant is stored in integers that stand for real numbers."""
        return any(
            tensor.constant and tensor.quantisation is not None for tensor in self._model.tensors
        )

    @property
    def quantised_activations(self) -> bool:
        """Whether operators compute in integers; biases then are integers too."""
        return any(
            tensor.quantisation is not None and tensor.type in ("int8", "uint8", "int16")
            for tensor in self._model.tensors
            if not tensor.constant
        )

    def read(self, name: str) -> np.ndarray:
        """One constant, in TFLite's axis order (convolutions OHWI, depthwise 1HWC).

        Raises:
            KeyError: the file holds no constant of that name.
            UnsupportedSource: its type cannot be read as numbers.
        """
        tensor = self._stored[name]
        if not tensor.constant:
            raise KeyError(name)
        if tensor.type not in _PLAIN or tensor.sparse:
            kind = f"sparse {tensor.type}" if tensor.sparse else tensor.type
            raise UnsupportedSource(f"{self.path}: tensor {name!r} is {kind}, which is not read")
        kind = "int8" if name in self._int8_in_uint8 else tensor.type
        raw = np.frombuffer(self._data, np.dtype(kind).newbyteorder("<"),
                            math.prod(tensor.shape), tensor.start)  # fmt: skip
        return _dequantise(raw.reshape(tensor.shape), tensor, self.path)

    def index_of(self, name: str) -> int:
        """The tensor's number in the file, by which LiteRT knows it."""
        return list(self._stored).index(name)

    def _info(self, tensor: StoredTensor) -> TensorInfo:
        real = tensor.type == "float16" or tensor.quantisation is not None
        dtype = "float32" if real else tensor.type
        return TensorInfo(tensor.name, tensor.shape, dtype, tensor.type, _bounds(tensor))


def _bounds(tensor: StoredTensor) -> tuple[float, float] | None:
    """The ends of what a tensor of one scale can hold."""
    parameters = tensor.quantisation
    if parameters is None or parameters.scale.size != 1 or tensor.type not in _RANGES:
        return None
    zero = int(parameters.zero_point[0]) if parameters.zero_point.size else 0
    low, high = (float(parameters.scale[0]) * (end - zero) for end in _RANGES[tensor.type])
    return low, high


def _map(path: Path) -> memoryview:
    try:
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise BadSource(f"{path}: the file is empty") from None
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error


def _check_extent(tensor: StoredTensor, path: Path) -> None:
    """A constant's bytes must be as many as its shape and type ask for."""
    if any(side < 0 for side in tensor.shape) and tensor.constant:
        raise BadSource(f"{path}: tensor {tensor.name!r} has shape {tensor.shape}")
    if not tensor.constant or tensor.type not in _PLAIN or tensor.sparse:
        return
    expected = math.prod(tensor.shape) * np.dtype(tensor.type).itemsize
    if expected != tensor.size:
        raise BadSource(
            f"{path}: tensor {tensor.name!r} of shape {tensor.shape} and type {tensor.type} "
            f"takes {expected:,} bytes, its buffer has {tensor.size:,}"
        )


def _legacy_hybrid(model: ParsedModel) -> frozenset[str]:
    """Weights typed uint8 whose bytes are int8.

    Converters of 2018 wrote symmetric hybrid weights so, and LiteRT reads them
    so to this day (``EvalHybrid`` in tensorflow/lite/kernels/conv.cc).
    """
    stored = {tensor.name: tensor for tensor in model.tensors}
    names = set()
    for operator in model.graph.operators:
        if operator.kind not in _HYBRID_KINDS or len(operator.inputs) < 2:
            continue
        data, weight = operator.inputs[:2]
        if data is None or weight is None:
            continue
        if stored[data].type == "float32" and stored[weight].type == "uint8":
            names.add(weight)
    return frozenset(names)


def _dequantise(stored: np.ndarray, tensor: StoredTensor, path: Path) -> np.ndarray:
    if tensor.type == "float16":
        return stored.astype(np.float32)
    parameters = tensor.quantisation
    if parameters is None:
        return stored
    scale, zero = parameters.scale, parameters.zero_point
    if scale.size == 1 and zero.size <= 1:
        return _real(stored, scale[:1], zero[:1])
    axis = parameters.axis
    if not 0 <= axis < stored.ndim or {scale.size, zero.size} - {0} != {stored.shape[axis]}:
        raise BadSource(
            f"{path}: tensor {tensor.name!r} of shape {tensor.shape} has {scale.size} scales and "
            f"{zero.size} zero points along axis {axis}"
        )
    along = tuple(-1 if i == axis else 1 for i in range(stored.ndim))
    return _real(stored, scale.reshape(along), zero.reshape(along) if zero.size else zero)


def _real(stored: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """``scale * (stored - zero)`` in float32; an absent zero point is 0."""
    centred = stored.astype(np.int32) - (zero if zero.size else 0)
    # A damaged scale gives infinities; carrying out a plan refuses them with the tensor's name.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(centred.astype(np.float32) * scale)

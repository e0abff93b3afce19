"""The TFLite reader: weights and graph without TensorFlow or LiteRT."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from porting.sources.mapped import mapped_whole
from porting.sources.source import Normalisation, Source, TensorInfo
from porting.sources.tflite.labels import labels_of
from porting.sources.tflite.metadata import metadata_normalisation
from porting.sources.tflite.model import ParsedModel, StoredTensor, parse
from porting.sources.tflite.order import check_order
from porting.sources.tflite.schema import IDENTIFIER
from porting.sources.tflite.values import check_extent, constant, dtype_of, value_range

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

    Weights that are stored in half precision or quantised are read as float32:
    ``scale * (stored - zero_point)``, rounded once. Biases of an integer network
    are quantised constants like others. Sparse weights are read dense.

    Raises:
        BadSource: the file is damaged, cut short or not a TFLite file.
        UnsupportedSource: it holds several subgraphs.
    """

    format = "tflite"
    weight_sets = ("as stored",)

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = mapped_whole(path)
        self._model: ParsedModel = parse(self._data, path)
        self.graph = self._model.graph
        self._stored = {tensor.name: tensor for tensor in self._model.tensors}
        self._int8_in_uint8 = _legacy_hybrid(self._model)
        for tensor in self._model.tensors:
            check_extent(tensor, len(self._data), path)
        self.tensors = {
            tensor.name: self._info(tensor) for tensor in self._model.tensors if tensor.constant
        }
        check_order(self.graph, self.tensors, path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.path,)

    @cached_property
    def activations(self) -> dict[str, TensorInfo]:
        """What operators pass on, and the inputs: tensors without stored values."""
        return {t.name: self._info(t) for t in self._model.tensors if not t.constant}

    @cached_property
    def metadata_normalisation(self) -> Normalisation | None:
        """The normalisation of images in the file's metadata, None where they have none.

        Raises:
            BadSource: the metadata are damaged.
        """
        return metadata_normalisation(self._data, self._model.metadata, self.path)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The lines of the labels that were packed behind the model, None without any.

        Raises:
            BadSource: what was packed is damaged, or larger than labels are.
        """
        return labels_of(self._data, self._model.metadata, self.path)

    @property
    def quantised_weights(self) -> bool:
        """Whether a constant is stored in integers that stand for real numbers."""
        return any(
            tensor.constant and tensor.quantisation is not None for tensor in self._model.tensors
        )

    def read(self, name: str) -> np.ndarray:
        """One constant, in TFLite's axis order (convolutions OHWI, depthwise 1HWC).

        Raises:
            KeyError: the file holds no constant of that name.
            BadSource: its scales or sparse levels do not fit its shape.
            UnsupportedSource: its type cannot be read as numbers.
        """
        tensor = self._stored[name]
        if not tensor.constant:
            raise KeyError(name)
        kind = "int8" if name in self._int8_in_uint8 else tensor.type
        return constant(self._data, tensor, kind, self.path)

    def index_of(self, name: str) -> int:
        """The tensor's number in the file, by which LiteRT knows it."""
        return self._numbers[name]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._stored)}

    def _info(self, tensor: StoredTensor) -> TensorInfo:
        stored_as = tensor.type if tensor.sparsity is None else f"sparse {tensor.type}"
        value = value_range(tensor)
        return TensorInfo(tensor.name, tensor.shape, dtype_of(tensor), stored_as, value)


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

"""The TFLite reader: weights and graph without TensorFlow or LiteRT."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from porting.sources.mapped import mapped_whole
from porting.sources.source import Normalisation, Source, TensorInfo
from porting.sources.tflite.metadata import labels_of, metadata_normalisation
from porting.sources.tflite.model import parse
from porting.sources.tflite.schema import IDENTIFIER
from porting.sources.tflite.tensors import StoredTensor

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
        self._model = parse(self._data, path)
        self.graph = self._model.graph
        self._stored = {tensor.name: tensor for tensor in self._model.tensors}
        self._numbers = {name: number for number, name in enumerate(self._stored)}
        self.tensors = {
            tensor.name: _info(tensor) for tensor in self._model.tensors if tensor.constant
        }
        # Weights typed uint8 whose bytes are int8: converters of 2018 wrote symmetric hybrid
        # weights so, and LiteRT reads them so to this day (``EvalHybrid`` in
        # tensorflow/lite/kernels/conv.cc).
        self._int8_in_uint8 = {
            weight
            for operator in self.graph.operators
            if operator.kind in _HYBRID_KINDS and len(operator.inputs) > 1
            for data, weight in [operator.inputs[:2]]
            if data is not None and self._stored[data].type == "float32"
            if weight is not None and self._stored[weight].type == "uint8"
        }

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.path,)

    @cached_property
    def activations(self) -> dict[str, TensorInfo]:
        """What operators pass on, and the inputs: tensors without stored values."""
        return {t.name: _info(t) for t in self._model.tensors if not t.constant}

    @cached_property
    def metadata_normalisation(self) -> Normalisation | None:
        """The normalisation of images in the file's metadata, None where they state none.

        Raises:
            BadSource: the metadata are damaged.
        """
        return metadata_normalisation(self._data, self._model.metadata, self.path)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class labels that are packed behind the model, None without any.

        Raises:
            BadSource: they are damaged, or larger than labels are.
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
        return tensor.read(self._data, kind, self.path)

    def index_of(self, name: str) -> int:
        """The tensor's number in the file, by which LiteRT knows it."""
        return self._numbers[name]


def _info(tensor: StoredTensor) -> TensorInfo:
    stored_as = tensor.type if tensor.sparsity is None else f"sparse {tensor.type}"
    return TensorInfo(tensor.name, tensor.shape, tensor.dtype, stored_as, tensor.range)

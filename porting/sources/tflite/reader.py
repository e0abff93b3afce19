"""The TFLite reader: weights, graph and metadata without TensorFlow or LiteRT.

The metadata are a flatbuffer of their own in a buffer of the model. For each input they may list
*process units*, one of which is the normalisation of an image; for each output, which text files
label it. Those are in a zip archive behind the model. Older files have the archive alone.

Format of the metadata: ``metadata_schema.fbs`` (schema version 1.5.0) of TensorFlow Lite Support:
``ModelMetadata``, ``SubGraphMetadata``, ``TensorMetadata``, ``ProcessUnit``,
``NormalizationOptions`` and ``AssociatedFile``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from porting.errors import BadSource
from porting.sources.archive import UnpackedArchive
from porting.sources.labels import labels_beside
from porting.sources.memory import mapped
from porting.sources.source import Normalisation, Source, TensorInfo
from porting.sources.tflite.flatbuffer import Flatbuffer, Table
from porting.sources.tflite.model import parse
from porting.sources.tflite.schema import IDENTIFIER
from porting.sources.tflite.tensors import StoredTensor
from porting.sources.zip_archive import copy_member, open_zip

_HYBRID_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_PROCESS_UNITS, _KIND, _OPTIONS, _MEAN, _STD = 4, 0, 1, 0, 1
_ASSOCIATED_FILES, _FILE_NAME, _FILE_TYPE = 6, 0, 2
"""Slots in the tables of the metadata."""

_NORMALIZATION = 1
"""``NormalizationOptions`` in the union ``ProcessUnitOptions``."""

_AXIS_LABELS = 2
"""``AssociatedFileType.TENSOR_AXIS_LABELS``."""

_MOST_CHANNELS = 64
"""Most numbers of a mean; an image has one or three channels."""

_LABELS_LIMIT = 8 << 20
"""Most bytes that labels may unpack to; the 21,843 of ImageNet-21k take under 1 MiB."""


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

    Of ``subgraph_count`` subgraphs it is number ``subgraph``, that of the signature; without
    signatures the first, which LiteRT runs.

    Raises:
        BadSource: the file is damaged, cut short or not a TFLite file.
        BadInput: no signature is called ``signature``, or there are several to choose from.
    """

    format = "tflite"
    weight_sets = ("as stored",)

    def __init__(
        self, file: Path, archive: UnpackedArchive | None = None, signature: str | None = None
    ) -> None:
        self.file, self.archive = file, archive
        self.path = archive.display(file) if archive else file
        self._data = mapped(file, display=self.path, may_be_empty=False)
        self._model = parse(self._data, self.path, signature)
        self.signature = self._model.signature
        self.subgraph, self.subgraph_count = self._model.subgraph, self._model.subgraph_count
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
        return (self.file,)

    @property
    def name(self) -> str:
        """The name of the file itself, also in an archive."""
        return self.file.name

    @cached_property
    def activations(self) -> dict[str, TensorInfo]:
        """Tensors without stored values: inputs and results of operators."""
        return {t.name: _info(t) for t in self._model.tensors if not t.constant}

    def _subgraph_metadata(self) -> Iterator[Table]:
        start, size = self._model.metadata or (0, 0)
        if size:
            root = Flatbuffer(self._data[start : start + size], self.path).root()
            number = self.subgraph
            yield from islice(root.tables(_SUBGRAPHS, "subgraph metadata"), number, number + 1)

    @cached_property
    def metadata_normalisation(self) -> Normalisation | None:
        """Mean and deviation of pixels 0..255 in the metadata of the first input, None without any.

        Raises:
            BadSource: the metadata are damaged, or claim more channels than an image has.
        """
        units = (
            unit
            for graph in self._subgraph_metadata()
            for image in islice(graph.tables(_INPUTS, "input metadata"), 1)
            for unit in image.tables(_PROCESS_UNITS, "process units")
        )
        for unit in units:
            options = unit.table(_OPTIONS, "normalisation options")
            if int(unit.scalar(_KIND, "B")) != _NORMALIZATION or options is None:
                continue
            mean = options.array(_MEAN, "f4", "mean of the normalisation")
            std = options.array(_STD, "f4", "its deviation")
            if not (1 <= len(mean) <= _MOST_CHANNELS and 1 <= len(std) <= _MOST_CHANNELS):
                raise BadSource(
                    f"{self.path}: its metadata normalise by {len(mean):,} means and "
                    f"{len(std):,} deviations; expected one number of each, or one a channel"
                )
            return tuple(mean.tolist()), tuple(std.tolist())
        return None

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class labels that are packed behind the model, else those in a file beside it.

        They are the lines of the file that the metadata name as the labels of an output's axis;
        where they name none or several, of the one with the most lines.

        Raises:
            BadSource: they are damaged, or larger than labels are.
            UnsupportedSource: they are encrypted, or packed by an unusual method.
        """
        label_files = set()
        for graph in self._subgraph_metadata():
            for output in graph.tables(_OUTPUTS, "output metadata"):
                for file in output.tables(_ASSOCIATED_FILES, "associated files"):
                    name = file.text(_FILE_NAME, "associated file name")
                    if file.scalar(_FILE_TYPE, "b") == _AXIS_LABELS:
                        label_files.add(name)
        if not zipfile.is_zipfile(self.file):
            return labels_beside(self.file)
        candidates = []
        with open_zip(self.file, self.path) as archive:
            members = archive.infolist()
            texts = [member for member in members if member.filename in label_files]
            texts = texts or [member for member in members if member.filename.endswith(".txt")]
            limit = _LABELS_LIMIT
            for member in texts:
                raw = io.BytesIO()
                copy_member(archive, member, raw, limit, self.path)
                limit -= raw.tell()
                try:
                    text = raw.getvalue().decode("utf-8-sig")
                except UnicodeDecodeError:
                    raise BadSource(
                        f"{self.path}: the labels {member.filename} are not UTF-8 text"
                    ) from None
                lines = [line.strip() for line in text.split("\n")]
                while lines and not lines[-1]:
                    lines.pop()
                candidates.append(tuple(lines))
        return max(candidates, key=len, default=None) or labels_beside(self.file)

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

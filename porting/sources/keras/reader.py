"""The Keras reader: named tensors and the layers' settings, without Keras or TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import UnpackedArchive, remove_with
from porting.sources.keras.config import KerasLayer, by_path, parse_model
from porting.sources.keras.graph import describes_a_graph, graph_of_model
from porting.sources.keras.hdf5 import list_hdf5
from porting.sources.keras.hdf5_listing import MOST_TEXT
from porting.sources.keras.names import LayerVariables, not_a_weight, tensor_names
from porting.sources.labels import labels_beside
from porting.sources.memory import mapped
from porting.sources.source import Source, TensorInfo
from porting.sources.zip_archive import copy_member, open_zip
from porting.temporary import temporary_folder

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
"""Members of a ``.keras`` (``save_model`` in Keras ``saving/saving_lib.py``). Keras stores both
uncompressed; an archive that was packed anew may be deflated."""
_ZIP_MAGIC = b"PK\x03\x04"
_EXPANSION = 20
"""Most times its own size that an archive may unpack to: float weights shrink by a tenth."""

_FLOAT_POLICIES = re.compile(r"(mixed_)?(b?float16|float64)")
"""Dtype policies of Keras, quantised ones aside, by which a layer does not compute in float32."""


def looks_like_keras(path: Path) -> bool:
    """Whether a file is HDF5, or a zip archive with what Keras puts into one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return False
    if not head.startswith(_ZIP_MAGIC):
        return head == HDF5_MAGIC
    try:
        with open_zip(path) as archive:
            return {_CONFIG, _WEIGHTS} <= set(archive.namelist())
    except (BadSource, UnsupportedSource):
        return path.suffix == ".keras"


class KerasSource(Source):
    """A Keras file: ``.h5`` (a model or its weights), ``.weights.h5`` or ``.keras``.

    Tensors are called ``<layer>/<variable>``: ``Conv1/kernel``,
    ``bn_Conv1/moving_mean``; a depthwise kernel is ``depthwise_kernel``
    whatever the version of Keras, and a layer of a model inside the model is
    ``<model>/<layer>``. What lies outside the layers keeps its path in the
    file (``optimizer/vars/3``).

    ``layers`` are the model's as its configuration lists them, empty where the
    file holds weights alone; the graph is that of the configuration. ``version`` is that of the
    Keras that wrote the file, "" where it is not stated. ``suffix`` is the ending by which Keras
    tells the file's layout. An array is read when it is asked for.

    Raises:
        BadSource: the file is damaged, cut short, or not one of Keras.
        UnsupportedSource: it leads to other files, or is stored unusually.
    """

    format = "keras"
    weight_sets = ("as stored",)

    def __init__(self, file: Path, archive: UnpackedArchive | None = None) -> None:
        self.file, self.archive = file, archive
        self.path = path = archive.display(file) if archive else file
        config, where, version = None, str(path), ""
        self._data = mapped(file, display=path)
        is_archive = bytes(self._data[:4]) == _ZIP_MAGIC
        if is_archive:
            folder = temporary_folder()
            remove_with(self, folder)
            config, version, file = _unpack(file, folder)
            where = f"{path}: {_WEIGHTS}"
            self._data = mapped(file)
        listing = list_hdf5(file, where)
        config = config or listing.attributes[""].get("model_config")
        version = version or listing.attributes[""].get("keras_version", "" if is_archive else "1")
        model = parse_model(config, where) if config else None
        self.version: str = version
        self.layers: tuple[KerasLayer, ...] = model.layers if model else ()
        self.suffix, names = tensor_names(listing, self.layers, where)
        if is_archive:
            self.suffix = ".keras"
        self._datasets = {
            names.get(path, path): dataset for path, dataset in listing.datasets.items()
        }
        if len(self._datasets) < len(listing.datasets):
            raise BadSource(f"{where}: two of its tensors have the same name")
        # In the order of the layers, which HDF5 does not keep.
        order = dict.fromkeys([*names.values(), *self._datasets])
        self.tensors = {}
        for name in order:
            dataset = self._datasets[name]
            dtype = dataset.numpy_dtype or dataset.dtype
            stored_as = "bfloat16" if dataset.is_bfloat16 else dataset.keras_dtype or dtype
            self.tensors[name] = TensorInfo(name, dataset.shape, dtype, stored_as)
        self._add_graph(model, LayerVariables(self.tensors, self.suffix), where)

    def _add_graph(
        self,
        model: KerasLayer | None,
        variables: Callable[[tuple[str, ...], str], str | None],
        where: str,
    ) -> None:
        """Add the graph of a model, and the constants of its configuration as tensors."""
        self._constants: Mapping[str, np.ndarray] = {}
        self._activations: Mapping[str, TensorInfo] = {}
        if model is not None and describes_a_graph(model):
            whole = graph_of_model(model, variables, self.read, self.is_of_keras_2, where)
            self.graph, self._activations = whole.graph, whole.activations
            self._constants = whole.constants
            constants = {
                name: TensorInfo(name, values.shape, values.dtype.name, values.dtype.name)
                for name, values in whole.constants.items()
            }
            self.tensors = {**self.tensors, **constants}

    @property
    def activations(self) -> Mapping[str, TensorInfo]:
        """The tensors of layers; () where a shape is not known, -1 for a side left open."""
        return self._activations

    @property
    def is_of_keras_2(self) -> bool:
        """Whether a version before Keras 3 wrote the file."""
        return self.version[:2] in ("0.", "1", "1.", "2.")

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, where a file of them lies beside the model."""
        return labels_beside(self.file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.file,)

    @property
    def name(self) -> str:
        """The name of the file itself, also in an archive."""
        return self.file.name

    @property
    def input_side(self) -> int | None:
        """The side of a square input layer, where the model is stored with its weights.

        Without the model, what is known from elsewhere.
        """
        for layer in self.layers:
            shape = layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape")
            if isinstance(shape, (list, tuple)) and len(shape) == 4 and shape[1] == shape[2]:
                return shape[1] if isinstance(shape[1], int) else None
        return super().input_side

    @property
    def dtype_policies(self) -> tuple[str, ...]:
        """Dtype policies of layers that do not compute in float32, each once, in their order."""
        policies = (layer.dtype_policy for outer in self.layers for layer in outer)
        return tuple(
            dict.fromkeys(name for name in policies if name and _FLOAT_POLICIES.fullmatch(name))
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """That the file's layers compute in another precision, which no port does."""
        if not self.dtype_policies:
            return ()
        policies = ", ".join(self.dtype_policies)
        return (f"its layers state the dtype policy {policies}; port and judge compute in float32",)

    def not_a_weight(self, name: str) -> str | None:
        """The rule for what is no variable, and for those of optimizers, metrics and the like."""
        if name in self._constants:
            return "constant of the configuration"
        if name.rpartition("/")[0] in self._normalisation_layers:
            return "normalisation of the input"
        return not_a_weight(name)

    @cached_property
    def _normalisation_layers(self) -> frozenset[str]:
        layers = by_path(self.layers)
        return frozenset(path for path, layer in layers if layer.kind == "Normalization")

    def read(self, name: str) -> np.ndarray:
        """One tensor, in Keras's axis order (convolutions HWIO, depthwise HWC1, dense IO).

        bfloat16 comes as float32; everything else as a view of the file.

        Raises:
            KeyError: no tensor has that name.
            UnsupportedSource: it is not numeric.
        """
        if name in self._constants:
            return self._constants[name]
        dataset = self._datasets[name]
        if dataset.numpy_dtype is None:
            raise UnsupportedSource(
                f"{self.path}: tensor {name!r} is of type {dataset.dtype}, which is not read"
            )
        dtype = "<u2" if dataset.is_bfloat16 else dataset.dtype
        count = dataset.nbytes // dataset.size
        array = np.frombuffer(self._data, dtype, count, dataset.offset or 0).reshape(dataset.shape)
        if dataset.is_bfloat16:
            # The upper half of a float32.
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _unpack(path: Path, folder: Path) -> tuple[str, str, Path]:
    """A ``.keras`` file's configuration, the version of Keras, and its weights as a file.

    Raises:
        BadSource: the archive is damaged, lacks a member, or unpacks to more than any model takes.
        UnsupportedSource: it is encrypted, or packed unusually.
    """
    try:
        with open_zip(path) as archive, (folder / _WEIGHTS).open("wb") as out:
            config, metadata = BytesIO(), BytesIO()
            copy_member(archive, archive.getinfo(_CONFIG), config, MOST_TEXT, path)
            if _METADATA in archive.namelist():
                copy_member(archive, archive.getinfo(_METADATA), metadata, MOST_TEXT, path)
            limit = path.stat().st_size * _EXPANSION
            copy_member(archive, archive.getinfo(_WEIGHTS), out, limit, path)
        version = _version(metadata.getvalue())
        return config.getvalue().decode("utf-8"), version, folder / _WEIGHTS
    except (KeyError, UnicodeDecodeError) as error:
        raise BadSource(f"{path}: not a Keras archive: {error}") from error


def _version(metadata: bytes) -> str:
    """The version of Keras in a ``.keras`` file's metadata; "" where it is not stated."""
    try:
        version = json.loads(metadata)["keras_version"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return version if isinstance(version, str) else ""

"""The Keras reader: named tensors and the layers' settings, without Keras or TensorFlow."""

from __future__ import annotations

import mmap
import re
from functools import cached_property
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import removed_with
from porting.sources.keras.config import KerasLayer, by_path, parse_layers
from porting.sources.keras.contents import Contents, Dataset, list_contents
from porting.sources.keras.legacy import legacy_names, legacy_root
from porting.sources.keras.numbered import numbered_names, numbered_root
from porting.sources.keras.variables import not_a_weight
from porting.sources.keras.zipped import MAGIC, WEIGHTS, is_keras_archive, unpack_keras
from porting.sources.source import Source, TensorInfo

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

FLOATS = re.compile(r"(mixed_)?(b?float16|float64)")
"""Dtype policies of Keras, quantised ones aside, by which a layer does not compute in float32."""

_OPAQUE = "|V2"
"""Two bytes without meaning, as h5py writes bfloat16 where Keras notes no type (``.h5``)."""


def looks_like_keras(path: Path) -> bool:
    """Whether a file is HDF5, or a zip archive with what Keras puts into one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return False
    return head == HDF5_MAGIC or (head.startswith(MAGIC) and is_keras_archive(path))


class KerasSource(Source):
    """A file of Keras: ``.h5`` (a model or its weights), ``.weights.h5`` or ``.keras``.

    Tensors are called ``<layer>/<variable>``: ``Conv1/kernel``,
    ``bn_Conv1/moving_mean``; a depthwise kernel is ``depthwise_kernel``
    whatever the version of Keras, and a layer of a model inside the model is
    ``<model>/<layer>``. What lies outside the layers keeps its path in the
    file (``optimizer/vars/3``).

    ``layers`` are the model's as its configuration lists them, empty where the
    file holds weights alone. ``suffix`` is the ending by which Keras tells the
    file's layout. An array's bytes are touched when it is read.

    Raises:
        BadSource: the file is damaged, cut short, or not one of Keras.
        UnsupportedSource: it leads to other files, or is stored unusually.
    """

    format = "keras"
    weight_sets = ("as stored",)

    def __init__(self, path: Path) -> None:
        self.path = path
        config, file, where = None, path, str(path)
        if _starts_with(path, MAGIC):
            config, file = unpack_keras(path)
            where = f"{path}: {WEIGHTS}"
            removed_with(self, file.parent)
        contents = list_contents(file, where)
        config = config or contents.attributes[""].get("model_config")
        self.layers: tuple[KerasLayer, ...] = parse_layers(config, where) if config else ()
        self.suffix, names = _names(contents, self.layers, where)
        if file is not path:
            self.suffix = ".keras"
        self._stored = {names.get(path, path): held for path, held in contents.datasets.items()}
        if len(self._stored) < len(contents.datasets):
            raise BadSource(f"{where}: two of its tensors come to the same name")
        # In the order of the layers, which HDF5 does not keep.
        order = dict.fromkeys([*names.values(), *self._stored])
        self.tensors = {name: _info(name, self._stored[name]) for name in order}
        self._data = _map(file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.path,)

    @property
    def input_side(self) -> int | None:
        """The input layer's, where the model is stored with its weights and is square.

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
        stated = (layer.dtype_policy for outer in self.layers for layer in outer)
        return tuple(dict.fromkeys(name for name in stated if name and FLOATS.fullmatch(name)))

    @property
    def notes(self) -> tuple[str, ...]:
        """That the file's layers compute in another precision, which no port does."""
        if not self.dtype_policies:
            return ()
        policies = ", ".join(self.dtype_policies)
        return (f"its layers state the dtype policy {policies}; port and judge compute in float32",)

    def not_a_weight(self, name: str) -> str | None:
        """The optimizer's variables, metrics, random seeds and an input's statistics are none."""
        if name.rpartition("/")[0] in self._normalising:
            return "normalisation of the input"
        return not_a_weight(name)

    @cached_property
    def _normalising(self) -> frozenset[str]:
        layers = by_path(self.layers)
        return frozenset(path for path, layer in layers if layer.kind == "Normalization")

    def read(self, name: str) -> np.ndarray:
        """One tensor, in Keras's axis order (convolutions HWIO, depthwise HWC1, dense IO).

        bfloat16 comes as float32; everything else as a view of the file.

        Raises:
            KeyError: no tensor has that name.
            UnsupportedSource: it is not of numbers.
        """
        held = self._stored[name]
        if _dtype(held) is None:
            raise UnsupportedSource(
                f"{self.path}: tensor {name!r} is of type {held.dtype}, which is not read"
            )
        stored = "<u2" if _is_bfloat16(held) else held.dtype
        count = held.nbytes // held.size
        raw = np.frombuffer(self._data, stored, count, held.offset or 0).reshape(held.shape)
        if _is_bfloat16(held):
            # The upper half of a float32.
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))


def _names(
    contents: Contents, layers: tuple[KerasLayer, ...], where: str
) -> tuple[str, dict[str, str]]:
    """The ending that the layout goes by, and each dataset's path with its tensor's name."""
    root = legacy_root(contents)
    if root is not None:
        return ".h5", legacy_names(contents, root, layers, where)
    root = numbered_root(contents)
    if root is not None:
        return ".weights.h5", numbered_names(contents, root, layers, where)
    raise BadSource(
        f"{where}: HDF5, but not of Keras: it has neither a list of 'layer_names' nor a group "
        "'layers'"
    )


def _is_bfloat16(held: Dataset) -> bool:
    if held.mark is None:
        return held.dtype == _OPAQUE
    return held.mark == "bfloat16" and held.size == 2


def _dtype(held: Dataset) -> str | None:
    """NumPy's name of what reading gives; None for what cannot be read."""
    if _is_bfloat16(held):
        return "float32"
    try:
        kind = np.dtype(held.dtype)
    except TypeError:
        return None
    return kind.name if kind.kind in "fiub" else None


def _info(name: str, held: Dataset) -> TensorInfo:
    dtype = _dtype(held)
    stored = "bfloat16" if _is_bfloat16(held) else held.mark or dtype or held.dtype
    return TensorInfo(name, held.shape, dtype or held.dtype, stored)


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error


def _map(file: Path) -> memoryview:
    with file.open("rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))

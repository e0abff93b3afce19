"""What every reader returns: named tensors, a graph where there is one, and what is known."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from porting.sha256 import sha256_of
from porting.sources.archive import UnpackedArchive

_UNPACKING = ("DENSIFY", "DEQUANTIZE")
"""Operators that change how a tensor is stored and not its values."""

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of RGB pixels 0..255, ``(x - mean) / deviation``: one number, or one a
channel."""

DEFAULT_SIGNATURE = "serving_default"
"""The signature that TensorFlow serves where none is named
(``DEFAULT_SERVING_SIGNATURE_DEF_KEY``)."""

WEIGHT_AXES = {
    "CONV_2D": "o h w i",
    "DEPTHWISE_CONV_2D": "1 h w c",
    "FULLY_CONNECTED": "o i",
}
"""Kind of a layer's operator -> axes of its weight, where the operator states no others."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a source, as its file describes it.

    ``shape`` is in the source's own axis order. ``dtype`` is the NumPy name of
    what :meth:`Source.read` returns; ``stored_as`` is the type on disk, which
    differs where weights are quantised or sparse. ``range`` is the least and the
    largest real value that a tensor quantised with one scale can hold: an
    operator that makes it clamps to that.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored_as: str
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator of a source's graph, in the vocabulary of :class:`Graph`.

    ``inputs`` and ``outputs`` are tensor names; an optional input that the
    operator leaves out is ``None``.
    """

    index: int
    kind: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weight_axes(self) -> str:
        """Axes of a layer's weight as in :mod:`porting.mapping.layouts`; "" for other kinds."""
        return str(self.options.get("weight_axes", WEIGHT_AXES.get(self.kind, "")))


MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
"""Options of a ``STRIDED_SLICE``: a bit for each number."""


def slices_of(
    kind: str, numbers: Sequence[Sequence[int]], options: Mapping[str, Any], rank: int
) -> tuple[slice, ...] | None:
    """What a ``SLICE`` (begin, size) or ``STRIDED_SLICE`` (begin, end, strides) takes of each axis.

    None for one that adds or drops axes, has strides, or numbers that do not fit.
    """
    if len(numbers) != (2 if kind == "SLICE" else 3) or len({*map(len, numbers)}) != 1:
        return None
    if kind == "SLICE":
        pairs = zip(*numbers, strict=True)
        slices = [
            slice(begin or None, None if size == -1 else begin + size) for begin, size in pairs
        ]
        return tuple(slices) if len(slices) == rank else None
    begins, ends, ellipsis, new_axis, shrink_axis = (int(options.get(mask, 0)) for mask in MASKS)
    if new_axis or shrink_axis:
        return None
    slices = []
    for place, (begin, end, step) in enumerate(zip(*numbers, strict=True)):
        if ellipsis >> place & 1:
            slices += [slice(None)] * (rank - len(numbers[0]) + 1)
        elif step != 1:
            return None
        else:
            first = None if begins >> place & 1 or begin == 0 else begin
            slices.append(slice(first, None if ends >> place & 1 else end))
    slices += [slice(None)] * (rank - len(slices))
    return tuple(slices) if len(slices) == rank else None


@dataclass(frozen=True)
class Graph:
    """Operators in execution order, between named inputs and outputs; all data is NHWC.

    Every reader names operators as TFLite does, whatever its format calls
    them. Kinds that the mapping knows, with their inputs and options:

    - ``CONV_2D``, ``DEPTHWISE_CONV_2D`` (data, weight, bias or None):
      ``padding`` (``SAME``, ``VALID``), ``stride_h``, ``stride_w``,
      ``dilation_h``, ``dilation_w``; the second also ``depth_multiplier``.
    - ``FULLY_CONNECTED`` (data, weight, bias or None).
    - ``BATCH_NORM`` (data, gamma, beta, mean, variance), where a format keeps it
      separate from the convolution: ``epsilon``. Without a gamma or beta that input is None.
      Where mean and variance are None and ``epsilon`` too, it is data * gamma + beta.
    - ``ADD``, ``SUB``, ``MUL``, ``DIV`` (two operands, data or constant).
    - ``MINIMUM``, ``MAXIMUM`` (data and a constant).
    - ``RELU``, ``RELU6``, ``LOGISTIC``, ``HARD_SWISH``, ``TANH`` (data); ``SOFTMAX`` (data):
      ``beta`` where it is not 1.
    - ``MEAN``, ``REDUCE_MAX``, ``SUM`` (data, axes); ``SQUARE``, ``SQRT``, ``RSQRT``,
      ``L2_NORMALIZATION`` (data); ``AVERAGE_POOL_2D``, ``MAX_POOL_2D`` (data): ``padding``,
      ``filter_h``, ``filter_w``, ``stride_h``, ``stride_w``.
    - ``PAD`` (data, amounts (4, 2)), ``PADV2`` (data, amounts, what is filled in).
    - ``TRANSPOSE`` (data, order), ``FAKE_QUANT`` (data).
    - ``CONCATENATION`` (any number of data): ``axis``. ``SPLIT`` (axis, data), ``SPLIT_V`` (data,
      sizes, axis), each with an output a part; ``SLICE`` (data, begin, size), ``STRIDED_SLICE``
      (data, begin, end, strides): ``begin_mask`` and the other masks.
    - ``RESHAPE``, ``SQUEEZE``, ``EXPAND_DIMS`` (data, ...), ``QUANTIZE``,
      ``DEQUANTIZE``, ``CAST`` (data): skipped. What computes a shape alone is not listed.

    Anything else keeps its format's own name, and no network has it.
    ``activation`` (``none``, ``relu``, ``relu6``, ...) is an option of each
    operator that has one fused. ``weight_axes`` states the axes of a layer's
    weight where they are not those of :data:`WEIGHT_AXES`: TensorFlow's are
    ``h w i o``, ``h w c 1`` (``h w c m`` with a depth multiplier) and ``i o``.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def dequantised(self) -> dict[str, str]:
        """Output of a DENSIFY or DEQUANTIZE operator -> the tensor where their chain begins."""
        origins: dict[str, str] = {}
        for operator in self.operators:
            data = operator.inputs[0]
            if operator.kind in _UNPACKING and data is not None:
                origins[operator.outputs[0]] = origins.get(data, data)
        return origins

    @cached_property
    def consumers(self) -> dict[str, tuple[Operator, ...]]:
        """Tensor -> the operators that take it, each once, in execution order."""
        consumers: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for name in dict.fromkeys(operator.inputs):
                if name is not None:
                    consumers.setdefault(name, []).append(operator)
        return {name: tuple(operators) for name, operators in consumers.items()}


class Source(abc.ABC):
    """One TensorFlow-side model on disk.

    ``path`` is what messages and reports call it: the user's path, or ``archive, member`` for a
    file that was unpacked from an ``archive``. ``tensors`` lists what can be read, without
    reading it. ``weight_sets`` is ``("raw",)``, ``("ema", "raw")`` with moving averages beside the
    trained weights, or ``("as stored",)`` for an exported file, which does not
    say which of the two it was made from, and for averages under the plain names.
    ``graph`` is None for a format that holds weights alone. ``trained_at`` is the
    side in pixels of the images that it was trained on, where that is known from elsewhere.
    ``documented_as`` is the published source that it is, where its authors say what it takes.
    ``signature`` is the name of the signature whose graph this is, None for a format without.
    """

    format: str
    path: Path
    tensors: Mapping[str, TensorInfo]
    weight_sets: tuple[str, ...] = ("raw",)
    graph: Graph | None = None
    trained_at: int | None = None
    documented_as: str | None = None
    archive: UnpackedArchive | None = None
    signature: str | None = None

    @property
    def name(self) -> str:
        """The name of the file or folder that was opened."""
        return self.path.name

    @property
    def user_file(self) -> Path:
        """The path that the user gave: that of the archive where it was unpacked from one."""
        return self.archive.file if self.archive else self.path

    @property
    def activations(self) -> Mapping[str, TensorInfo]:
        """The tensors between operators; empty for a source without a graph."""
        return {}

    @property
    def input_side(self) -> int | None:
        """The side of the input image in pixels, where the source states it or it is known."""
        return self.trained_at

    def not_a_weight(self, name: str) -> str | None:
        """The rule by which a tensor is left out (``"optimizer slot"``), or None for a weight."""
        return None

    @property
    def metadata_normalisation(self) -> Normalisation | None:
        """How pixels become the source's input, where the file's metadata states it.

        Raises:
            BadSource: the metadata is damaged.
        """
        return None

    @property
    def decodes_images(self) -> bool:
        """Whether the graph decodes image files itself, to pixels 0..255."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a port's plan must know about the file itself."""
        return ()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, in order, where the source holds them.

        Raises:
            BadSource: they are damaged.
        """
        return None

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Return one tensor, in the source's axis order.

        Raises:
            KeyError: no tensor has that name.
            BadSource: its bytes are damaged or lie outside the file.
        """

    @property
    @abc.abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that hold the source, in the order they are hashed."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the bytes of ``files``, in hexadecimal."""
        return sha256_of(*self.files)

"""Steps at a graph's start that normalise its input, or layers at a model's, and what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.errors import UnsupportedSource
from porting.graph.operators import stored_name
from porting.sources.keras import KerasLayer, KerasSource
from porting.sources.keras.config import by_path
from porting.sources.source import Source

_SCALES = ("MUL", "DIV")


@dataclass(frozen=True)
class Steps:
    """What a source makes of its input before the network's first layer: ``x * scale + offset``.

    Both are float64, (1,) or one number a channel. ``kinds`` are the steps by name, none where
    there are none; ``what`` says it in words.
    """

    scale: np.ndarray
    offset: np.ndarray
    kinds: tuple[str, ...]
    what: str


def steps_of(source: Source, normalisation: tuple[tuple[str, str], ...], channels: int) -> Steps:
    """The steps of a source's graph, or of the layers of a whole Keras model.

    ``normalisation`` are the graph's (operator, constant); none where the source has no graph.

    Raises:
        UnsupportedSource: a layer normalises other than by one finite number, or one a channel.
    """
    if source.graph is None and isinstance(source, KerasSource):
        return _steps_of_layers(source, channels)
    scale, offset = np.ones(1), np.zeros(1)
    if not normalisation:
        return Steps(scale, offset, (), "the source's input")
    for kind, name in normalisation:
        constant = source.read(stored_name(name, source)).astype(np.float64).ravel()
        if kind in _SCALES:
            factor = constant if kind == "MUL" else 1.0 / constant
            scale, offset = scale * factor, offset * factor
        else:
            offset = offset + constant if kind == "ADD" else offset - constant
    kinds = tuple(kind for kind, _ in normalisation)
    what = f"the source's graph normalises its input ({', '.join(kinds)})"
    return Steps(scale, offset, kinds, what)


NORMALISING = ("Rescaling", "Normalization")
"""Layers of Keras that normalise."""


def _steps_of_layers(source: KerasSource, channels: int) -> Steps:
    """Those of the layers before the first convolution, one behind the other."""
    scale, offset = np.ones(1), np.zeros(1)
    kinds = []
    for path, layer in by_path(source.layers):
        if "Conv" in layer.kind or layer.kind == "Dense":
            break
        if layer.kind not in NORMALISING:
            continue
        try:
            factor, shift = _rescaling(layer) if layer.kind == "Rescaling" else _normalization(
                source, layer, path
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            factor = shift = np.full(1, np.nan)
        even = all(values.size in (1, channels) for values in (factor, shift))
        if not even or not np.isfinite([*factor, *shift]).all() or not factor.all():
            raise UnsupportedSource(
                f"{source.path}: layer {path!r} ({layer.kind}) normalises other than by one "
                f"finite number, or one for each of {channels} channels"
            )
        scale, offset = scale * factor, offset * factor + shift
        kinds.append(layer.kind)
    if not kinds:
        return Steps(scale, offset, (), "the source's input")
    what = f"the model rescales its input ({', '.join(kinds)})"
    return Steps(scale, offset, tuple(kinds), what)


def _rescaling(layer: KerasLayer) -> tuple[np.ndarray, np.ndarray]:
    """``x * scale + offset``."""
    return _numbers(layer.settings["scale"]), _numbers(layer.settings.get("offset", 0.0))


def _normalization(
    source: KerasSource, layer: KerasLayer, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """``(x - mean) / sqrt(variance)``, as set or as adapted; the inverse where asked for.

    As ``call`` of ``layers/preprocessing/normalization.py`` in Keras.
    """
    if layer.settings.get("mean") is not None:
        mean, variance = (_numbers(layer.settings[name]) for name in ("mean", "variance"))
    else:
        # A .keras numbers the variables of layers that it does not know by name.
        named = f"{path}/mean" in source.tensors
        kept = ("mean", "variance") if named else ("0", "1")
        mean, variance = (_numbers(source.read(f"{path}/{name}")) for name in kept)
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    if layer.settings.get("invert"):
        return deviation, mean
    return 1 / deviation, -mean / deviation


_LEAST_DEVIATION = 1e-7
"""``keras.backend.epsilon()``, by which a deviation of 0 is replaced."""


def _numbers(value: Any) -> np.ndarray:
    """Numbers of a configuration: one, a list, or an array as Keras writes it."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.asarray(value, np.float64).ravel()

"""What a port expects of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from porting.mapping.module_match import ModuleMatch
from porting.mapping.normalisation import normalisation_of
from porting.mapping.preprocessing import preprocessing_of
from porting.mapping.recognise import Match, candidates
from porting.mapping.walk import Alignment
from porting.sources.keras import KerasSource
from porting.sources.source import Source

Affine = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, a channel each."""

Found = tuple[tuple[float, ...], tuple[float, ...], str]
"""Mean and deviation, and how they are known."""

IMAGENET: Affine = (
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (0.229 * 255, 0.224 * 255, 0.225 * 255),
)
"""``MEAN_RGB`` and ``STDDEV_RGB`` in tensorflow/tpu ``mnasnet_main.py``."""

INCEPTION: Affine = ((127.5,) * 3, (127.5,) * 3)
"""Pixels to [-1, 1]: ``inception_preprocessing.py`` in tensorflow/models research/slim."""

FAMILIES: dict[str, Affine] = {"mobilenet": INCEPTION, "": IMAGENET}
"""Start of a network's plain name -> how its family's training code normalises."""


@dataclass(frozen=True)
class InputConvention:
    """RGB pixels 0..255 become the network's input by ``(x - mean) / std``.

    ``size`` is the side in pixels for which the source was made. ``evidence``
    says how the convention is known. ``preprocessing`` says how the family's
    authors make pixels of an image file, which no source tells.
    """

    size: int
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evidence: str
    preprocessing: str

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to the network's input in float32."""
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        return (pixels.astype(np.float32) - mean) / std

    def taken_in(self) -> InputConvention:
        """That of a network which normalises by itself: pixels as they are."""
        (none, one), said = ((0.0,) * self.channels, (1.0,) * self.channels), self.evidence
        evidence = f"the network normalises by itself; for the source: {said}"
        return replace(self, mean=none, std=one, evidence=evidence)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the release file."""
        return asdict(self)


def convention_of(source: Source, match: Match | ModuleMatch) -> InputConvention:
    """The convention of a source: from its graph where that says it, else its family's."""
    ends, found = match.ends, None
    if match.alignment is not None:
        found = _from_graph(source, match.alignment, ends.channels)
    elif isinstance(source, KerasSource):
        found = _from_layers(source, ends.channels)
    known = _known_as(source, match)
    mean, std, evidence = found or _from_family(known, ends.channels)
    steps = preprocessing_of("mobilenet" if known is None else known, ends.side)
    return InputConvention(ends.side, ends.channels, ends.classes, mean, std, evidence, steps)


def normalises_inside(source: Source, match: Match) -> bool:
    """Whether a source normalises pixels itself, in its graph or by a layer."""
    if match.alignment is not None:
        return bool(match.alignment.normalisation)
    return isinstance(source, KerasSource) and _from_layers(source, 1) is not None


def _known_as(source: Source, match: Match | ModuleMatch) -> str | None:
    """The plain name of the network that a source holds, where that is a known one."""
    known: Match | None = None
    if isinstance(match, Match):
        known = match
    else:
        # The module's name says nothing; the source may be one of a known network's.
        known = next(candidates(source, match.plan.weight_set), None)
    return None if known is None else known.model.removeprefix("tf_")


def _from_family(plain: str | None, channels: int) -> Found:
    mean, std = family_affine("mobilenet" if plain is None else plain)
    evidence = "the family's training code; the source itself does not say"
    if plain is None:
        evidence = "nothing: neither the source nor a known network says; [-1, 1] is assumed"
    return _for_channels(mean, channels), _for_channels(std, channels), evidence


def family_affine(plain: str) -> Affine:
    """Mean and deviation by which a network's family normalises; its name without ``tf_``."""
    return next(affine for start, affine in FAMILIES.items() if plain.startswith(start))


def _from_graph(source: Source, alignment: Alignment, channels: int) -> Found | None:
    if alignment.normalisation:
        scale, offset = normalisation_of(source, alignment)
        mean = tuple(float(v) for v in np.broadcast_to(-offset / scale, (channels,)))
        std = tuple(float(v) for v in np.broadcast_to(1.0 / scale, (channels,)))
        steps = ", ".join(kind for kind, _ in alignment.normalisation)
        return mean, std, f"the source's graph normalises its input ({steps})"
    entry = source.graph.inputs[0] if source.graph and source.graph.inputs else ""
    info = source.activations.get(entry)
    if info is not None and info.range is not None and info.stored_as in _OFFSETS:
        return _from_quantisation(info.range, channels)
    return None


def _from_layers(source: KerasSource, channels: int) -> Found | None:
    """From a Rescaling layer: x * scale + offset."""
    for layer in source.layers:
        if layer.kind == "Rescaling":
            scale, offset = float(layer.settings["scale"]), float(layer.settings["offset"])
            evidence = "the model rescales its input (Rescaling)"
            return (-offset / scale,) * channels, (1 / scale,) * channels, evidence
    return None


_OFFSETS = ("uint8", "int8")


def _from_quantisation(bounds: tuple[float, float], channels: int) -> Found:
    """An image's bytes, as they are or less 128, are the quantised input."""
    low, high = bounds
    std = 255 / (high - low)
    return (-low * std,) * channels, (std,) * channels, "the quantisation of the source's input"


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if channels == len(values):
        return tuple(values)
    return (float(np.mean(values)),) * channels

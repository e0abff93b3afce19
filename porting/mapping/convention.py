"""What a port expects of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from porting.mapping.families import ROUNDED, family_of
from porting.mapping.module_match import ModuleMatch
from porting.mapping.normalisation import normalisation_of
from porting.mapping.recognise import Match, candidates
from porting.mapping.walk import Alignment
from porting.sources.keras import KerasSource
from porting.sources.source import Source, TensorInfo

_UNKNOWN = "mobilenet"
"""What a source that holds no known network is taken for, so that its input is [-1, 1]."""

Found = tuple[tuple[float, ...], tuple[float, ...], str]
"""Mean and deviation, and how they are known."""


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

    @property
    def takes_bytes(self) -> bool:
        """Whether its source takes whole pixels alone."""
        return self.preprocessing.endswith(ROUNDED)

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
    steps = family_of(known or _UNKNOWN).preprocessing(ends.side)
    if _takes_bytes(source):
        steps += ROUNDED
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
    mean, std = family_of(plain or _UNKNOWN).affine
    evidence = "the family's training code; the source itself does not say"
    if plain is None:
        evidence = "nothing: neither the source nor a known network says; [-1, 1] is assumed"
    return _for_channels(mean, channels), _for_channels(std, channels), evidence


def _from_graph(source: Source, alignment: Alignment, channels: int) -> Found | None:
    if alignment.normalisation:
        scale, offset = normalisation_of(source, alignment)
        mean = tuple(float(v) for v in np.broadcast_to(-offset / scale, (channels,)))
        std = tuple(float(v) for v in np.broadcast_to(1.0 / scale, (channels,)))
        steps = ", ".join(kind for kind, _ in alignment.normalisation)
        return mean, std, f"the source's graph normalises its input ({steps})"
    info = _entry(source)
    if info is not None and info.range is not None and info.stored_as in _BYTES:
        return _from_quantisation(info.range, channels)
    return None


def _takes_bytes(source: Source) -> bool:
    info = _entry(source)
    return info is not None and bool({info.stored_as, info.dtype} & set(_BYTES))


def _entry(source: Source) -> TensorInfo | None:
    """What is known of a source's input, where it has a graph."""
    entry = source.graph.inputs[0] if source.graph and source.graph.inputs else ""
    return source.activations.get(entry)


def _from_layers(source: KerasSource, channels: int) -> Found | None:
    """From a Rescaling layer: x * scale + offset."""
    for layer in source.layers:
        if layer.kind == "Rescaling":
            scale, offset = float(layer.settings["scale"]), float(layer.settings["offset"])
            evidence = "the model rescales its input (Rescaling)"
            return (-offset / scale,) * channels, (1 / scale,) * channels, evidence
    return None


_BYTES = ("uint8", "int8")


def _from_quantisation(bounds: tuple[float, float], channels: int) -> Found:
    """An image's bytes, as they are or less 128, are the quantised input."""
    low, high = bounds
    std = 255 / (high - low)
    return (-low * std,) * channels, (std,) * channels, "the quantisation of the source's input"


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if channels == len(values):
        return tuple(values)
    return (float(np.mean(values)),) * channels

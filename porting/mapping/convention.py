"""What a port expects of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from porting.mapping.by_graph import normalisation_of
from porting.mapping.recognise import Match
from porting.sources.source import Source

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""``MEAN_RGB`` and ``STDDEV_RGB`` in tensorflow/tpu ``mnasnet_main.py``."""


@dataclass(frozen=True)
class InputConvention:
    """RGB pixels 0..255 become the network's input by ``(x - mean) / std``.

    ``size`` is the side in pixels for which the source was made. ``evidence``
    says how the convention is known.
    """

    size: int
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evidence: str

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to the network's input in float32."""
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        return (pixels.astype(np.float32) - mean) / std

    def to_json(self) -> dict[str, Any]:
        """Plain data for the release file."""
        return asdict(self)


def convention_of(source: Source, match: Match) -> InputConvention:
    """The convention of a source: from its graph where that normalises, else its family's."""
    config, alignment = match.config, match.alignment
    mean, std = (
        _for_channels(IMAGENET_MEAN, config.in_chans),
        _for_channels(IMAGENET_STD, config.in_chans),
    )
    evidence = "the family's training code; the source itself does not say"
    if alignment is not None and alignment.normalisation:
        scale, offset = normalisation_of(source, alignment)
        shape = (config.in_chans,)
        mean = tuple(float(v) for v in np.broadcast_to(-offset / scale, shape))
        std = tuple(float(v) for v in np.broadcast_to(1.0 / scale, shape))
        steps = ", ".join(kind for kind, _ in alignment.normalisation)
        evidence = f"the source's graph normalises its input ({steps})"
    elif alignment is not None and "truediv" in alignment.data:
        evidence = "the input is named for the division by the deviation (truediv)"
    return InputConvention(
        config.input_size, config.in_chans, config.num_classes, mean, std, evidence
    )


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if channels == len(values):
        return tuple(values)
    return (float(np.mean(values)),) * channels

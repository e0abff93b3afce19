"""A list of steps from an encoded image to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porting.accuracy.preprocessing.steps import (
    Crop,
    DecodeAndCrop,
    First,
    Further,
    Resize,
    ResizeShorter,
    Round,
    Step,
)
from porting.accuracy.preprocessing.windows import Centre

Done = dict[tuple[Step, ...], np.ndarray]
"""What has been made of an image, by the steps up to there."""


@dataclass(frozen=True)
class Pipeline:
    """Decoding and what comes after it; ``str`` gives the text that it is parsed from.

    What normalises is no part of it: that belongs to each network's input convention.
    """

    decode: First
    steps: tuple[Further, ...]

    def __call__(self, data: bytes, done: Done | None = None) -> np.ndarray:
        """Encoded image -> pixels (size, size, 3), RGB, 0..255, float32.

        ``done`` has what steps have made of this very image, for pipelines that
        begin alike; it is added to.

        Raises:
            BadExample: it cannot be decoded, or is too small.
        """
        done = {} if done is None else done
        steps: tuple[Step, ...] = (self.decode,)
        if steps not in done:
            done[steps] = self.decode(data)
        image = done[steps]
        for step in self.steps:
            steps = (*steps, step)
            if steps not in done:
                done[steps] = step(image)
            image = done[steps]
        return np.ascontiguousarray(image, np.float32)

    @property
    def size(self) -> int | None:
        """The side in pixels of what it makes; None where that hangs on the image."""
        size: int | None = None
        for step in (self.decode, *self.steps):
            if isinstance(step, (Crop, DecodeAndCrop)) and isinstance(step.rule, Centre):
                size = step.rule.side
            elif isinstance(step, (Resize, ResizeShorter)):
                size = step.size if isinstance(step, Resize) else None
            elif isinstance(step, Crop) and size is not None:
                size = step.rule(size, size).height
        return size

    @property
    def whole(self) -> bool:
        """Whether its pixels are whole numbers: as decoded, rounded, or resized by Pillow."""
        for step in reversed(self.steps):
            if isinstance(step, Round):
                return True
            if isinstance(step, (Resize, ResizeShorter)):
                return step.resizer == "pillow"
        return True

    def __str__(self) -> str:
        return ", ".join(map(str, (self.decode, *self.steps)))

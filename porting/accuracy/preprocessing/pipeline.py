"""A list of steps from an encoded image to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porting.accuracy.preprocessing.steps import First, Further


@dataclass(frozen=True)
class Pipeline:
    """Decoding and what comes after it; ``str`` gives the text that it is parsed from.

    What normalises is no part of it: that belongs to each network's input convention.
    """

    decode: First
    steps: tuple[Further, ...]

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> pixels (size, size, 3), RGB, 0..255, float32.

        Raises:
            BadExample: it cannot be decoded, or is too small.
        """
        image = self.decode(data)
        for step in self.steps:
            image = step(image)
        return np.ascontiguousarray(image, np.float32)

    def __str__(self) -> str:
        return ", ".join(map(str, (self.decode, *self.steps)))

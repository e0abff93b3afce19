"""Random values that leave no channel at 0, to feed the pieces of both sides with.

On images a channel may stay at 0 throughout, and whatever weights it feeds are then not compared;
activations may never be taken as far as where they bend. Values that are dense and far enough out
show both, for any images.
"""

from __future__ import annotations

import numpy as np

AMPLITUDES = (1.0, 8.0)
"""In standard deviations of each tap on an image: as images have them, and far out."""

_POOL = (1 << 20) + 7
"""Values that differ. A prime that divides no axis of a network, so that no channels are alike."""


class DenseValues:
    """Normally distributed values for one tap after another; seeded, the same each time.

    ``most`` is the largest number of values that a tap has.
    """

    def __init__(self, most: int, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)
        pool = self._generator.standard_normal(_POOL, np.float32)
        self._values = np.resize(pool, _POOL + most)

    def like(self, values: np.ndarray, amplitude: float) -> np.ndarray:
        """Values of the shape of others, and of ``amplitude`` times their standard deviation.

        What is constant counts as of deviation 1.
        """
        deviation = amplitude * (float(values.std()) or 1.0)
        start = int(self._generator.integers(_POOL))
        dense = self._values[start : start + values.size].reshape(values.shape)
        return np.asarray(dense * np.float32(deviation))

"""Mean and variance of what passes, channel by channel, in float64, without keeping it."""

from __future__ import annotations

import numpy as np


class Moments:
    """Mean and variance of each channel over everything taken so far.

    Two sets of values are joined as in Chan, Golub and LeVeque, "Updating
    formulae and a pairwise algorithm for computing sample variances" (1979):
    nothing large is subtracted from anything large, and what has passed is
    kept as three numbers a channel.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self._squares = np.zeros(channels)  # sum of squared distances from the mean

    def take(self, values: np.ndarray) -> None:
        """Count in values (N, C, H, W)."""
        added = values.size // len(self.mean)
        mean = values.mean((0, 2, 3), dtype=np.float64)
        distance = values - mean.reshape(1, -1, 1, 1)  # float64, as the mean is
        apart, total = mean - self.mean, self.count + added
        self._squares += np.square(distance).sum((0, 2, 3))
        self._squares += np.square(apart) * (self.count * added / total)
        self.mean = self.mean + apart * (added / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """The sum of squared distances over ``count - 1``, (C,).

        This is what ``torch.nn.BatchNorm2d`` keeps in ``running_var``; only
        within a batch it divides by the count itself.
        """
        return self._squares / max(self.count - 1, 1)

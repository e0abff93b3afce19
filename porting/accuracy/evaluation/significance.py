"""Confidence intervals of accuracies, and significance tests of their differences.

Intervals are 95 % intervals: Wilson's for an accuracy (Wilson 1927), that of
Agresti and Min (Statistics in Medicine 24, 2005) for a difference of two on the
same images. McNemar's test is the exact one. Holm's correction (Holm 1979)
adjusts the p-values of several differences for their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""A difference with a lower p is significant."""

_Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True)
class Share:
    """``count`` of ``of``, with the confidence interval ``low`` to ``high`` in percent."""

    count: int
    of: int
    low: float
    high: float

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.count / self.of


@dataclass(frozen=True)
class Difference:
    """The accuracy of a second network less that of a first, on the same images.

    ``gained`` images are right with the second alone, ``lost`` with the first
    alone, of ``of``. ``low`` and ``high`` bound the difference in points;
    ``p`` is McNemar's: how often chance alone would split them so unevenly.
    """

    gained: int
    lost: int
    of: int
    low: float
    high: float
    p: float

    @property
    def points(self) -> float:
        """By how many points of percent the second is better."""
        return 100 * (self.gained - self.lost) / self.of

    def comes_nearer(self, gap: float) -> bool:
        """Whether the second is surely nearer to a target ``gap`` points from the first.

        It is where it moves towards the target, and its interval ends before twice the gap.
        """
        end = self.high if gap > 0 else -self.low
        return self.points * gap > 0 and end < 2 * abs(gap)


def share(count: int, of: int) -> Share:
    """A share with Wilson's interval."""
    from scipy.stats import binomtest

    bounds = binomtest(count, of).proportion_ci(CONFIDENCE, "wilson")
    return Share(count, of, 100 * float(bounds.low), 100 * float(bounds.high))


def difference(before: np.ndarray, after: np.ndarray) -> Difference:
    """Compare two on the same images, of which (N,) say whether each was right."""
    from scipy.stats import binomtest

    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    of, apart = len(before), gained + lost
    p = float(binomtest(gained, apart).pvalue) if apart else 1.0
    # Agresti and Min: half an image is added to each of the four counts.
    total, change = of + 2, gained - lost
    middle = change / total
    width = _Z * np.sqrt(max(apart + 1 - change**2 / total, 0)) / total
    low, high = max(middle - width, -1), min(middle + width, 1)
    return Difference(gained, lost, of, 100 * float(low), 100 * float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values."""
    adjusted, least = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min((len(p_values) - rank) * p_values[place], 1.0))
        adjusted[place] = least
    return adjusted


def right(best: np.ndarray, labels: np.ndarray, among: int) -> np.ndarray:
    """(N,) whether the label is among the best so many of (N, 5) classes."""
    return np.asarray((best[:, :among] == labels[:, None]).any(1))

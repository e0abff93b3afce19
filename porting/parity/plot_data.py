"""Running statistics for the plots of one tap, over any number of inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porting.parity.ulps import UlpCounts, ulps

SAMPLE = 4096
"""Elements of an input, evenly spaced, that the quantiles and the histogram are taken from."""

POINTS = 240
"""Pairs of values kept for the scatter plot."""

HEAT = 28
"""Sides of the heat map at most; finer planes are reduced to the largest of each cell."""

_MIN_DECADE, _MAX_DECADE, _PER_DECADE = -12, 4, 4


@dataclass(frozen=True)
class PlotData:
    """Data for the plots of one tap.

    ``histogram`` counts sampled differences by size: the first bin holds exact
    agreement, bin ``i`` those from ``10 ** (-12 + (i - 1) / 4)`` on.
    ``channels`` is the largest difference of each channel, ``scatter`` pairs
    (judge, port), ``heat`` the differences over the plane of the worst channel
    in the worst input.
    """

    histogram: tuple[int, ...]
    channels: tuple[float, ...]
    scatter: tuple[tuple[float, float], ...]
    heat: tuple[tuple[float, ...], ...]


class RunningPlotData:
    """Adds up one input after another, (C, H * W); ``ulps`` counts units of sampled values."""

    def __init__(self) -> None:
        self.ulps = UlpCounts()
        self._inputs = 0
        self._histogram = np.zeros((_MAX_DECADE - _MIN_DECADE) * _PER_DECADE + 2, np.int64)
        self._channels: np.ndarray | None = None
        self._scatter: list[tuple[float, float]] = []
        self._heat: np.ndarray = np.zeros((0, 0))

    def add(self, judge: np.ndarray, port: np.ndarray, channels: np.ndarray) -> None:
        """Add one input; ``channels`` is the largest difference of each channel."""
        before = self._channels
        self._channels = channels if before is None else np.maximum(before, channels)
        step = -(-judge.size // SAMPLE)
        left, right = (values.ravel()[self._inputs % step :: step] for values in (judge, port))
        self.ulps.add(ulps(left, right))
        difference = np.abs(left.astype(np.float64) - right)
        with np.errstate(divide="ignore"):
            decade = (np.log10(difference) - _MIN_DECADE) * _PER_DECADE
        place = np.where(difference > 0, np.clip(decade, 0, len(self._histogram) - 2) + 1, 0)
        self._histogram += np.bincount(place.astype(np.int64), minlength=len(self._histogram))
        if self._inputs == 0:
            few = np.linspace(0, len(left) - 1, min(POINTS, len(left))).astype(int)
            self._scatter = [(float(left[i]), float(right[i])) for i in few]
        self._inputs += 1

    def show_plane(self, differences: np.ndarray) -> None:
        """Keep the worst channel's differences (H, W); what has no plane clears the map."""
        plane = differences.ndim == 2
        self._heat = heat_map(differences) if plane else np.zeros((0, 0))

    def result(self) -> PlotData:
        """The details of everything added."""
        channels = () if self._channels is None else self._channels
        return PlotData(
            histogram=tuple(int(count) for count in self._histogram),
            channels=tuple(float(value) for value in channels),
            scatter=tuple(self._scatter),
            heat=tuple(tuple(float(v) for v in row) for row in self._heat),
        )


def heat_map(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W) reduced to at most ``HEAT`` a side, each cell the largest in it."""
    cells = plane
    for axis in (0, 1):
        side = plane.shape[axis]
        edges = np.linspace(0, side, min(side, HEAT) + 1).astype(int)[:-1]
        cells = np.maximum.reduceat(cells, edges, axis=axis)
    return cells

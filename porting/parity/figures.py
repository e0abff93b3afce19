"""The figures of one tap, kept running over any number of inputs.

Arrays are (N, C, H, W) or (N, C). Nothing but the figures is kept, so memory
does not grow with the number of inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from porting.parity.noise import Tolerance, floor

SAMPLE = 4096
"""Elements of an input, evenly spaced, that the quantiles and the histogram are taken from."""

POINTS = 240
"""Pairs of values kept for the scatter plot."""

HEAT = 28
"""Sides of the heat map at most; finer planes are reduced to the largest of each cell."""

_BLOCK = 1 << 16  # elements that stay in cache through all passes over them
_ULPS, _PER_OCTAVE = 1 << 12, 8  # counted one by one up to the first, then by octaves
_ULP_BINS = _ULPS + 21 * _PER_OCTAVE
_MIN_DECADE, _MAX_DECADE, _PER_DECADE = -12, 4, 4


@dataclass(frozen=True)
class Details:
    """What plots are made of.

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


@dataclass(frozen=True)
class TapFigures:
    """One reading of one tap over all inputs.

    ``max_abs`` and ``mean_abs`` are of the difference between judge and port,
    ``scale`` the judge's largest value, ``snr_db`` the judge's power over the
    difference's. ``ulp_median``, ``ulp_p99`` and ``ulp_max`` count float32
    values between the two; the quantiles are of a sample (``SAMPLE``; above
    4096 to an eighth of an octave), the maximum is of all. ``noise`` is what
    float32 costs here, ``ratio`` is ``max_abs`` over it, ``beyond`` the share
    of elements further off than it. ``worst_input`` counts from 0;
    ``worst_position`` is (row, column), empty where there are no spatial axes.
    ``nonfinite`` counts NaN and infinities at the same places on both sides,
    ``disagreeing`` the elements that a fixed tolerance refuses, or that are
    not finite on one side alone.
    """

    elements: int
    max_abs: float
    mean_abs: float
    scale: float
    snr_db: float
    cosine: float
    ulp_median: float
    ulp_p99: float
    ulp_max: int
    noise: float
    ratio: float
    beyond: float
    nonfinite: int
    disagreeing: int
    worst_input: int
    worst_channel: int
    worst_position: tuple[int, ...]
    agrees: bool
    details: Details = field(repr=False)

    @property
    def relative(self) -> float:
        """The largest difference over the tap's scale."""
        return self.max_abs / self.scale if self.scale else self.max_abs


class RunningFigures:
    """Takes one input after another; :meth:`result` gives the figures so far."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self.inputs = self._elements = self._beyond = self._nonfinite = self._disagreeing = 0
        self._max = self._total = self._scale = self._noise = 0.0
        # Sums of products: difference with itself, judge, port, judge with port.
        self._powers = np.zeros(4)
        self._ulp_max = 0
        self._ulps = np.zeros(_ULP_BINS, np.int64)
        self._histogram = np.zeros((_MAX_DECADE - _MIN_DECADE) * _PER_DECADE + 2, np.int64)
        self._channels: np.ndarray | None = None
        self._worst: tuple[int, int, tuple[int, ...]] = (0, 0, ())
        self._heat: np.ndarray = np.zeros((0, 0))
        self._scatter: list[tuple[float, float]] = []

    def add(self, judge: np.ndarray, port: np.ndarray, noise: float) -> None:
        """Count in inputs (N, C, ...) of both sides; ``noise`` is theirs at this tap."""
        self._noise = max(self._noise, noise)
        for judge_one, port_one in zip(judge, port, strict=True):
            self._add_one(
                judge_one.reshape(len(judge_one), -1), port_one.reshape(len(port_one), -1),
                judge_one.shape[1:], noise,
            )  # fmt: skip
            self.inputs += 1

    def _add_one(
        self, judge: np.ndarray, port: np.ndarray, plane: tuple[int, ...], noise: float
    ) -> None:
        """One input as (C, H * W)."""
        judge, port, missing = self._finite(judge, port)
        channels = np.zeros(len(judge))
        rows = max(1, _BLOCK // max(1, judge.shape[1]))
        for start in range(0, len(judge), rows):
            part = slice(start, start + rows)
            channels[part] = self._add_block(judge[part], port[part], noise)
        self._elements += judge.size
        if missing is not None:
            channels[missing.any(axis=1)] = math.inf
        self._note_worst(judge, port, channels, missing, plane)
        self._sample(judge, port)

    def _finite(
        self, judge: np.ndarray, port: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Both without NaN and infinities, and where one side alone has one."""
        # A product of sums is finite only if all elements are: one pass for the common case.
        with np.errstate(all="ignore"):
            if np.isfinite(np.abs(judge).sum() + np.abs(port).sum()):
                return judge, port, None
        same = (judge == port) | (np.isnan(judge) & np.isnan(port))
        odd = ~(np.isfinite(judge) & np.isfinite(port))
        self._nonfinite += int((odd & same).sum())
        self._disagreeing += int((odd & ~same).sum())
        return np.where(odd, 0, judge), np.where(odd, 0, port), odd & ~same

    def _add_block(self, judge: np.ndarray, port: np.ndarray, noise: float) -> np.ndarray:
        """Count in some channels, small enough to stay in cache; return the largest of each."""
        difference = np.abs(judge - port)
        flat, left, right = difference.ravel(), judge.ravel(), port.ravel()
        self._powers += (flat @ flat, left @ left, right @ right, left @ right)
        self._total += float(difference.sum())
        self._scale = max(self._scale, float(judge.max()), -float(judge.min()))
        self._beyond += int(np.count_nonzero(difference > noise))
        if self._tolerance.fixed:
            allowed = self._tolerance.atol + self._tolerance.rtol * np.abs(judge)
            self._disagreeing += int(np.count_nonzero(difference > allowed))
        self._ulp_max = max(self._ulp_max, int(ulps(left, right).max()))
        return np.asarray(difference.max(axis=1), np.float64)

    def _note_worst(
        self, judge: np.ndarray, port: np.ndarray, channels: np.ndarray,
        missing: np.ndarray | None, plane: tuple[int, ...],
    ) -> None:  # fmt: skip
        before = self._channels
        self._channels = channels if before is None else np.maximum(before, channels)
        channel = int(np.argmax(channels))
        if before is not None and channels[channel] <= self._max:
            return
        self._max = float(channels[channel])
        row = np.abs(judge[channel] - port[channel])
        if missing is not None:
            row[missing[channel]] = np.inf
        position = tuple(int(i) for i in np.unravel_index(int(np.argmax(row)), plane or (1,)))
        self._worst = (self.inputs, channel, position if plane else ())
        self._heat = heat_map(row.reshape(plane)) if len(plane) == 2 else np.zeros((0, 0))

    def _sample(self, judge: np.ndarray, port: np.ndarray) -> None:
        step = -(-judge.size // SAMPLE)
        left, right = (values.ravel()[self.inputs % step :: step] for values in (judge, port))
        self._ulps += np.bincount(_ulp_bins(ulps(left, right)), minlength=_ULP_BINS)
        difference = np.abs(left.astype(np.float64) - right)
        with np.errstate(divide="ignore"):
            decade = (np.log10(difference) - _MIN_DECADE) * _PER_DECADE
        place = np.where(difference > 0, np.clip(decade, 0, len(self._histogram) - 2) + 1, 0)
        self._histogram += np.bincount(place.astype(np.int64), minlength=len(self._histogram))
        if self.inputs == 0:
            few = np.linspace(0, len(left) - 1, min(POINTS, len(left))).astype(int)
            self._scatter = [(float(left[i]), float(right[i])) for i in few]

    def result(self) -> TapFigures:
        """The figures of everything added."""
        noise = max(self._noise, floor(self._scale))
        ratio = self._max / noise if noise else (math.inf if self._max else 0.0)
        difference, judge, port, product = self._powers
        return TapFigures(
            elements=self._elements, max_abs=self._max, mean_abs=self._total / self._elements,
            scale=self._scale, snr_db=_decibels(judge, difference),
            cosine=min(1.0, float(product / math.sqrt(judge * port))) if judge and port else 1.0,
            ulp_median=self._ulp_quantile(0.5), ulp_p99=self._ulp_quantile(0.99),
            ulp_max=self._ulp_max, noise=noise, ratio=ratio, beyond=self._beyond / self._elements,
            nonfinite=self._nonfinite, disagreeing=self._disagreeing,
            worst_input=self._worst[0], worst_channel=self._worst[1],
            worst_position=self._worst[2], agrees=self._agrees(ratio), details=self._details(),
        )  # fmt: skip

    def _agrees(self, ratio: float) -> bool:
        if self._tolerance.fixed:
            return self._disagreeing == 0
        return bool(ratio <= self._tolerance.factor)

    def _ulp_quantile(self, share: float) -> float:
        counted = self._ulps.cumsum()
        place = int(np.searchsorted(counted, share * counted[-1]))
        return float(place if place < _ULPS else _ULPS * 2 ** ((place - _ULPS) / _PER_OCTAVE))

    def _details(self) -> Details:
        channels = () if self._channels is None else self._channels
        return Details(
            histogram=tuple(int(count) for count in self._histogram),
            channels=tuple(float(value) for value in channels),
            scatter=tuple(self._scatter),
            heat=tuple(tuple(float(v) for v in row) for row in self._heat),
        )


def _ulp_bins(counts: np.ndarray) -> np.ndarray:
    octaves = np.log2(np.maximum(counts, _ULPS) / _ULPS)
    return np.where(counts < _ULPS, counts, _ULPS + (octaves * _PER_OCTAVE).astype(np.int64))


def ulps(judge: np.ndarray, port: np.ndarray) -> np.ndarray:
    """How many float32 values lie between two: 0 for equal ones, 1 for neighbours."""
    left, right = (np.ascontiguousarray(v, np.float32).view(np.int32) for v in (judge, port))
    # Floats of one sign are ordered as their bits are; behind a ReLU there is one sign alone.
    if left.min() >= 0 and right.min() >= 0:
        return np.asarray(np.abs(left - right))
    return np.asarray(np.abs(_ordered(left) - _ordered(right)))


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Integers in the order of the floats, neighbours one apart, both zeros at 0."""
    return np.where(bits < 0, -(bits & 0x7FFFFFFF).astype(np.int64), bits)


def heat_map(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W) reduced to at most ``HEAT`` a side, each cell the largest in it."""
    cells = plane
    for axis in (0, 1):
        side = plane.shape[axis]
        edges = np.linspace(0, side, min(side, HEAT) + 1).astype(int)[:-1]
        cells = np.maximum.reduceat(cells, edges, axis=axis)
    return cells


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf

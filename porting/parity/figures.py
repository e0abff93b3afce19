"""Running statistics of the difference at one tap, over any number of inputs, and of its plots.

Arrays are (N, C, H, W) or (N, C). Nothing but the figures is kept, so memory
does not grow with the number of inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from porting.parity.noise import Tolerance, floor

_BLOCK = 1 << 16  # elements that stay in cache through all passes over them

SAMPLE = 4096
"""Elements of an input, evenly spaced, that the quantiles and the histogram are taken from."""

POINTS = 240
"""Pairs of values kept for the scatter plot."""

HEAT = 28
"""Sides of the heat map at most; finer planes are reduced to the largest of each cell."""

_MIN_DECADE, _MAX_DECADE, _PER_DECADE = -12, 4, 4

_ONE_BY_ONE, _PER_OCTAVE = 1 << 12, 8  # counted one by one up to the first, then by octaves
_BINS = _ONE_BY_ONE + 21 * _PER_OCTAVE


def ulps(judge: np.ndarray, port: np.ndarray) -> np.ndarray:
    """How many float32 values lie between two: 0 for equal ones, 1 for neighbours."""
    left, right = (np.ascontiguousarray(v, np.float32).view(np.int32) for v in (judge, port))
    # Floats of one sign are ordered as their bits are; behind a ReLU there is one sign alone.
    if left.min() >= 0 and right.min() >= 0:
        return np.asarray(np.abs(left - right))
    return np.asarray(np.abs(_sortable_integers(left) - _sortable_integers(right)))


def _sortable_integers(bits: np.ndarray) -> np.ndarray:
    """Integers in the order of the floats, neighbours one apart, both zeros at 0."""
    return np.where(bits < 0, -(bits & 0x7FFFFFFF).astype(np.int64), bits)


class UlpCounts:
    """How often each number of units was seen: exact to 4096, then to an eighth of an octave."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, units: np.ndarray) -> None:
        """Count in numbers of units."""
        octaves = np.log2(np.maximum(units, _ONE_BY_ONE) / _ONE_BY_ONE)
        beyond = _ONE_BY_ONE + (octaves * _PER_OCTAVE).astype(np.int64)
        bins = np.where(units < _ONE_BY_ONE, units, beyond)
        self._counts += np.bincount(bins, minlength=_BINS)

    def quantile(self, share: float) -> float:
        """The number of units that ``share`` of what was counted does not exceed."""
        cumulative = self._counts.cumsum()
        place = int(np.searchsorted(cumulative, share * cumulative[-1]))
        if place < _ONE_BY_ONE:
            return float(place)
        return float(_ONE_BY_ONE * 2 ** ((place - _ONE_BY_ONE) / _PER_OCTAVE))


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


@dataclass(frozen=True)
class TapFigures:
    """One reading of one tap over all inputs.

    ``max_abs`` and ``mean_abs`` are of the difference between judge and port,
    ``max_relative`` the largest difference over the judge's value at the same
    place, ``scale`` the judge's largest value, ``snr_db`` the judge's power
    over the difference's. ``ulp_median``, ``ulp_p99`` and ``ulp_max`` count
    float32 values between the two; the quantiles are of a sample (above 4096
    to an eighth of an octave), the maximum is of all.

    Each input is judged by its own noise. ``ratio`` is its largest difference
    over what float32 costs there, in the input where that is greatest:
    ``worst_input``, from 0. ``worst_abs`` and ``noise`` are that input's,
    ``worst_channel`` and ``worst_position``, (row, column), the place;
    the latter is empty where there are no spatial axes. ``beyond`` is the
    share of elements further off than their input's noise.

    ``nonfinite`` counts NaN and infinities at the same places on both sides,
    ``disagreeing`` the elements that a fixed tolerance refuses, or that are
    not finite on one side alone. ``noise_share`` is the largest noise that was drawn
    over ``scale``: what float32 alone costs this tap. ``details`` are for plots, and None where
    they were not asked for; without them the figures that all elements go into are NaN:
    ``mean_abs``, ``max_relative``, ``snr_db``, ``cosine``, ``beyond`` and the quantiles.
    """

    elements: int
    max_abs: float
    mean_abs: float
    max_relative: float
    scale: float
    snr_db: float
    cosine: float
    ulp_median: float
    ulp_p99: float
    ulp_max: int
    noise: float
    ratio: float
    worst_abs: float
    beyond: float
    nonfinite: int
    disagreeing: int
    worst_input: int
    worst_channel: int
    worst_position: tuple[int, ...]
    agrees: bool
    noise_share: float = 0.0
    details: PlotData | None = field(default=None, repr=False)

    @property
    def relative(self) -> float:
        """The largest difference over the tap's scale."""
        return self.max_abs / self.scale if self.scale else self.max_abs


@dataclass(frozen=True)
class _Worst:
    """The input that lies farthest beyond its noise, and where."""

    ratio: float = 0.0
    noise: float = 0.0
    difference: float = 0.0
    input: int = 0
    channel: int = 0
    position: tuple[int, ...] = ()


class RunningFigures:
    """Adds up one input after another; :meth:`result` gives the figures so far."""

    def __init__(self, tolerance: Tolerance, details: bool = True) -> None:
        self._tolerance = tolerance
        self._noise = 0.0
        self.inputs = self._elements = self._beyond = self._nonfinite = self._disagreeing = 0
        self._max = self._total = self._scale = self._max_relative = 0.0
        # Sums of products: difference with itself, judge, port, judge with port.
        self._powers = np.zeros(4)
        self._ulp_max = 0
        self._worst = _Worst()
        self._details = RunningPlotData() if details else None

    def add(
        self, judge: np.ndarray, port: np.ndarray, noise: np.ndarray, is_measured: bool = True,
        channels: np.ndarray | None = None, scale: float | None = None,
    ) -> None:  # fmt: skip
        """Add inputs (N, C, ...) of both sides; ``noise`` (N,) is each one's at this tap.

        ``is_measured`` says that it was measured on these inputs, not taken from others. Of one
        input alone, ``channels`` (1, C) are the largest differences of each channel and ``scale``
        the judge's largest value, where they are known.
        """
        if is_measured:
            self._noise = max(self._noise, float(noise.max()))
        for number, (judge_one, port_one) in enumerate(zip(judge, port, strict=True)):
            sides = judge_one.reshape(len(judge_one), -1), port_one.reshape(len(port_one), -1)
            plane, noise_one = judge_one.shape[1:], float(noise[number])
            maxima = None if channels is None or self._details is not None else channels[number]
            if maxima is not None and scale is not None and np.isfinite([*maxima, scale]).all():
                self._elements += judge_one.size
                self._scale = max(self._scale, scale)
                self._note_worst(*sides, maxima, None, plane, max(noise_one, floor(scale)))
            else:
                self._add_one(*sides, plane, noise_one)
            self.inputs += 1

    def _add_one(
        self, judge: np.ndarray, port: np.ndarray, plane: tuple[int, ...], noise: float
    ) -> None:
        """One input as (C, H * W)."""
        judge, port, missing = self._finite(judge, port)
        scale = max(float(judge.max()), -float(judge.min()))
        noise = max(noise, floor(scale))
        channels = np.zeros(len(judge))
        rows = max(1, _BLOCK // max(1, judge.shape[1]))
        for start in range(0, len(judge), rows):
            part = slice(start, start + rows)
            channels[part] = self._add_block(judge[part], port[part], noise)
        self._elements += judge.size
        self._scale = max(self._scale, scale)
        if missing is not None:
            channels[missing.any(axis=1)] = self._max_relative = math.inf
        if self._details is not None:
            self._details.add(judge, port, channels)
        self._note_worst(judge, port, channels, missing, plane, noise)

    def _finite(
        self, judge: np.ndarray, port: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Both without NaN and infinities, and where one side alone has one (None: nowhere)."""
        # A sum of squares is finite only if all elements are: one pass for the common case.
        left, right = judge.ravel(), port.ravel()
        with np.errstate(all="ignore"):
            if np.isfinite(left @ left + right @ right):
                return judge, port, None
        same = (judge == port) | (np.isnan(judge) & np.isnan(port))
        odd = ~(np.isfinite(judge) & np.isfinite(port))
        self._nonfinite += int((odd & same).sum())
        missing = odd & ~same
        self._disagreeing += int(missing.sum())
        return np.where(odd, 0, judge), np.where(odd, 0, port), missing if missing.any() else None

    def _add_block(self, judge: np.ndarray, port: np.ndarray, noise: float) -> np.ndarray:
        """Add some channels, few enough to stay in cache; return the largest difference of each."""
        difference = np.abs(judge - port)
        flat, left, right = difference.ravel(), judge.ravel(), port.ravel()
        self._powers += (flat @ flat, left @ left, right @ right, left @ right)
        self._total += float(difference.sum())
        self._beyond += int(np.count_nonzero(difference > noise))
        size = np.abs(left)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Infinite where the judge's value alone is 0; fmax passes over NaN, which is 0 / 0.
            relative = float(np.fmax.reduce(flat / size))
        self._max_relative = max(self._max_relative, relative)  # which no NaN is beyond
        if self._tolerance.fixed:
            limit = (self._tolerance.atol or 0.0) + (self._tolerance.rtol or 0.0) * size
            self._disagreeing += int(np.count_nonzero(flat > limit))
        if self._details is not None:
            self._ulp_max = max(self._ulp_max, int(ulps(left, right).max()))
        return np.asarray(difference.max(axis=1), np.float64)

    def _note_worst(
        self, judge: np.ndarray, port: np.ndarray, channels: np.ndarray,
        missing: np.ndarray | None, plane: tuple[int, ...], noise: float,
    ) -> None:  # fmt: skip
        channel = int(np.argmax(channels))
        largest = float(channels[channel])
        self._max = max(self._max, largest)
        ratio = largest / noise if noise else (math.inf if largest else 0.0)
        if self.inputs and ratio <= self._worst.ratio:
            return
        row = np.abs(judge[channel] - port[channel])
        if missing is not None:
            row[missing[channel]] = np.inf
        place = np.unravel_index(int(np.argmax(row)), plane) if plane else ()
        position = tuple(int(i) for i in place)
        self._worst = _Worst(ratio, noise, largest, self.inputs, channel, position)
        if self._details is not None:
            self._details.show_plane(row.reshape(plane))

    def result(self) -> TapFigures:
        """The figures of everything added."""
        worst, details = self._worst, self._details
        difference, judge, port, product = self._powers
        agrees = worst.ratio <= self._tolerance.factor
        if self._tolerance.fixed:
            agrees = self._disagreeing == 0
        figures = TapFigures(
            elements=self._elements, max_abs=self._max, mean_abs=self._total / self._elements,
            max_relative=self._max_relative, scale=self._scale,
            snr_db=_decibels(judge, difference),
            cosine=min(1.0, float(product / math.sqrt(judge * port))) if judge and port else 1.0,
            ulp_median=math.nan, ulp_p99=math.nan, ulp_max=self._ulp_max,
            noise=worst.noise, ratio=worst.ratio, worst_abs=worst.difference,
            beyond=self._beyond / self._elements, nonfinite=self._nonfinite,
            disagreeing=self._disagreeing, worst_input=worst.input, worst_channel=worst.channel,
            worst_position=worst.position, agrees=agrees,
            noise_share=self._noise / self._scale if self._scale else 0.0,
        )  # fmt: skip
        if details is None:
            return replace(
                figures, mean_abs=math.nan, max_relative=math.nan, snr_db=math.nan,
                cosine=math.nan, beyond=math.nan,
            )  # fmt: skip
        return replace(
            figures, ulp_median=details.ulps.quantile(0.5), ulp_p99=details.ulps.quantile(0.99),
            details=details.result(),
        )  # fmt: skip


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf

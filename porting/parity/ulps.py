"""Units in the last place: how many float32 values lie between two."""

from __future__ import annotations

import numpy as np

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

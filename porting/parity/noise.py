"""The float32 noise of a tap, which is the tolerance of a comparison.

The port is run in float64, and in float32 in two orders: as it is, and with sums for
single places (spatial means, and the layers behind them) added term by term, as
TensorFlow's kernels do: over 28x28 places that costs twenty roundings where PyTorch's
tree of sums costs one. How far the float32 runs lie from the float64 one is the noise
of a tap in one input. A judge that computes the same function lies about as far;
:data:`FACTOR` is how many times farther it may lie. Where a tap lies beyond, the noise
is drawn again with every sum turned round, and once more with the input moved by one
rounding: more draws can only add to it, so what agrees need not be asked again.

Few numbers, or a plane of equal ones, are a small sample, and by chance all runs may
round to the same side; :func:`small_sample_factor` makes up for it. ``make bench`` prints what
real files need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from porting.parity.compare import Reading
    from porting.parity.port_runner import PortRunner

FACTOR = 8.0

CEILING = 2e-4
"""Largest float32 noise, over a tap's scale, that can serve as a tolerance."""

DRAWS = 4096
"""Roundings of a small plane: from that many on, the largest of them is a reliable measure."""

EPSILON = float(np.finfo(np.float32).eps)

MEASURED_INPUTS = 1
"""Inputs of a reading whose noise is measured; that of others where a tap lies near its limit."""

_SAFE_SHARE = 0.75
"""Share of a limit within which noise that was measured on another input is relied on."""


@dataclass(frozen=True)
class Tolerance:
    """When a tap agrees: within ``factor`` times its noise, or a fixed tolerance.

    With ``atol`` or ``rtol``, 0 included, every element must be within ``atol +
    rtol * abs(judge)``, and the noise decides nothing. None: not given.
    """

    factor: float = FACTOR
    atol: float | None = None
    rtol: float | None = None

    @property
    def fixed(self) -> bool:
        """Whether a fixed tolerance was given."""
        return self.atol is not None or self.rtol is not None


def floor(scale: float) -> float:
    """The least noise that a tap of this scale can have: one rounding of its largest value."""
    return EPSILON * scale


def small_sample_factor(count: int) -> float:
    """How many times the largest of ``count`` draws that of ``DRAWS`` is expected to be.

    The largest of n normal draws grows as ``sqrt(2 log n)``: at a tap of four channels the noise
    seen is half of what a plane of the same roundings would show, and so is not to be trusted.
    """
    return math.sqrt(math.log(DRAWS) / math.log(max(count, 2))) if count < DRAWS else 1.0


def noise_of(exact: np.ndarray, *runs: np.ndarray) -> np.ndarray:
    """How far float32 runs (N, ...) lie from the float64 one at most, by input: (N,).

    NaN, infinities and what overflows in one precision alone say nothing of rounding and
    are left out; whether the sides agree on them is for the comparison to say.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        apart = [np.abs(exact - run).reshape(len(exact), -1).max(axis=1) for run in runs]
        noise = np.max(apart, axis=0)
        if not np.isfinite(noise).all():
            each = (np.abs(exact - run).reshape(len(exact), -1) for run in runs)
            finite = [np.where(np.isfinite(v), v, 0.0).max(axis=1) for v in each]
            noise = np.max(finite, axis=0)
    return np.asarray(noise * small_sample_factor(len(runs) * exact[0].size), np.float64)


class Differences:
    """How far the port lies from a judge on one input.

    ``channels`` has the largest difference of each channel, (1, C), by tap, ``scales`` the judge's
    largest values.
    """

    def __init__(
        self, judge: Mapping[str, Tensor], port: Mapping[str, Tensor],
        scales: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        differences = ((tap, (values - port[tap]).abs_()) for tap, values in judge.items())
        self.channels = {tap: v.flatten(2).amax(2) if v.ndim > 2 else v for tap, v in differences}
        self.scales = scales or {
            tap: max(float(v.max()), -float(v.min())) for tap, v in judge.items()
        }

    def exceed(self, noise: Mapping[str, np.ndarray], factor: float) -> bool:
        """Whether a tap lies further off than ``factor`` times its noise."""
        for tap, channels in self.channels.items():
            # Written so that NaN exceeds any limit.
            limit = factor * max(float(noise[tap].max()), floor(self.scales[tap]))
            if not float(channels.max()) <= limit:
                return True
        return False


class NoiseEstimator:
    """Gives the float32 noise of every tap, input by input, for each reading.

    ``factor`` is how many times its noise a tap may lie from the judge.
    """

    def __init__(self, runner: PortRunner, factor: float) -> None:
        self._runner, self._factor = runner, factor
        self._histories: dict[Reading, _MeasuredNoise] = {}

    def noise(
        self, reading: Reading, data: Tensor, values: Mapping[str, Tensor],
        substitutes: Mapping[str, Tensor], differences: Differences,
    ) -> tuple[dict[str, np.ndarray], bool]:  # fmt: skip
        """The noise of every tap, (1,), and whether it was measured on this very input.

        ``values`` are what the port gave on ``data``, fed ``substitutes`` at its taps. After
        :data:`MEASURED_INPUTS` inputs it is taken from theirs, the least of each tap in proportion
        to its scale; where that leaves a tap near its limit it is measured all the same. More
        draws only ever add to it: what agrees already need not be measured again.
        """
        history = self._histories.setdefault(reading, _MeasuredNoise())
        if history.inputs >= MEASURED_INPUTS:
            noise = history.at(differences.scales)
            if not differences.exceed(noise, _SAFE_SHARE * self._factor):
                return noise, False
        noise = self._runner.noise(data, values, substitutes)
        if differences.exceed(noise, self._factor):
            noise = self._runner.noise(data, values, substitutes, thorough=True)
        history.add(noise, differences.scales)
        return noise, True


class _MeasuredNoise:
    """The noise of one reading on the inputs where it was measured."""

    def __init__(self) -> None:
        self.inputs = 0
        self._shares: dict[str, float] = {}

    def add(self, noise: Mapping[str, np.ndarray], scales: Mapping[str, float]) -> None:
        """Add what was measured on one input, where the judge's taps have these scales."""
        self.inputs += 1
        for tap, scale in scales.items():
            if scale:
                share = max(float(noise[tap].max()), floor(scale)) / scale
                self._shares[tap] = min(share, self._shares.get(tap, share))

    def at(self, scales: Mapping[str, float]) -> dict[str, np.ndarray]:
        """The noise (1,) to expect of taps of these scales, by tap."""
        return {
            tap: np.array([scale * self._shares.get(tap, 0.0)]) for tap, scale in scales.items()
        }

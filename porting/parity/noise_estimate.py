"""Estimating a tap's float32 noise on one input from that of others, and measuring it if needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from porting.parity.noise import floor

if TYPE_CHECKING:
    from torch import Tensor

    from porting.parity.compare import Reading
    from porting.parity.port_runner import PortRunner

MEASURED_INPUTS = 1
"""Inputs of a reading whose noise is measured; that of others where a tap lies near its limit."""

_SAFE_SHARE = 0.75
"""Share of a limit within which noise that was measured on another input is relied on."""


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

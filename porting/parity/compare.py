"""Comparing two runs. Knows arrays; knows neither framework.

Figures are kept running, input by input, so that memory does not grow with
the number of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from porting.errors import BadInput
from porting.parity import noise


@dataclass(frozen=True)
class TapResult:
    """One tap over all inputs.

    ``max_abs`` is the largest difference between judge and port, ``scale`` the
    largest value of the port's float64 run, ``noise`` the largest distance of
    its float32 runs from that. ``ratio`` is ``max_abs`` over ``noise``; the tap
    agrees when it is at most the comparison's factor.
    """

    tap: str
    judge_name: str
    elements: int
    max_abs: float
    mean_abs: float
    scale: float
    noise: float
    ratio: float
    agrees: bool
    worst_input: int
    worst_position: tuple[int, ...]

    @property
    def relative(self) -> float:
        """The largest difference over the tap's scale."""
        return self.max_abs / self.scale if self.scale else self.max_abs


@dataclass(frozen=True)
class Comparison:
    """All taps in the order data passes them. Truthy when every one agrees."""

    taps: tuple[TapResult, ...]
    judge: str
    judge_version: str
    inputs: int
    factor: float

    def __bool__(self) -> bool:
        return all(tap.agrees for tap in self.taps)

    @property
    def worst(self) -> TapResult:
        """The tap that lies farthest beyond its noise."""
        return max(self.taps, key=lambda tap: math.inf if math.isnan(tap.ratio) else tap.ratio)

    @property
    def first_bad(self) -> TapResult | None:
        """The first tap that does not agree."""
        return next((tap for tap in self.taps if not tap.agrees), None)

    def __getitem__(self, tap: str) -> TapResult:
        return next(result for result in self.taps if result.tap == tap)

    def summary(self) -> str:
        """The verdict in a sentence."""
        worst = self.worst
        against = f"{self.judge} ({self.judge_version}), {self.inputs} inputs"
        if self:
            return (
                f"at parity with {against}: all {len(self.taps)} taps agree, the worst is "
                f"{worst.tap} at {worst.ratio:.1f} times its float32 noise"
            )
        first = self.first_bad
        count = sum(not tap.agrees for tap in self.taps)
        return (
            f"NOT at parity with {against}: {count} of {len(self.taps)} taps disagree, the worst "
            f"is {worst.tap} ({worst.judge_name}): difference {worst.max_abs:.3g}, "
            f"{worst.ratio:.3g} times its float32 noise of {worst.noise:.3g}; the first is "
            f"{first.tap if first else worst.tap}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for reports and release files."""
        return {"agrees": bool(self), **asdict(self)}


class _Running:
    """The figures of one tap so far."""

    def __init__(self) -> None:
        self.elements = self.inputs = 0
        self.max_abs = self.total = self.scale = self.noise = 0.0
        self.worst: tuple[int, tuple[int, ...]] = (0, ())

    def add(
        self, judge: np.ndarray, port: np.ndarray, exact: np.ndarray, resummed: np.ndarray
    ) -> None:
        judge = matched(judge, port)
        difference = np.abs(judge.astype(np.float64) - port)
        # A NaN on both sides, or the same infinity, is no difference.
        difference[(judge == port) | (np.isnan(judge) & np.isnan(port))] = 0.0
        place = int(np.argmax(difference))
        largest = float(difference.flat[place])
        if math.isnan(largest) or largest > self.max_abs or not self.worst[1]:
            where = tuple(int(i) for i in np.unravel_index(place, difference.shape))
            self.worst = (self.inputs + where[0], where[1:])
            self.max_abs = max(self.max_abs, math.inf if math.isnan(largest) else largest)
        self.total += float(difference.sum())
        self.elements += difference.size
        self.inputs += len(port)
        self.scale = max(self.scale, float(np.abs(exact).max(initial=0.0)))
        for run in (port, resummed):
            self.noise = max(self.noise, float(np.abs(run - exact).max(initial=0.0)))

    def result(self, tap: str, judge_name: str, factor: float) -> TapResult:
        yardstick = max(self.noise, noise.floor(self.scale))
        ratio = self.max_abs / yardstick if yardstick else (math.inf if self.max_abs else 0.0)
        return TapResult(
            tap, judge_name, self.elements, self.max_abs, self.total / self.elements, self.scale,
            yardstick, ratio, bool(ratio <= factor), *self.worst,
        )  # fmt: skip


class Comparer:
    """Takes runs as they come and gives a :class:`Comparison` at the end.

    ``names`` gives, by tap, what the judge calls it, in the order of depth.
    """

    def __init__(self, names: Mapping[str, str], factor: float = noise.FACTOR) -> None:
        if not names:
            raise BadInput("nothing to compare: judge and port have no tap in common")
        self._names, self._factor = names, factor
        self._running = {tap: _Running() for tap in names}

    def add(
        self,
        judge: Mapping[str, np.ndarray],
        port: Mapping[str, np.ndarray],
        exact: Mapping[str, np.ndarray],
        resummed: Mapping[str, np.ndarray],
    ) -> None:
        """Count in one batch: the judge's run, and the port's.

        ``exact`` is the port in float64, ``resummed`` in float32 in another
        order of summation; see :mod:`porting.parity.noise`.
        """
        for tap, running in self._running.items():
            running.add(judge[tap], port[tap], exact[tap], resummed[tap])

    def finish(self, judge: str, version: str) -> Comparison:
        """The comparison of everything added.

        Raises:
            BadInput: nothing was added.
        """
        inputs = next(iter(self._running.values())).inputs
        if not inputs:
            raise BadInput("nothing to compare: no input was run")
        taps = tuple(
            running.result(tap, self._names[tap], self._factor)
            for tap, running in self._running.items()
        )
        return Comparison(taps, judge, version, inputs, self._factor)


def matched(judge: np.ndarray, port: np.ndarray) -> np.ndarray:
    """The judge's array in the port's shape: they may differ in axes of length 1 alone.

    Raises:
        BadInput: they differ in more than that.
    """
    if judge.shape == port.shape:
        return judge
    if [n for n in judge.shape[1:] if n > 1] != [n for n in port.shape[1:] if n > 1]:
        raise BadInput(f"the judge gave an array of shape {judge.shape}, the port {port.shape}")
    return judge.reshape(port.shape)

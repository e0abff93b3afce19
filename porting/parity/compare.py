"""Comparing two runs. Knows arrays; knows neither framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from porting.errors import BadInput
from porting.parity.figures import RunningFigures, TapFigures
from porting.parity.noise import Tolerance

Reading = Literal["accumulated", "isolated"]
"""``accumulated``: both networks run on the same input. ``isolated``: each piece of the port is
fed what the judge fed its own, so that a tap shows only the error born there."""


@dataclass(frozen=True)
class TapResult:
    """One tap in one or both readings.

    ``tap`` is the module path in the PyTorch network, ``judge_name`` what the
    judge calls it, ``depth`` its place in the order data passes, from 0,
    ``shape`` that of one input's values: (C, H, W) or (C,). ``step`` is how far
    neighbouring values of the judge lie apart where it holds the tap in integers.
    ``mistaken`` says what is wrong with the function computed there, whatever the
    inputs showed of it.
    """

    tap: str
    judge_name: str
    depth: int
    shape: tuple[int, ...]
    accumulated: TapFigures | None = None
    isolated: TapFigures | None = None
    step: float | None = None
    mistaken: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether it agrees in every reading taken, and computes the right function."""
        return self.mistaken is None and all(
            figures.agrees for figures in (self.accumulated, self.isolated) if figures
        )

    @property
    def bears_an_error(self) -> bool:
        """Whether an error is born here: it fails in isolation, or computes another function."""
        return self.mistaken is not None or bool(self.isolated and not self.isolated.agrees)

    @property
    def figures(self) -> TapFigures:
        """The accumulated reading, or the isolated one where that alone was taken."""
        figures = self.accumulated or self.isolated
        assert figures is not None  # a comparison has at least one reading
        return figures

    @property
    def ratio(self) -> float:
        """The larger distance of its readings, in times the noise."""
        return max(figures.ratio for figures in (self.accumulated, self.isolated) if figures)


@dataclass(frozen=True, repr=False)
class Comparison:
    """All taps in the order data passes them. Truthy when every one agrees.

    ``unmatched`` lists taps that only one side has; one is enough to disagree.
    ``not_comparable`` gives, by the judge's name, why a tap was left out that
    by construction means something else on the two sides; that is no disagreement.
    ``refusals`` are reasons not to say that the two are at parity, whatever the taps say.
    """

    taps: tuple[TapResult, ...]
    judge: str
    judge_version: str
    inputs: int
    tolerance: Tolerance
    unmatched: tuple[str, ...] = ()
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        settled = not self.unmatched and not self.refusals
        return settled and all(tap.agrees for tap in self.taps)

    def __getitem__(self, tap: str) -> TapResult:
        return next(result for result in self.taps if result.tap == tap)

    def __repr__(self) -> str:
        # What a failed `assert porting.compare(...)` prints: a line, not a wall of arrays.
        return f"<{self.summary()}>"

    @property
    def logits(self) -> TapResult:
        """The classifier's tap, or the last one of a judge that shows what is behind it alone."""
        return next((tap for tap in self.taps if tap.tap == "classifier"), self.taps[-1])

    @property
    def worst(self) -> TapResult:
        """The tap that lies farthest beyond its noise."""
        return max(self.taps, key=lambda tap: tap.ratio)

    @property
    def first_bad(self) -> TapResult | None:
        """The first tap that does not agree in any of its readings."""
        return next((tap for tap in self.taps if not tap.agrees), None)

    @property
    def culprit(self) -> TapResult | None:
        """Where the error is born: the first tap that fails by itself, else the first bad."""
        return next((tap for tap in self.taps if tap.bears_an_error), self.first_bad)

    @property
    def needed(self) -> Tolerance:
        """The tolerance under which all taps would have agreed, by each of its ways alone.

        No relative one would do where the judge has a 0 and the port has not: infinite.
        """
        figures = [f for tap in self.taps for f in (tap.accumulated, tap.isolated) if f]
        return Tolerance(
            factor=max(f.ratio for f in figures),
            atol=max(f.max_abs for f in figures),
            rtol=max(f.max_relative for f in figures),
        )

    def summary(self) -> str:
        """The verdict in a sentence."""
        against = f"{self.judge} ({self.judge_version}), {self.inputs} inputs"
        if self:
            worst = self.worst
            return (
                f"at parity with {against}: all {len(self.taps)} taps agree, the worst is "
                f"{worst.tap} at {worst.ratio:.1f} times its float32 noise"
            )
        reasons = [self._disagreement()] if self.first_bad else []
        if self.unmatched:
            some = ", ".join(self.unmatched[:3]) + (", ..." if len(self.unmatched) > 3 else "")
            reasons.append(f"{len(self.unmatched)} taps have no counterpart: {some}")
        reasons += self.refusals
        return f"NOT at parity with {against}: {'; '.join(reasons)}"

    def _disagreement(self) -> str:
        count = sum(not tap.agrees for tap in self.taps)
        many = f"{count} of {len(self.taps)} taps disagree"
        culprit = self.culprit
        assert culprit is not None  # the caller looked
        born = culprit.isolated
        if culprit.mistaken is not None:
            return (
                f"{many}; the error is born at {culprit.tap} ({culprit.judge_name}): it "
                f"{culprit.mistaken}"
            )
        if born and not born.agrees:
            return (
                f"{many}; the error is born at {culprit.tap} ({culprit.judge_name}): fed what the "
                f"judge fed its own, it is off by {_off(born)}"
            )
        worst = self.worst
        return (
            f"{many}, the worst is {worst.tap} ({worst.judge_name}): off by "
            f"{_off(worst.figures)}; the first is {culprit.tap}"
        )


def _off(figures: TapFigures) -> str:
    return (
        f"{figures.worst_abs:.3g}, {figures.ratio:.3g} times its float32 noise of "
        f"{figures.noise:.3g}"
    )


class Comparer:
    """Takes runs as they come and gives a :class:`Comparison` at the end.

    ``names`` gives, by tap, what the judge calls it, in the order of depth.
    ``mistaken`` are taps whose function is another than the judge's.
    """

    def __init__(
        self, names: Mapping[str, str], readings: tuple[Reading, ...] = ("accumulated",),
        tolerance: Tolerance | None = None, unmatched: tuple[str, ...] = (),
        not_comparable: Mapping[str, str] | None = None,
        mistaken: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        if not names:
            raise BadInput("nothing to compare: judge and port have no tap in common")
        self._names, self._unmatched = names, unmatched
        self._not_comparable, self._mistaken = dict(not_comparable or {}), dict(mistaken or {})
        self._tolerance = tolerance or Tolerance()
        self._running: dict[Reading, dict[str, RunningFigures]] = {
            reading: {tap: RunningFigures(self._tolerance) for tap in names} for reading in readings
        }
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(
        self, reading: Reading, judge: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray],
        noise: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        """Count in one batch of a reading: arrays (N, C, H, W) or (N, C), by tap.

        ``noise`` (N,) is how far float32 alone moves each tap, by input; see
        :mod:`porting.parity.noise`.

        Raises:
            BadInput: the arrays of a tap differ in shape.
        """
        for tap, running in self._running[reading].items():
            if judge[tap].shape != port[tap].shape:
                raise BadInput(
                    f"{tap}: the judge gave an array of shape {judge[tap].shape}, the port "
                    f"{port[tap].shape}"
                )
            running.add(judge[tap], port[tap], noise[tap])
            self._shapes[tap] = port[tap].shape[1:]

    def finish(
        self, judge: str, version: str, steps: Mapping[str, float] | None = None
    ) -> Comparison:
        """The comparison of everything added; ``steps`` are the judge's, by tap.

        Raises:
            BadInput: nothing was added.
        """
        inputs = min(next(iter(taps.values())).inputs for taps in self._running.values())
        if not inputs:
            raise BadInput("nothing to compare: no input was run")
        steps = steps or {}
        taps = tuple(
            self._result(tap, depth, steps.get(tap)) for depth, tap in enumerate(self._names)
        )
        return Comparison(
            taps, judge, version, inputs, self._tolerance, self._unmatched, self._not_comparable
        )

    def _result(self, tap: str, depth: int, step: float | None) -> TapResult:
        figures = {reading: taps[tap].result() for reading, taps in self._running.items()}
        return TapResult(
            tap, self._names[tap], depth, self._shapes[tap],
            figures.get("accumulated"), figures.get("isolated"), step,
            self._mistaken.get(tap),
        )  # fmt: skip

"""Comparing two runs tap by tap: arrays alone, of whatever framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from porting.errors import BadInput
from porting.parity.figures import RunningFigures, TapFigures
from porting.parity.noise import CEILING, Tolerance

if TYPE_CHECKING:
    from porting.parity.coverage import Coverage
    from porting.parity.weights import WeightComparison

Reading = Literal["accumulated", "isolated", "dense"]
"""``accumulated``: both networks run on the same input. ``isolated``: each piece of the port is
fed what the judge fed its own, so that a tap shows only the error born there. ``dense``: each piece
of both is fed the same random values, which leave no channel at 0."""


_SPREAD, _MANY = 2.0, 8
"""From this median of pieces, in times their noise, and for so many pieces, an error is spread:
sound pieces have a median of about 0.9."""


@dataclass(frozen=True)
class TapResult:
    """One tap in all readings taken.

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
    dense: TapFigures | None = None
    step: float | None = None
    mistaken: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether it agrees in every reading taken, and computes the right function."""
        return self.mistaken is None and all(figures.agrees for figures in self.readings)

    @property
    def readings(self) -> tuple[TapFigures, ...]:
        """The figures of every reading taken."""
        return tuple(filter(None, (self.accumulated, self.isolated, self.dense)))

    @property
    def own_error(self) -> TapFigures | None:
        """The figures of an error that arises here, in this piece by itself; None for none."""
        pieces = (self.isolated, self.dense)
        return next((figures for figures in pieces if figures and not figures.agrees), None)

    @property
    def is_origin(self) -> bool:
        """Whether an error arises here: it fails by itself, or computes another function."""
        return self.mistaken is not None or self.own_error is not None

    @property
    def figures(self) -> TapFigures:
        """The accumulated reading, or the isolated one where that alone was taken."""
        figures = self.accumulated or self.isolated or self.dense
        assert figures is not None  # a comparison has at least one reading
        return figures

    @property
    def ratio(self) -> float:
        """The largest distance of its readings, in times the noise."""
        return max(figures.ratio for figures in self.readings)

    @property
    def noise_share(self) -> float:
        """The largest float32 noise of its readings, over their scale.

        A squeeze-excite's gate ends at 1 however large its argument: what reached it cannot be
        measured by it, and is by the taps before; its pieces alone count.
        """
        pieces = tuple(filter(None, (self.isolated, self.dense)))
        gate = self.tap.endswith(".se.gate")
        return max(f.noise_share for f in (gate and pieces) or self.readings)


@dataclass(frozen=True, repr=False)
class Comparison:
    """All taps in the order data passes them. Truthy when every one agrees.

    ``unmatched`` lists taps that only one side has; one is enough to disagree.
    ``not_comparable`` gives, by the judge's name, why a tap was left out that
    by construction means something else on the two sides; that is no disagreement.
    ``unsound`` says why the port cannot be judged at all: its noise cannot serve as a tolerance.
    ``refusals`` are reasons not to say that the two agree whatever the taps show, a clause each;
    ``coverage`` says which weights the taps rest on. ``before`` is set where what reaches the
    culprit's own layer is not what the tap of that name gave: the error may lie between the two.
    ``weights`` says what relates the weights of the two, where they were compared too:
    whether they agree decides nothing, but tells why taps do not.
    """

    taps: tuple[TapResult, ...]
    judge: str
    judge_version: str
    inputs: int
    tolerance: Tolerance
    unmatched: tuple[str, ...] = ()
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    unsound: str | None = None
    refusals: tuple[str, ...] = ()
    coverage: Coverage | None = None
    before: str | None = None
    weights: WeightComparison | None = None

    def __bool__(self) -> bool:
        if self.unsound or self.unmatched or self.refusals:
            return False
        return all(tap.agrees for tap in self.taps)

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
    def spread(self) -> float | None:
        """The median distance of all pieces from the judge, in times their noise, if most are off.

        Sound pieces lie within one noise or so in the median; an error in one place leaves the
        others there. None where the error has places, or there is none.
        """
        pieces = [tap.isolated.ratio for tap in self.taps if tap.isolated]
        if self.first_bad is None or len(pieces) < _MANY:
            return None
        middle = float(np.median(pieces))
        return middle if middle > _SPREAD else None

    @property
    def culprit(self) -> TapResult | None:
        """The tap where the error arises: the first that fails by itself, else the first bad.

        None where it is in most pieces at once; see :attr:`spread`.
        """
        if self.spread is not None:
            return None
        return next((tap for tap in self.taps if tap.is_origin), self.first_bad)

    @property
    def needed(self) -> Tolerance:
        """The tolerance under which all taps would have agreed, by each of its ways alone.

        No relative one would do where the judge has a 0 and the port has not: infinite.
        """
        figures = [figures for tap in self.taps for figures in tap.readings]
        return Tolerance(
            factor=max(f.ratio for f in figures),
            atol=max(f.max_abs for f in figures),
            rtol=max(f.max_relative for f in figures),
        )

    @property
    def noise_share(self) -> float:
        """The largest float32 noise of a tap, over its scale."""
        return max(tap.noise_share for tap in self.taps)

    def summary(self) -> str:
        """The verdict in a sentence."""
        against = f"{self.judge} ({self.judge_version}), {self.inputs} inputs"
        if self:
            worst = self.worst
            coverage = "" if self.coverage is None else f"; {self.coverage.summary()}"
            return (
                f"at parity with {against}: all {len(self.taps)} taps agree, the worst is "
                f"{worst.tap} at {worst.ratio:.1f} times its float32 noise (which is at most "
                f"{self.noise_share:.0e} of a tap's values){coverage}"
            )
        if self.unsound:
            return f"NOT at parity with {against}: it cannot be judged: {self.unsound}"
        reasons = [*self.refusals, *([self._disagreement()] if self.first_bad else [])]
        if self.unmatched:
            some = ", ".join(self.unmatched[:3]) + (", ..." if len(self.unmatched) > 3 else "")
            reasons.append(f"{len(self.unmatched)} taps have no counterpart: {some}")
        if self.weights is not None and self.weights.unpaired is None:
            tap = None if self.culprit is None else self.culprit.tap
            arithmetic = ", so the arithmetic differs" if self.weights.agrees else ""
            reasons.append(self.weights.summary(tap) + arithmetic)
        return f"NOT at parity with {against}: {'; '.join(reasons)}"

    def _disagreement(self) -> str:
        count = sum(not tap.agrees for tap in self.taps)
        many = f"{count} of {len(self.taps)} taps disagree"
        worst = self.worst
        if self.spread is not None:
            return (
                f"{many}; the error is in most pieces: fed what the judge fed its own, half of "
                f"them lie {self.spread:.3g} times their float32 noise away or more, the worst is "
                f"{worst.tap} with {worst.ratio:.3g} times"
            )
        culprit = self.culprit
        assert culprit is not None  # the caller looked
        place = f"at {culprit.tap} ({culprit.judge_name})"
        if self.before is not None:
            place = f"in {culprit.tap} ({culprit.judge_name}) or between {self.before} and it"
        if culprit.mistaken is not None:
            return f"{many}; the error is born {place}: it {culprit.mistaken}"
        figures = culprit.own_error
        if figures is not None:
            isolated = figures is culprit.isolated
            inputs = "what the judge fed its own" if isolated else "the same values"
            others = sum(tap.own_error is not None for tap in self.taps) - 1
            rest = ""
            if others:
                rest = f"; {others} other piece{'s are' if others > 1 else ' is'} off as well"
            distance = f"{_off(figures)}{rest}"
            return f"{many}; the error is born {place}: fed {inputs}, it is off by {distance}"
        remark = ""
        if any(tap.isolated for tap in self.taps):
            remark = "; no piece is off by itself, so the difference adds up"
        return (
            f"{many}, the worst is {worst.tap} ({worst.judge_name}): off by "
            f"{_off(worst.figures)}; the first is {culprit.tap}{remark}"
        )


def _off(figures: TapFigures) -> str:
    return (
        f"{figures.worst_abs:.3g}, {figures.ratio:.3g} times its float32 noise of "
        f"{figures.noise:.3g}"
    )


class Comparer:
    """Collects one run after another into a :class:`Comparison`.

    ``names`` gives, by tap, what the judge calls it, in the order of depth.
    ``mistaken`` are taps whose function is another than the judge's.
    """

    def __init__(
        self, names: Mapping[str, str], readings: tuple[Reading, ...] = ("accumulated",),
        tolerance: Tolerance | None = None, unmatched: tuple[str, ...] = (),
        not_comparable: Mapping[str, str] | None = None,
        mistaken: Mapping[str, str] | None = None, details: bool = True,
    ) -> None:  # fmt: skip
        if not names:
            raise BadInput("nothing to compare: judge and port have no tap in common")
        self._names, self._unmatched = names, unmatched
        self._not_comparable, self._mistaken = dict(not_comparable or {}), dict(mistaken or {})
        self._tolerance = tolerance or Tolerance()
        self._running: dict[Reading, dict[str, RunningFigures]] = {
            reading: {tap: RunningFigures(self._tolerance, details) for tap in names}
            for reading in readings
        }
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(
        self, reading: Reading, judge: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray],
        noise: Mapping[str, np.ndarray], is_measured: bool = True,
        channels: Mapping[str, np.ndarray] | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Add one batch of a reading: arrays (N, C, H, W) or (N, C), by tap.

        A tap that the judge's arrays lack is left out. ``noise`` (N,) is how far float32 alone
        moves each tap, by input; see :mod:`porting.parity.noise`. ``is_measured`` says that it
        was measured on these inputs. ``channels`` (1, C) are the largest differences of each
        channel of one input, ``scales`` the judge's largest values, where they are known.

        Raises:
            BadInput: the arrays of a tap differ in shape.
        """
        for tap, running in self._running[reading].items():
            if tap not in judge:
                continue
            if judge[tap].shape != port[tap].shape:
                raise BadInput(
                    f"{tap}: the judge gave an array of shape {judge[tap].shape}, the port "
                    f"{port[tap].shape}"
                )
            channel_figures = (
                (None, None) if channels is None else (channels[tap], (scales or {}).get(tap))
            )
            running.add(judge[tap], port[tap], noise[tap], is_measured, *channel_figures)
            self._shapes[tap] = port[tap].shape[1:]

    def finish(
        self, judge: str, version: str, steps: Mapping[str, float] | None = None,
        unsound: str | None = None, refusals: tuple[str, ...] = (),
        coverage: Coverage | None = None,
    ) -> Comparison:  # fmt: skip
        """The comparison of everything added; ``steps`` are the judge's, by tap.

        A port is ``unsound``, too, where a tap's noise is more than :data:`CEILING` of its scale.

        Raises:
            BadInput: nothing was added.
        """
        images = [taps for reading, taps in self._running.items() if reading != "dense"]
        inputs = min(next(iter(taps.values())).inputs for taps in images)
        if not inputs:
            raise BadInput("nothing to compare: no input was run")
        steps = steps or {}
        taps = tuple(
            self._result(tap, depth, steps.get(tap)) for depth, tap in enumerate(self._names)
        )
        loudest = max(taps, key=lambda tap: tap.noise_share)
        if unsound is None and loudest.noise_share > CEILING and not self._tolerance.fixed:
            unsound = (
                f"its own float32 noise is {loudest.noise_share:.2%} of its values at "
                f"{loudest.tap}, and a sound network's at most {CEILING:.2%}"
            )
        return Comparison(
            taps, judge, version, inputs, self._tolerance, self._unmatched, self._not_comparable,
            unsound, refusals, coverage,
        )  # fmt: skip

    def _result(self, tap: str, depth: int, step: float | None) -> TapResult:
        figures = {
            reading: taps[tap].result()
            for reading, taps in self._running.items()
            if taps[tap].inputs
        }
        return TapResult(
            tap, self._names[tap], depth, self._shapes[tap],
            figures.get("accumulated"), figures.get("isolated"), figures.get("dense"), step,
            self._mistaken.get(tap),
        )  # fmt: skip

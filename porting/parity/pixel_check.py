"""The check from pixels: a source as it is, fed an image's pixels, compared with its port.

Tap by tap, judge and port both begin at what the network's first layer takes; whether the input
convention leads there from pixels, that comparison cannot show. Here the source's own input is
fed RGB pixels 0..255 in the type that it takes, and the port the same pixels through the
convention that its card states. The logits of the two must be the same: for the source
in float32 within the float32 noise of that tap and, where it computes with integers, for these
within :data:`SHARE`.

Integers are fed an image's bytes, and the judge's own library says what they stand for. A float
input is fed the range that the convention states of it; whether the source was trained on that
range nothing in a file can show, and ``certainty`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from porting.mapping.input_spec import Certainty, InputConvention
from porting.parity.figures import RunningFigures
from porting.parity.noise import EPSILON, Tolerance
from porting.parity.pairing import JudgeRuns, TapPairing, channels_first

IMAGES = 2
"""How many of the images that are compared tap by tap are compared from pixels on as well."""

SHARE = 0.6
"""How far integers may lie from their float port: the root mean square of the difference over that
of the larger of the two.

Seven integer files of five makers, two images at a time, seeded ones and photos: honest runs lie
0.01 to 0.31 away, those of pixels over 0.5 for [0, 1] 0.3 to 1.4. This is no measure of a
convention, which is held to the noise in float32; it tells a file whose integers are another
network than its real numbers.
"""

_ROUNDINGS = 2
"""How many roundings of the largest value two ways to normalise may lie apart."""


@dataclass(frozen=True)
class PixelCheck:
    """The result of the check from pixels.

    ``judge`` ran the source in float32. ``images`` were fed to an input of type
    ``takes``, as ``low`` to ``high`` for pixels 0 to 255; ``certainty`` is the
    input convention's. At ``tap`` the port lies ``max_abs`` from the judge, at
    worst ``ratio`` times the float32 ``noise`` of that image; ``scale`` is the
    judge's largest value. ``share`` is how far the run in integers lies from the
    port, as in :data:`SHARE`, None for a source that computes in float.
    ``same_answers`` counts the images on which the source as it is and the port
    give the largest value to one class.
    """

    judge: str
    judge_version: str
    images: int
    takes: str
    low: float
    high: float
    certainty: Certainty
    tap: str
    max_abs: float
    scale: float
    noise: float
    ratio: float
    factor: float
    within_noise: bool
    share: float | None
    same_answers: int

    @property
    def agrees(self) -> bool:
        """Whether the convention turns pixels into what the source itself makes of them."""
        return self.within_noise and (self.share is None or self.share <= SHARE)

    def summary(self, taps_agree: bool = True) -> str:
        """The result in a clause; ``taps_agree`` says what the comparison tap by tap gave."""
        start = f"fed pixels 0..255 as {self._input()}"
        if not self.agrees and not taps_agree:
            return (
                f"{start}, source and port differ, which says nothing of the input convention "
                f"while taps disagree: {self.tap} is off by {self.max_abs:.3g}"
            )
        if not self.within_noise:
            return (
                f"{start}, the source as it is and the port by its input convention differ: "
                f"{self.tap} is off by {self.max_abs:.3g}, {self.ratio:.3g} times its float32 "
                f"noise of {self.noise:.3g}"
            )
        if not self.agrees:
            return (
                f"{start}, the source's integers lie {self.share:.2g} of their size away from the "
                f"port at {self.tap}; rounding accounts for up to {SHARE:g}"
            )
        integers = "" if self.share is None else f", its integers within {self.share:.2g} of theirs"
        return (
            f"{start}, source and port agree: {self.tap} at {self.ratio:.1f} times its float32 "
            f"noise{integers}; the same answer on {self.same_answers} of {self.images} images"
        )

    def _input(self) -> str:
        """The source's input, in words."""
        if "int" in self.takes:
            return self.takes
        proviso = {"proved": "", "stated": " (stated, not proved)"}.get(
            self.certainty, " (not proved)"
        )
        return f"{self.low:.4g} to {self.high:.4g} in {self.takes}{proviso}"

    def to_json(self, taps_agree: bool = True) -> dict[str, Any]:
        """Plain data for cards and reports; ``taps_agree`` as in :meth:`summary`."""
        return {
            "agrees": self.agrees,
            "summary": self.summary(taps_agree),
            **asdict(self),
            "share_limit": None if self.share is None else SHARE,
        }


class PixelChecker:
    """Runs images from their pixels on, through the source as it is and through the port."""

    def __init__(
        self, pairing: TapPairing, convention: InputConvention, running: RunningPixelCheck
    ) -> None:
        self._pairing, self._convention, self._running = pairing, convention, running

    @classmethod
    def of(
        cls, pairing: TapPairing, convention: InputConvention, tolerance: Tolerance
    ) -> PixelChecker | None:
        """One for a pairing; None where the source has no input of its own."""
        input_type = pairing.judge_set.input_type
        if input_type is None:
            return None
        running = RunningPixelCheck(input_type, convention, pairing.logits, tolerance)
        return cls(pairing, convention, running)

    @property
    def more(self) -> bool:
        """Whether another image is needed."""
        return self._running.more

    def add(
        self, image: JudgeRuns, data: Tensor, values: Mapping[str, Tensor],
        noises: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        """Run an image from its pixels on; what was run on the same data is not run again.

        ``data`` is what the port was run on for ``image``, ``values`` what it gave, and
        ``noises`` those of its taps.
        """
        judge_set, runner, tap = self._pairing.judge_set, self._pairing.runner, self._pairing.logits
        pixels, inputs = image.pixels, image.inputs
        if judge_set.pixels_to_inputs is not None:
            pixels = np.clip(np.rint(pixels), 0, 255)
            inputs = judge_set.pixels_to_inputs(pixels)
        runs = image.runs
        if not np.array_equal(inputs, image.inputs):
            runs = tuple(judge.run(inputs) for judge in judge_set.judges)
        keeps_pixels = self._pairing.match.normalises
        start = channels_first(pixels if keeps_pixels else self._convention.normalise(pixels))
        if not torch.equal(start, data):
            values = runner.run(start)
            noises = runner.noise(start, values)
        shapes = {tap: tuple(tensor.shape) for tap, tensor in values.items()}
        judges = [self._pairing.as_port(run.taps, shapes)[tap].numpy() for run in runs]
        port, noise = values[tap].numpy(), noises[tap]
        if self._running.is_doubtful(judges[0], port, noise):
            # What graph and convention compute in two ways may differ by roundings of the input.
            neighbour = runner.run(torch.from_numpy(moved_by_roundings(start.numpy())))[tap].numpy()
            thorough = runner.noise(start, values, thorough=True)[tap]
            moves = np.abs(neighbour - port).reshape(len(port), -1).max(axis=1)
            noise = np.maximum.reduce([noise, thorough, moves])
        self._running.add(judges, port, noise)

    def result(self, judge: str, version: str) -> PixelCheck | None:
        """The check of all images added; None where there was none."""
        return self._running.result(judge, version)


class RunningPixelCheck:
    """Takes the logits of one image after another; :meth:`result` gives the check of all."""

    def __init__(
        self, takes: str, convention: InputConvention, tap: str, tolerance: Tolerance | None
    ) -> None:
        self._takes, self._certainty, self._tap = takes, convention.certainty, tap
        ends = convention.as_source_input(np.array([[0.0], [255.0]]))
        self._low, self._high = float(ends.min()), float(ends.max())
        self._tolerance = tolerance or Tolerance()
        self._in_float = RunningFigures(self._tolerance)
        # Of the difference between integers and port, and of the two: sums of squares.
        self._powers = np.zeros(3)
        self._integers = False
        self._same = 0

    @property
    def more(self) -> bool:
        """Whether another image is needed."""
        return self._in_float.inputs < IMAGES

    def is_doubtful(self, judge: np.ndarray, port: np.ndarray, noise: np.ndarray) -> bool:
        """Whether the two lie farther apart than the noise (N,) so far accounts for."""
        running = RunningFigures(Tolerance(self._tolerance.factor))
        running.add(judge, port, noise)
        return not running.result().agrees

    def add(self, judges: Sequence[np.ndarray], port: np.ndarray, noise: np.ndarray) -> None:
        """Count in one image's values at the tap: those of every judge, and the port's.

        ``judges`` begin with the source in float32 and end with it as it is; all arrays are
        (1, C) or (1, C, H, W). ``noise`` is (1,).
        """
        self._in_float.add(judges[0], port, noise)
        if len(judges) > 1:
            self._integers = True
            parts = (judges[-1] - port, judges[-1], port)
            self._powers += [float(np.square(part, dtype=np.float64).sum()) for part in parts]
        self._same += int(judges[-1].argmax() == port.argmax())

    def result(self, judge: str, version: str) -> PixelCheck | None:
        """The check of all images added; None where there was none."""
        if not self._in_float.inputs:
            return None
        figures, share = self._in_float.result(), None
        if self._integers:
            difference, *sizes = np.sqrt(self._powers)
            share = float(difference / max(sizes)) if max(sizes) else 0.0
        return PixelCheck(
            judge, version, self._in_float.inputs, self._takes, self._low, self._high,
            self._certainty, self._tap, figures.max_abs, figures.scale, figures.noise,
            figures.ratio, self._tolerance.factor, figures.agrees, share, self._same,
        )  # fmt: skip


def moved_by_roundings(data: np.ndarray) -> np.ndarray:
    """Normalised images, each value moved by what two ways to normalise may lie apart."""
    signs = np.random.default_rng(0).choice((-1.0, 1.0), data.shape)
    largest = float(np.abs(data).max())
    return np.asarray(data + signs * (_ROUNDINGS * EPSILON * largest), np.float32)

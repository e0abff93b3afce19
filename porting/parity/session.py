"""Running judge and port side by side, image by image, up to the figures of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from genmobilenet.network import GenMobileNet
from porting.errors import BadInput
from porting.graph.layers import layers_of
from porting.graph.tap_names import INPUT_OF
from porting.mapping.input_spec import InputConvention
from porting.mapping.match import Match
from porting.parity.compare import Comparer, Comparison, Reading, TapResult
from porting.parity.coverage import ChannelActivity, Coverage
from porting.parity.dense_reading import dense_runs
from porting.parity.judge_set import JudgeSet
from porting.parity.module_checks import (
    batch_dependence,
    output_mismatch,
    reduced_precision,
    unsoundness,
)
from porting.parity.noise import Differences, NoiseEstimator, Tolerance
from porting.parity.pairing import JudgeRuns, TapPairing, pair_taps
from porting.parity.pixel_check import PixelCheck, PixelChecker
from porting.parity.port_runner import PortRunner


@dataclass(frozen=True)
class TapVerdict:
    """The result of a comparison by taps; ``quantised_run`` is with the source as it is."""

    comparison: Comparison
    quantised_run: Comparison | None
    pixels: PixelCheck | None


def compare_taps(  # noqa: PLR0913 - those of verify_port
    judge_set: JudgeSet,
    match: Match,
    model: nn.Module,
    convention: InputConvention,
    pixels: Iterable[np.ndarray],
    *,
    readings: tuple[Reading, ...],
    tolerance: Tolerance | None = None,
    details: bool,
    progress: Callable[[int], None] | None = None,
) -> TapVerdict:
    """Run judges and network on images (H, W, C), 0..255, and compare every tap.

    Taps are paired on the first image.

    Raises:
        BadInput: there was no image.
    """

    def run_judges(image: np.ndarray) -> JudgeRuns:
        inputs = convention.as_source_input(image[None])
        runs = tuple(judge.run(inputs) for judge in judge_set.judges)
        return JudgeRuns(image[None], inputs, runs)

    images = map(run_judges, pixels)
    first = next(images, None)
    if first is None:
        raise BadInput("nothing to compare: there was no image to run")
    pairing = pair_taps(judge_set, match, model, first)
    with ThreadPoolExecutor(1) as background:
        session = Session(
            pairing, convention, first, readings, tolerance or Tolerance(), details, background
        )
        if progress is not None:
            progress(1)
        for number, image in enumerate(images, start=2):
            session.add(image)
            if progress is not None:
                progress(number)
        return session.finish()


class Session:
    """A comparison in progress: it begins with one image, and :meth:`add` takes more.

    ``background`` takes figures while the next image is run.
    """

    def __init__(
        self, pairing: TapPairing, convention: InputConvention, image: JudgeRuns,
        readings: tuple[Reading, ...], tolerance: Tolerance, details: bool,
        background: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._pairing, self._first = pairing, image
        self._readings, self._details = readings, details
        self._background = background
        self._tasks: list[Future[None]] = []
        self._refusals: list[str] = []
        self._comparers = [
            Comparer(
                pairing.names, readings, tolerance, pairing.unmatched_taps, pairing.not_comparable,
                pairing.mistaken, details,
            ),
            *(Comparer(pairing.names, details=details) for _ in image.runs[1:]),
        ]  # fmt: skip
        self._activity = ChannelActivity(pairing.flows, pairing.judge_set.names, pairing.taps)
        self._noises = NoiseEstimator(pairing.runner, tolerance.factor)
        self._pixel_checker = PixelChecker.of(pairing, convention, tolerance)
        data = pairing.port_input(image.inputs, image.pixels, image.taps)
        values = self._run_port(data)
        self._shapes = {tap: tuple(tensor.shape) for tap, tensor in values.items()}
        self._unsound = unsoundness(pairing.runner, data, values) or reduced_precision(
            values, pairing.as_port(image.taps, self._shapes)
        )
        if not self._unsound:
            self._refuse(batch_dependence(pairing.runner, data, values))
        self._count_image(image, data, values)

    def add(self, image: JudgeRuns) -> None:
        """Run the port on another image and count in how far it lies from the judges."""
        data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
        self._count_image(image, data, self._run_port(data))

    def _run_port(self, data: Tensor) -> dict[str, Tensor]:
        """The port's taps on an image, with a check that it returns what its taps show."""
        values = self._pairing.runner.run(data)
        self._refuse(output_mismatch(self._pairing.runner, values, self._pairing.output_tap))
        return values

    def _refuse(self, reason: str | None) -> None:
        """Record a reason not to say that the two agree; None and a known one change nothing."""
        if reason is not None and reason not in self._refusals:
            self._refusals.append(reason)

    def _count_image(self, image: JudgeRuns, data: Tensor, values: Mapping[str, Tensor]) -> None:
        """Count in an image, on which the port gave ``values``, in all readings of images."""
        shapes = {tap: tuple(tensor.shape) for tap, tensor in values.items()}
        judge, *others = (self._pairing.as_port(run.taps, shapes) for run in image.runs)
        self._wait()
        self._tasks.append(self._background.submit(self._activity.add, image.taps))
        checker = None if self._unsound else self._pixel_checker
        if checker is not None and not checker.more:
            checker = None
        scales = None
        if "accumulated" in self._readings or others or checker is not None:
            differences = Differences(judge, values)
            scales = differences.scales
            noise, is_measured = self._noise("accumulated", data, values, {}, differences)
            if checker is not None:
                checker.add(image, data, values, noise)
            if "accumulated" in self._readings:
                self._count(0, "accumulated", judge, values, noise, is_measured, differences)
            for number, other in enumerate(others, start=1):
                distances = Differences(other, values)
                self._count(number, "accumulated", other, values, noise, is_measured, distances)
        if "isolated" in self._readings:
            pieces = self._pairing.runner.run(data, judge)
            differences = Differences(judge, pieces, scales)
            noise, is_measured = self._noise("isolated", data, pieces, judge, differences)
            self._count(0, "isolated", judge, pieces, noise, is_measured, differences)

    def _noise(
        self, reading: Reading, data: Tensor, values: Mapping[str, Tensor],
        substitutes: Mapping[str, Tensor], differences: Differences,
    ) -> tuple[dict[str, np.ndarray], bool]:  # fmt: skip
        if self._unsound:
            # It has no noise that means anything, and some such modules run in no other order.
            return {tap: np.zeros(1) for tap in values}, False
        return self._noises.noise(reading, data, values, substitutes, differences)

    def _count(
        self, number: int, reading: Reading, judge: Mapping[str, Tensor],
        values: Mapping[str, Tensor], noise: Mapping[str, np.ndarray], is_measured: bool,
        differences: Differences,
    ) -> None:  # fmt: skip
        """Take a reading's figures; those that go over all elements in the background."""
        judge_arrays, port_arrays, channels = (
            {tap: v.numpy() for tap, v in side.items()}
            for side in (judge, values, differences.channels)
        )
        add = self._comparers[number].add
        if not self._details:
            add(
                reading, judge_arrays, port_arrays, noise, is_measured, channels,
                differences.scales,
            )  # fmt: skip
            return
        self._tasks.append(
            self._background.submit(add, reading, judge_arrays, port_arrays, noise, is_measured)
        )

    def _wait(self) -> None:
        """Wait for the figures in the background: one input's values at most are held for them."""
        for task in self._tasks:
            task.result()
        self._tasks = []

    def finish(self) -> TapVerdict:
        """The verdict on all images that were counted in."""
        dense = "dense" in self._readings and not self._unsound
        for draw in dense_runs(self._pairing, self._first, self._shapes) if dense else ():
            self._unsound = self._unsound or reduced_precision(draw.port, draw.judge)
            self._tasks.append(
                self._background.submit(self._activity.add, draw.judge_taps, draw.judge_inputs)
            )
            differences = Differences(draw.judge, draw.port)
            noise, is_measured = self._noise(
                "dense", draw.data, draw.port, draw.substitutes, differences
            )
            self._count(0, "dense", draw.judge, draw.port, noise, is_measured, differences)
        self._wait()
        coverage = self._coverage()
        self._refuse(None if coverage.complete else coverage.summary())
        run, *others = self._first.runs
        deciding = self._comparers[0].finish(
            run.judge, run.version, self._pairing.steps(run), self._unsound, tuple(self._refusals),
            coverage,
        )  # fmt: skip
        deciding = replace(deciding, before=self._tap_before(deciding.culprit))
        check = None
        if self._pixel_checker is not None:
            check = self._pixel_checker.result(deciding.judge, deciding.judge_version)
        if check is not None and deciding and not check.agrees:
            # Where taps differ already, this check cannot but differ too.
            deciding = replace(deciding, refusals=(*deciding.refusals, check.summary()))
        quantised_run = None
        if others:
            quantised_run = self._comparers[1].finish(
                others[0].judge, others[0].version, self._pairing.steps(others[0])
            )
        return TapVerdict(deciding, quantised_run, check)

    def _coverage(self) -> Coverage:
        """Which weights the comparison has exercised."""
        match, model, judge_set = (
            self._pairing.match, self._pairing.model, self._pairing.judge_set,
        )  # fmt: skip
        state: dict[str, np.ndarray] | None = None
        if match.architecture is None or isinstance(model, GenMobileNet):
            state = {key: v.float().numpy() for key, v in model.state_dict().items()}
            shapes = {key: values.shape for key, values in state.items()}
        else:
            shapes = layers_of(match.config).shapes()
        return self._activity.coverage(shapes, state, judge_set.stored_layer, judge_set.factors)

    def _tap_before(self, culprit: TapResult | None) -> str | None:
        """The tap before the culprit's layer, if what reaches that layer is not what it gave."""
        model, pairing, image = self._pairing.model, self._pairing, self._first
        if culprit is None or not isinstance(model, GenMobileNet):
            return None
        flows = (flow for flow, result in self._activity.results.items() if culprit.tap == result)
        whole = (flow for flow in flows if flow.channels is None)
        flow = next((flow for flow in whole if flow.entry in pairing.taps), None)
        if flow is None:
            return None
        substitutes = pairing.as_port(image.taps, self._shapes)
        layer_input = flow.weight.removesuffix(".weight") + INPUT_OF
        runner = PortRunner(model, [*substitutes, layer_input])
        data = pairing.port_input(image.inputs, image.pixels, image.taps)
        values = runner.run(data, substitutes)[layer_input]
        entry = substitutes[flow.entry].reshape(values.shape)
        return None if values.equal(entry) else flow.entry

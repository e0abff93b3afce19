"""A judge's verdict on a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from porting.errors import BadInput
from porting.mapping.convention import InputConvention
from porting.mapping.layers import layers_of
from porting.mapping.module_match import ModuleMatch
from porting.mapping.recognise import Match
from porting.parity.compare import Comparer, Comparison, Reading
from porting.parity.names import CLASSIFIER, SOFTMAX
from porting.parity.noise import Tolerance, floor
from porting.parity.panel import INPUT, Panel, panel_of
from porting.parity.pixel_road import PixelRoad, RunningRoad, roundings
from porting.sources import Source

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from torch import Tensor, nn

    from porting.judges.run import Run
    from porting.parity.taps import PortRun

INPUTS = 4
"""Inputs of a verification where none are given."""

_UNSEEN = "computed where no part of the module can be looked into"


@dataclass(frozen=True)
class Verdict:
    """What the judge says.

    ``comparison`` decides. ``quantised`` is set where the source has quantised
    weights: the distance to the run as it is, which is reported and not judged.
    ``pixels`` is the road from pixels, None where the source has no input of its own; where
    that disagrees the comparison refuses.
    """

    comparison: Comparison
    quantised: Comparison | None = None
    pixels: PixelRoad | None = None


def verify_port(
    source: Source,
    match: Match | ModuleMatch,
    model: nn.Module,
    convention: InputConvention,
    pixels: Iterable[np.ndarray],
    *,
    readings: tuple[Reading, ...] = ("accumulated",),
    tolerance: Tolerance | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Run judge and network on images (H, W, C), 0..255, and compare every tap.

    ``convention`` is the source's. The first images go down the road from pixels
    as well; see :mod:`porting.parity.pixel_road`. Images are taken one by one,
    and nothing of them is kept. The values of a model that is not of this
    package are matched with the judge's taps on the first image.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there was no image.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        panel = panel_of(source, match)
        session = _Session(panel, match, model, convention, readings, tolerance, beside)
        for done, image in enumerate(pixels, start=1):
            session.run(image[None])
            if progress is not None:
                progress(done)
        return session.verdict()


class _Session:
    """Judges and port side by side, input by input."""

    def __init__(
        self, panel: Panel, match: Match | ModuleMatch, model: nn.Module,
        convention: InputConvention, readings: tuple[Reading, ...],
        tolerance: Tolerance | None, beside: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._beside, self._convention = beside, convention
        self._counting: list[Future[None]] = []
        self.panel, self._match, self._model = panel, match, model
        self._readings, self._tolerance = readings, tolerance
        self._runs: list[Run] = []
        self._comparers: list[Comparer] = []
        self._road: RunningRoad | None = None

    def run(self, pixels: np.ndarray) -> None:
        """Run everything on an image's pixels 0..255, (1, H, W, C), and count in what comes of it.

        A network that normalises by itself is given the pixels; any other what the judge's graph
        gives its own first layer.
        """
        inputs = self._convention.as_source_input(pixels)
        self._runs = [judge(inputs) for judge in self.panel.judges]
        taken = [self._kept(run) for run in self._runs]
        first = self._runs[0].taps.get(INPUT, inputs)
        data = _channels_first(pixels if self._match.normalises else first)
        if not self._comparers:
            self._begin(data, taken[0])
        whole = self._port.accumulated(data)
        judges = [self._as_port(taps, whole) for taps in taken]
        self._counted()
        arrays = [{tap: values.numpy() for tap, values in judge.items()} for judge in judges]
        if "accumulated" in self._readings:
            if self._doubtful(judges[0], whole):
                whole = self._port.accumulated(data, thorough=True)
            self._count(0, "accumulated", arrays[0], whole)
        if "isolated" in self._readings:
            pieces = self._port.isolated(data, judges[0])
            if self._doubtful(judges[0], pieces):
                pieces = self._port.isolated(data, judges[0], thorough=True)
            self._count(0, "isolated", arrays[0], pieces)
        for number, judge in enumerate(arrays[1:], start=1):
            self._count(number, "accumulated", judge, whole)
        if self._road is not None and self._road.more:
            self._walk(self._road, pixels, inputs, data, whole)

    def _walk(
        self, road: RunningRoad, pixels: np.ndarray, inputs: np.ndarray, data: Tensor,
        whole: PortRun,
    ) -> None:  # fmt: skip
        """Send an image down the road from pixels; what was run on the same data is not run anew.

        ``inputs`` and ``data`` are what judges and port were run on, ``whole`` what that gave.
        """
        import torch

        own = inputs
        if self.panel.of_bytes is not None:
            pixels = np.clip(np.rint(pixels), 0, 255)
            own = self.panel.of_bytes(pixels)
        rerun = not np.array_equal(own, inputs)
        runs = [judge(own) for judge in self.panel.judges] if rerun else self._runs
        first = pixels if self._match.normalises else self._convention.normalise(pixels)
        start, tap = _channels_first(first), self._answer
        port = whole if torch.equal(start, data) else self._port.accumulated(start)
        judges = [self._as_port(self._kept(run), port)[tap].numpy() for run in runs]
        values, noise = port.values[tap], port.noise[tap]
        if road.is_doubtful(judges[0], values, noise):
            # What graph and convention compute in two ways may differ by roundings of the input.
            beside = self._port.accumulated(torch.from_numpy(roundings(start.numpy())))
            thorough = self._port.accumulated(start, thorough=True)
            shift = np.abs(beside.values[tap] - values).reshape(len(values), -1).max(axis=1)
            noise = np.maximum.reduce([noise, thorough.noise[tap], shift])
        road.add(judges, values, noise)

    def _count(
        self, number: int, reading: Reading, judge: Mapping[str, np.ndarray], run: PortRun
    ) -> None:
        """Take a reading's figures, beside the runs on the next input."""
        add = self._comparers[number].add
        self._counting.append(self._beside.submit(add, reading, judge, run.values, run.noise))

    def _counted(self) -> None:
        """Wait for the figures that are being taken: but one input's values are held for them."""
        for counting in self._counting:
            counting.result()
        self._counting = []

    def _doubtful(self, judge: Mapping[str, Tensor], run: PortRun) -> bool:
        """Whether a tap lies beyond its noise, so that this is worth drawing with more care.

        More draws only ever add to the noise: what agrees already need not be asked again.
        """
        import torch

        factor = (self._tolerance or Tolerance()).factor
        for tap, values in judge.items():
            apart = float((values - torch.from_numpy(run.values[tap])).abs().max())
            if apart <= factor * float(run.noise[tap].max()):
                continue
            if not apart <= factor * floor(float(values.abs().max())):
                return True
        return False

    def _begin(self, data: Tensor, judge: Mapping[str, np.ndarray]) -> None:
        """Settle which of the port's taps is which of the judge's."""
        from genmobilenet.network import GenMobileNet
        from porting.parity.activations import mistaken_activations
        from porting.parity.likeness import Matching, match_taps
        from porting.parity.taps import PortRunner

        by_structure = isinstance(self._match, ModuleMatch)
        foreign = by_structure or not isinstance(self._model, GenMobileNet)
        matching = Matching({tap: tap for tap in judge}, (), CLASSIFIER)
        mistaken = {}
        if foreign:
            matching = match_taps(self._model, data, judge).with_softmax()
        elif "isolated" in self._readings and isinstance(self._match, Match):
            mistaken = mistaken_activations(self._model, layers_of(self._match.config))
        self._tap_of = matching.taps
        names = {ours: self.panel.names[tap] for tap, ours in self._tap_of.items()}
        left = tuple(self.panel.names[tap] for tap in matching.unmatched)
        apart = dict(self.panel.not_comparable)
        if by_structure:
            # The structure says that the module computes them; what follows shows whether rightly.
            apart, left = apart | dict.fromkeys(left, _UNSEEN), ()
        self._port = PortRunner(self._model, list(names), matching.logits, overwrites=foreign)
        self._answer = self._tap_of[
            next((t for t in (CLASSIFIER, SOFTMAX) if t in self._tap_of), list(self._tap_of)[-1])
        ]
        if self.panel.takes is not None:
            self._road = RunningRoad(
                self.panel.takes, self._convention, self._answer, self._tolerance
            )
        deciding = Comparer(names, self._readings, self._tolerance, left, apart, mistaken)
        self._comparers = [deciding, *(Comparer(names) for _ in self.panel.judges[1:])]

    def _as_port(self, taps: Mapping[str, np.ndarray], port: PortRun) -> dict[str, Tensor]:
        """A judge's values under the port's taps, in its axes and shapes."""
        from porting.parity.taps import as_port

        named = {ours: taps[tap] for tap, ours in self._tap_of.items()}
        return {tap: as_port(v, port.values[tap].shape) for tap, v in named.items()}

    def _kept(self, run: Run) -> Mapping[str, np.ndarray]:
        taps = self.panel.kept(run.taps)
        return {tap: taps[tap] for tap in self.panel.names}

    def verdict(self) -> Verdict:
        """What was found.

        Raises:
            BadInput: nothing was run.
        """
        if not self._comparers:
            raise BadInput("nothing to compare: there was no image to run")
        self._counted()
        pairs = zip(self._comparers, self._runs, strict=True)
        made = [c.finish(run.judge, run.version, self._steps(run)) for c, run in pairs]
        deciding, quantised = made[0], made[1] if len(made) > 1 else None
        road = None
        if self._road is not None:
            road = self._road.result(deciding.judge, deciding.judge_version)
        if road is not None and deciding and not road.agrees:
            # Where taps differ already, the road cannot but differ too.
            deciding = replace(deciding, refusals=(*deciding.refusals, road.summary()))
        return Verdict(deciding, quantised, road)

    def _steps(self, run: Run) -> dict[str, float]:
        """A judge's quantisation steps under the port's taps."""
        return {ours: run.steps[tap] for tap, ours in self._tap_of.items() if tap in run.steps}


def _channels_first(images: np.ndarray) -> Tensor:
    """Images (N, H, W, C) as a network takes them: (N, C, H, W), float32."""
    import torch

    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2).contiguous()

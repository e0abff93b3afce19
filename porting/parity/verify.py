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
from porting.parity.basis import Basis, basis_of
from porting.parity.compare import Comparer, Comparison, Reading
from porting.parity.names import CLASSIFIER
from porting.parity.noise import Tolerance, floor
from porting.parity.panel import INPUT, Panel, panel_of
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
    ``basis`` is what the structure compared rests on.
    """

    comparison: Comparison
    quantised: Comparison | None = None
    basis: Basis | None = None


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

    Images are taken one by one, and nothing of them is kept. The values
    of a model that is not of this package are matched with the judge's taps on
    the first image.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there was no image.
    """

    def judge(graph: Source, aligned: Match, images: np.ndarray) -> Comparison:
        return _judged(graph, aligned, model, convention, images)[0].comparison

    verdict, panel = _judged(
        source, match, model, convention, pixels, readings, tolerance, progress
    )
    basis = basis_of(source, match, model, panel, judge)
    comparison = replace(verdict.comparison, refusals=basis.refusals)
    return replace(verdict, comparison=comparison, basis=basis)


def _judged(
    source: Source, match: Match | ModuleMatch, model: nn.Module, convention: InputConvention,
    pixels: Iterable[np.ndarray], readings: tuple[Reading, ...] = ("accumulated",),
    tolerance: Tolerance | None = None, progress: Callable[[int], None] | None = None,
) -> tuple[Verdict, Panel]:  # fmt: skip
    """What the taps say, whatever that rests on, and the judges that gave them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        session = _Session(panel_of(source, match), match, model, readings, tolerance, beside)
        for done, image in enumerate(pixels, start=1):
            session.run(session.panel.inputs(convention, image[None]), image[None])
            if progress is not None:
                progress(done)
        return session.verdict(), session.panel


class _Session:
    """Judges and port side by side, input by input."""

    def __init__(
        self, panel: Panel, match: Match | ModuleMatch, model: nn.Module,
        readings: tuple[Reading, ...], tolerance: Tolerance | None, beside: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._beside = beside
        self._counting: list[Future[None]] = []
        self.panel, self._match, self._model = panel, match, model
        self._readings, self._tolerance = readings, tolerance
        self._runs: list[Run] = []
        self._comparers: list[Comparer] = []

    def run(self, inputs: np.ndarray, pixels: np.ndarray) -> None:
        """Run everything on the judges' inputs, made from pixels 0..255, both (N, H, W, C).

        What it gives is counted in. A network that normalises by itself is given the pixels.
        """
        import torch

        self._runs = [judge(inputs) for judge in self.panel.judges]
        taken = [self._kept(run) for run in self._runs]
        given = self._runs[0].taps.get(INPUT, inputs)
        if self._match.normalises:
            given = pixels.astype(np.float32)
        # NHWC -> NCHW
        data = torch.from_numpy(given).permute(0, 3, 1, 2).contiguous()
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
        comparisons = [c.finish(r.judge, r.version, self._steps(r)) for c, r in pairs]
        return Verdict(comparisons[0], next(iter(comparisons[1:]), None))

    def _steps(self, run: Run) -> dict[str, float]:
        """A judge's quantisation steps under the port's taps."""
        return {ours: run.steps[tap] for tap, ours in self._tap_of.items() if tap in run.steps}

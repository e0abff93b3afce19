"""A judge's verdict on a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from porting.errors import BadInput, NoPieces
from porting.judges.run import INPUT
from porting.mapping.convention import InputConvention
from porting.mapping.flows import LayerFlow, flows_of
from porting.mapping.layers import layers_of
from porting.mapping.module_match import ModuleMatch
from porting.mapping.recognise import Match
from porting.parity.basis import Basis, basis_of
from porting.parity.compare import Comparer, Comparison, Reading, TapResult
from porting.parity.coverage import ChannelActivity, Coverage
from porting.parity.dense import AMPLITUDES, DenseValues
from porting.parity.names import CLASSIFIER, SOFTMAX
from porting.parity.noise import Tolerance, floor
from porting.parity.panel import Panel, panel_of
from porting.parity.pixel_road import PixelRoad, RunningRoad, roundings
from porting.sources import Source

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from torch import Tensor, nn

    from porting.judges.run import Run

READINGS: tuple[Reading, ...] = ("accumulated", "isolated", "dense")

DRAWN = 1
"""Inputs of a reading whose noise is drawn; that of the others where a tap lies near its limit."""

_SURE = 0.75
"""Share of a limit within which noise that was drawn on another input is relied on."""

_UNSEEN = "computed where no part of the module can be looked into"


@dataclass(frozen=True)
class Verdict:
    """What the judge says.

    ``comparison`` decides. ``quantised`` is set where the source has quantised
    weights: the distance to the run as it is, which is reported and not judged.
    ``pixels`` is the road from pixels, None where the source has no input of its own; where
    that disagrees the comparison refuses.
    ``basis`` is what the structure compared rests on.
    """

    comparison: Comparison
    quantised: Comparison | None = None
    pixels: PixelRoad | None = None
    basis: Basis | None = None


def verify_port(  # noqa: PLR0913 - by keyword, each what a comparison is asked for
    source: Source,
    match: Match | ModuleMatch,
    model: nn.Module,
    convention: InputConvention,
    pixels: Iterable[np.ndarray],
    *,
    readings: tuple[Reading, ...] = READINGS,
    tolerance: Tolerance | None = None,
    details: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Run judge and network on images (H, W, C), 0..255, and compare every tap.

    ``convention`` is the source's. The first images go down the road from pixels
    as well; see :mod:`porting.parity.pixel_road`. Images are taken one by one,
    and nothing of them is kept. The values of a model that is not of this
    package are matched with the judge's taps on the first image. Without ``details`` the figures
    lack what plots are made of.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there was no image.
    """

    import torch

    def judge(graph: Source, aligned: Match, images: np.ndarray) -> Comparison:
        readings: tuple[Reading, ...] = ("accumulated", "dense")
        return _judged(graph, aligned, model, convention, images, readings=readings, details=False)[
            0
        ].comparison

    # Whoever calls may be in inference mode, whose tensors do not say how often they were written.
    with torch.inference_mode(False):
        verdict, panel = _judged(
            source, match, model, convention, pixels, readings=readings, tolerance=tolerance,
            details=details, progress=progress,
        )  # fmt: skip
        basis = basis_of(source, match, model, panel, judge)
    refusals = (*verdict.comparison.refusals, *basis.refusals)
    comparison = replace(verdict.comparison, refusals=refusals)
    return replace(verdict, comparison=comparison, basis=basis)


def _judged(  # noqa: PLR0913 - those of verify_port
    source: Source, match: Match | ModuleMatch, model: nn.Module, convention: InputConvention,
    pixels: Iterable[np.ndarray], *, readings: tuple[Reading, ...] = ("accumulated",),
    tolerance: Tolerance | None = None, details: bool = True,
    progress: Callable[[int], None] | None = None,
) -> tuple[Verdict, Panel]:  # fmt: skip
    """What the taps say, whatever that rests on, and the judges that gave them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        panel = panel_of(source, match)
        session = _Session(panel, match, model, convention, readings, tolerance, details, beside)
        for done, image in enumerate(pixels, start=1):
            session.run(image[None])
            if progress is not None:
                progress(done)
        return session.verdict(), session.panel


class _Session:
    """Judges and port side by side, input by input."""

    def __init__(
        self, panel: Panel, match: Match | ModuleMatch, model: nn.Module,
        convention: InputConvention, readings: tuple[Reading, ...],
        tolerance: Tolerance | None, details: bool, beside: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._beside, self._convention = beside, convention
        self._counting: list[Future[None]] = []
        self.panel, self._match, self._model = panel, match, model
        self._readings, self._tolerance = readings, tolerance or Tolerance()
        self._details = details
        self._runs: list[Run] = []
        self._comparers: list[Comparer] = []
        self._noises: dict[Reading, _KnownNoise] = {r: _KnownNoise() for r in READINGS}
        self._unsound: str | None = None
        self._refusals: list[str] = []
        self._road: RunningRoad | None = None

    def run(self, pixels: np.ndarray) -> None:
        """Run everything on an image's pixels 0..255, (1, H, W, C), and count in what comes of it.

        A network that normalises by itself is given the pixels; any other what the judge's graph
        gives its own first layer.
        """
        from porting.parity.soundness import mixes_images, returns_another, rounded_taps, unsound

        inputs = self._convention.as_source_input(pixels)
        self._runs = [judge.run(inputs) for judge in self.panel.judges]
        taken = [self._kept(run.taps) for run in self._runs]
        data = self._data(inputs, pixels, self._runs[0].taps)
        first = not self._comparers
        if first:
            self._begin(data, taken[0])
        values = self._port.run(data)
        self._refuse(returns_another(self._port, values, self._returned))
        shapes = {tap: tuple(tensor.shape) for tap, tensor in values.items()}
        judges = [self._as_port(taps, shapes) for taps in taken]
        if first:
            self._first = inputs, pixels, self._runs[0].taps, shapes
            self._unsound = unsound(self._port, data, values) or rounded_taps(values, judges[0])
            self._refuse(None if self._unsound else mixes_images(self._port, data, values))
        self._counted()
        self._counting.append(self._beside.submit(self._activity.add, self._runs[0].taps))
        walks = self._road is not None and self._road.more and not self._unsound
        scales = None
        if "accumulated" in self._readings or judges[1:] or walks:
            apart = _Apart(judges[0], values)
            scales = apart.scales
            noise, drawn = self._noise("accumulated", data, values, {}, apart)
            if walks:
                self._walk(pixels, inputs, data, values, noise)
            if "accumulated" in self._readings:
                self._count(0, "accumulated", judges[0], values, noise, drawn, apart)
            for number, judge in enumerate(judges[1:], start=1):
                other = _Apart(judge, values)
                self._count(number, "accumulated", judge, values, noise, drawn, other)
        if "isolated" in self._readings:
            pieces = self._port.run(data, judges[0])
            apart = _Apart(judges[0], pieces, scales)
            noise, drawn = self._noise("isolated", data, pieces, judges[0], apart)
            self._count(0, "isolated", judges[0], pieces, noise, drawn, apart)

    def _refuse(self, reason: str | None) -> None:
        """Note a reason not to say that the two agree, unless there is none or it is known."""
        if reason is not None and reason not in self._refusals:
            self._refusals.append(reason)

    def _walk(
        self, pixels: np.ndarray, inputs: np.ndarray, data: Tensor,
        values: Mapping[str, Tensor], noises: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        """Send an image down the road from pixels; what was run on the same data is not run anew.

        ``inputs`` and ``data`` are what judges and port were run on, ``values`` what that gave,
        and ``noises`` those of its taps.
        """
        import torch

        road = self._road
        assert road is not None  # the caller looked
        by_bytes = self.panel.of_bytes
        pixels = pixels if by_bytes is None else np.clip(np.rint(pixels), 0, 255)
        fed = inputs if by_bytes is None else by_bytes(pixels)
        same = np.array_equal(fed, inputs)
        runs = self._runs if same else [judge.run(fed) for judge in self.panel.judges]
        normalised = pixels if self._match.normalises else self._convention.normalise(pixels)
        start = _channels_first(normalised)
        if not torch.equal(start, data):
            values = self._port.run(start)
            noises = self._port.noise(start, values)
        tap, shapes = self._answer, {tap: tuple(v.shape) for tap, v in values.items()}
        judges = [self._as_port(self._kept(run.taps), shapes)[tap].numpy() for run in runs]
        port, noise = values[tap].numpy(), noises[tap]
        if road.is_doubtful(judges[0], port, noise):
            # What graph and convention compute in two ways may differ by roundings of the input.
            moved = self._port.run(torch.from_numpy(roundings(start.numpy())))[tap].numpy()
            again = self._port.noise(start, values, thorough=True)[tap]
            moves = np.abs(moved - port).reshape(len(port), -1).max(axis=1)
            noise = np.maximum.reduce([noise, again, moves])
        road.add(judges, port, noise)

    def _data(
        self, inputs: np.ndarray, pixels: np.ndarray, judge: Mapping[str, np.ndarray]
    ) -> Tensor:
        """What the port is given, NCHW, where the judges get ``inputs``, NHWC."""
        return _channels_first(pixels if self._match.normalises else judge.get(INPUT, inputs))

    def _dense(self) -> None:
        """Feed the pieces of both sides the same random values, and count what comes of it."""
        from porting.parity.soundness import rounded_taps
        from porting.parity.taps import INPUT_OF

        inputs, pixels, seen, shapes = self._first
        names = {INPUT: INPUT, **self.panel.judges[0].taps}
        # What flows into one part of a module may flow elsewhere too, where nothing replaces it.
        taps = [tap for tap, ours in self._tap_of.items() if INPUT_OF not in ours]
        taps += [] if self._match.normalises else [INPUT]
        # By the judge's names: one tensor of it may stand behind two taps.
        shown = {names[tap]: seen.get(tap, inputs) for tap in taps}
        dense = DenseValues(max(values.size for values in shown.values()))
        for amplitude in AMPLITUDES:
            drawn_values = {name: dense.like(v, amplitude) for name, v in shown.items()}
            fed = {tap: drawn_values[names[tap]] for tap in taps}
            entry = inputs if INPUT in seen or self._match.normalises else fed[INPUT]
            try:
                run = self.panel.judges[0].run_pieces(entry, fed, {*self._tap_of, *fed})
            except NoPieces:
                return
            data = self._data(entry, pixels, fed)
            judge = self._as_port(self._kept(run.taps), shapes)
            given = self._as_port(self._kept(fed), shapes)
            values = self._port.run(data, given)
            self._unsound = self._unsound or rounded_taps(values, judge)
            self._counting.append(self._beside.submit(self._activity.add, run.taps, fed))
            apart = _Apart(judge, values)
            noise, drawn = self._noise("dense", data, values, given, apart)
            self._count(0, "dense", judge, values, noise, drawn, apart)

    def _noise(
        self, reading: Reading, data: Tensor, values: Mapping[str, Tensor],
        fed: Mapping[str, Tensor], apart: _Apart,
    ) -> tuple[dict[str, np.ndarray], bool]:  # fmt: skip
        """The noise of every tap, (1,), and whether it was drawn on this very input.

        After a few inputs it is taken from theirs, the least of each tap in proportion to its
        scale; where that leaves a tap near its limit it is drawn all the same. More draws only
        ever add to it: what agrees already need not be asked again.
        """
        if self._unsound:
            # It has no noise that means anything, and some such modules run in no other order.
            return {tap: np.zeros(1) for tap in values}, False
        known, factor = self._noises[reading], self._tolerance.factor
        if known.inputs >= DRAWN:
            noise = known.at(apart.scales)
            if not apart.beyond(noise, _SURE * factor):
                return noise, False
        noise = self._port.noise(data, values, fed)
        if apart.beyond(noise, factor):
            noise = self._port.noise(data, values, fed, thorough=True)
        known.add(noise, apart.scales)
        return noise, True

    def _count(
        self, number: int, reading: Reading, judge: Mapping[str, Tensor],
        values: Mapping[str, Tensor], noise: Mapping[str, np.ndarray], drawn: bool,
        apart: _Apart,
    ) -> None:  # fmt: skip
        """Take a reading's figures; those that go over all elements beside the next runs."""
        left, right, channels = (
            {tap: v.numpy() for tap, v in side.items()} for side in (judge, values, apart.channels)
        )
        add = self._comparers[number].add
        if not self._details:
            add(reading, left, right, noise, drawn, channels, apart.scales)
            return
        self._counting.append(self._beside.submit(add, reading, left, right, noise, drawn))

    def _counted(self) -> None:
        """Wait for the figures that are being taken: but one input's values are held for them."""
        for counting in self._counting:
            counting.result()
        self._counting = []

    def _begin(self, data: Tensor, judge: Mapping[str, np.ndarray]) -> None:
        """Settle which of the port's taps is which of the judge's."""
        from genmobilenet.network import GenMobileNet
        from porting.parity.activations import mistaken_activations
        from porting.parity.likeness import Matching, match_taps
        from porting.parity.taps import PortRunner, has_parts_of_others

        by_structure = isinstance(self._match, ModuleMatch)
        foreign = by_structure or not isinstance(self._model, GenMobileNet)
        matching = Matching({tap: tap for tap in judge}, (), CLASSIFIER)
        mistaken = {}
        if foreign:
            matching = match_taps(self._model, data, judge).with_softmax()
        elif isinstance(self._match, Match):
            mistaken = mistaken_activations(self._model, layers_of(self._match.config))
        self._tap_of, self._returned = matching.taps, matching.returned
        names = {ours: self.panel.names[tap] for tap, ours in self._tap_of.items()}
        left = tuple(self.panel.names[tap] for tap in matching.unmatched)
        apart = dict(self.panel.not_comparable)
        if by_structure:
            # The structure says that the module computes them; what follows shows whether rightly.
            apart, left = apart | dict.fromkeys(left, _UNSEEN), ()
        overwrites = foreign or has_parts_of_others(self._model)
        self._port = PortRunner(self._model, list(names), matching.logits, overwrites)
        self._answer = self._tap_of[
            next((t for t in (CLASSIFIER, SOFTMAX) if t in self._tap_of), list(self._tap_of)[-1])
        ]
        if self.panel.takes is not None:
            self._road = RunningRoad(
                self.panel.takes, self._convention, self._answer, self._tolerance
            )
        deciding = Comparer(
            names, self._readings, self._tolerance, left, apart, mistaken, self._details
        )
        others = (Comparer(names, details=self._details) for _ in self.panel.judges[1:])
        self._comparers = [deciding, *others]
        self._activity = ChannelActivity(self._flows(foreign), self.panel.names, self._tap_of)

    def _flows(self, foreign: bool) -> tuple[LayerFlow, ...]:
        """Between which of the judge's taps each weight works."""
        if isinstance(self._match, ModuleMatch):
            return self._match.flows
        config = self._match.config
        epsilon = getattr(self._model, "config", config).bn_epsilon if not foreign else 0.0
        return tuple(flows_of(layers_of(config), epsilon))

    def _coverage(self) -> Coverage:
        """What the comparison rests on."""
        from genmobilenet.network import GenMobileNet

        state: dict[str, np.ndarray] | None = None
        if isinstance(self._match, ModuleMatch) or isinstance(self._model, GenMobileNet):
            state = {key: v.float().numpy() for key, v in self._model.state_dict().items()}
            shapes = {key: values.shape for key, values in state.items()}
        else:
            shapes = layers_of(self._match.config).shapes()
        return self._activity.coverage(shapes, state, self.panel.stored, self.panel.factors)

    def _as_port(
        self, taps: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """A judge's values under the port's taps, in the port's axes and ``shapes``."""
        from porting.parity.taps import as_port

        named = {ours: taps[tap] for tap, ours in self._tap_of.items() if tap in taps}
        return {tap: as_port(v, shapes[tap]) for tap, v in named.items()}

    def _kept(self, taps: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        kept = self.panel.kept(taps)
        return {tap: kept[tap] for tap in self.panel.names if tap in kept}

    def verdict(self) -> Verdict:
        """What was found.

        Raises:
            BadInput: nothing was run.
        """
        if not self._comparers:
            raise BadInput("nothing to compare: there was no image to run")
        if "dense" in self._readings and not self._unsound:
            self._dense()
        self._counted()
        coverage = self._coverage()
        self._refuse(None if coverage.complete else coverage.summary())
        run, *others = self._runs
        deciding = self._comparers[0].finish(
            run.judge, run.version, self._steps(run), self._unsound, tuple(self._refusals), coverage
        )
        deciding = replace(deciding, before=self._before(deciding.culprit))
        road = None
        if self._road is not None:
            road = self._road.result(deciding.judge, deciding.judge_version)
        if road is not None and deciding and not road.agrees:
            # Where taps differ already, the road cannot but differ too.
            deciding = replace(deciding, refusals=(*deciding.refusals, road.summary()))
        quantised = None
        if others:
            quantised = self._comparers[1].finish(
                others[0].judge, others[0].version, self._steps(others[0])
            )
        return Verdict(deciding, quantised, road)

    def _before(self, culprit: TapResult | None) -> str | None:
        """The tap before the culprit's layer, if what reaches that layer is not what it gave."""
        from genmobilenet.network import GenMobileNet
        from porting.parity.taps import INPUT_OF, PortRunner

        if culprit is None or not isinstance(self._model, GenMobileNet):
            return None
        flows = (flow for flow, result in self._activity.results.items() if culprit.tap == result)
        flow = next((flow for flow in flows if flow.entry in self._tap_of), None)
        if flow is None:
            return None
        inputs, pixels, seen, shapes = self._first
        fed = self._as_port(self._kept(seen), shapes)
        reaching = flow.weight.removesuffix(".weight") + INPUT_OF
        runner = PortRunner(self._model, [*fed, reaching])
        reached = runner.run(self._data(inputs, pixels, seen), fed)[reaching]
        return None if reached.equal(fed[flow.entry].reshape(reached.shape)) else flow.entry

    def _steps(self, run: Run) -> dict[str, float]:
        """A judge's quantisation steps under the port's taps."""
        return {ours: run.steps[tap] for tap, ours in self._tap_of.items() if tap in run.steps}


class _KnownNoise:
    """The noise of one reading as some inputs had it."""

    def __init__(self) -> None:
        self.inputs = 0
        self._shares: dict[str, float] = {}

    def add(self, noise: Mapping[str, np.ndarray], scales: Mapping[str, float]) -> None:
        """Take in what was drawn on one input, where the judge's taps have these scales."""
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


class _Apart:
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

    def beyond(self, noise: Mapping[str, np.ndarray], factor: float) -> bool:
        """Whether a tap lies further off than ``factor`` times its noise."""
        for tap, channels in self.channels.items():
            # Written so that NaN counts as beyond.
            allowed = factor * max(float(noise[tap].max()), floor(self.scales[tap]))
            if not float(channels.max()) <= allowed:
                return True
        return False


def _channels_first(images: np.ndarray) -> Tensor:
    """Images (N, H, W, C) as a network takes them: (N, C, H, W), float32."""
    import torch

    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2).contiguous()

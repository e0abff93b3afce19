"""What is measured of a port that disagrees: its pieces by themselves, and one piece closely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from genmobilenet.network import GenMobileNet
from porting.carry_out import PlannedValues
from porting.errors import BadInput
from porting.graph.layers import Layer, NetworkLayers, layers_of
from porting.mapping.match import LayerFlow
from porting.parity.dense_reading import dense_runs
from porting.parity.module_checks import wrong_activations
from porting.parity.noise import FACTOR, floor
from porting.parity.pairing import JudgeRuns, TapPairing
from porting.parity.port_runner import PortRunner
from porting.parity.weights import WeightComparison, WeightFinding
from porting.sources import Source

_NOISY = 1e4
"""Distances of more than so many times a limit are no matter of how the noise was drawn."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What the port's pieces are fed, and what the judge gave for it, by the port's taps.

    ``image`` says that the judge's own values are fed: then they are those of a whole run, too.
    """

    data: Tensor
    substitutes: Mapping[str, Tensor]
    judge: Mapping[str, Tensor]
    image: bool = True


@dataclass(frozen=True)
class PieceError:
    """How far a tap lies from the judge's over its scale, and over what rounding accounts for."""

    relative: float
    limit: float
    ratio: float

    @property
    def agrees(self) -> bool:
        """Whether rounding accounts for it; NaN is not accounted for."""
        return self.ratio <= 1


class PieceRunner:
    """Runs variants of a port, each piece on what the judge fed its own, and measures errors.

    ``choosing`` are the inputs on which changes are chosen, ``held_out`` those on which what was
    chosen must hold.
    """

    def __init__(
        self, pairing: TapPairing, choosing: Sequence[JudgeRuns], held_out: Sequence[JudgeRuns],
        network: nn.Module,
    ) -> None:  # fmt: skip
        self.pairing = pairing
        shapes = self.shapes_of(network, choosing[0])
        self.choosing = [self._probe(image, shapes) for image in choosing]
        self.held_out = [self._probe(image, shapes) for image in held_out]
        # The port itself may give values of other sizes than what it is fed.
        fed = replace(pairing, runner=self._runner(network))
        for number, draw in enumerate(dense_runs(fed, choosing[0], shapes)):
            probe = Probe(draw.data, draw.substitutes, draw.judge, image=False)
            (self.choosing if number == 0 else self.held_out).append(probe)
        self._noises: dict[tuple[Probe, bool], dict[str, np.ndarray]] = {}

    def turn(self, images: Sequence[JudgeRuns], network: nn.Module) -> None:
        """Choose on what was held out so far, and hold out other images."""
        shapes = self.shapes_of(network, images[0])
        self.choosing = self.held_out
        self.held_out = [self._probe(image, shapes) for image in images]

    def shapes_of(self, network: nn.Module, image: JudgeRuns) -> dict[str, tuple[int, ...]]:
        """The shapes of a network's taps."""
        data = self.pairing.port_input(image.inputs, image.pixels, image.taps)
        return {tap: tuple(v.shape) for tap, v in self._runner(network).run(data).items()}

    def _probe(self, image: JudgeRuns, shapes: Mapping[str, tuple[int, ...]]) -> Probe:
        data = self.pairing.port_input(image.inputs, image.pixels, image.taps)
        judge = self.pairing.as_port(image.taps, shapes)
        return Probe(data, judge, judge)

    def _runner(self, network: nn.Module, taps: Iterable[str] = ()) -> PortRunner:
        return self.pairing.runner.for_variant(network, taps)

    def values(
        self, network: nn.Module, probe: Probe, isolated: bool = True, taps: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        """What a network gives at its taps, and at ``taps`` besides."""
        return self._runner(network, taps).run(probe.data, probe.substitutes if isolated else {})

    def errors(
        self, network: nn.Module, probes: Sequence[Probe], taps: Iterable[str] | None = None,
        isolated: bool = True,
    ) -> dict[str, PieceError]:  # fmt: skip
        """The largest error of each tap over some probes."""
        chosen = list(self.pairing.names if taps is None else taps)
        runner = self._runner(network)
        errors: dict[str, PieceError] = {}
        for probe in probes:
            if not (isolated or probe.image):
                continue
            substitutes = probe.substitutes if isolated else {}
            values = runner.run(probe.data, substitutes)
            base = self._noise(network, probe, isolated)
            own: dict[str, np.ndarray] | None = None
            for tap in chosen:
                if tap not in probe.judge:
                    continue
                relative, scale, shape = _distance(probe.judge[tap], values[tap])
                limit = FACTOR * max(float(base[tap].max()), floor(scale)) if shape else 0.0
                distance = relative * scale
                if shape and limit < distance <= _NOISY * limit:
                    own = own or runner.noise(probe.data, values, substitutes, thorough=True)
                    limit = max(limit, FACTOR * float(own[tap].max()))
                ratio = distance / limit if limit else (0.0 if distance == 0 else np.inf)
                error = PieceError(relative, limit / scale if scale else 0.0, float(ratio))
                if tap not in errors or not error.ratio <= errors[tap].ratio:
                    errors[tap] = error
        if isinstance(network, GenMobileNet):
            layers = layers_of(self.pairing.match.config)
            for tap in wrong_activations(network, layers):
                if tap in errors and errors[tap].agrees:
                    errors[tap] = replace(errors[tap], ratio=float("inf"))
        return errors

    def _noise(self, network: nn.Module, probe: Probe, isolated: bool) -> dict[str, np.ndarray]:
        """The noise of a probe, of the first network that was run on it."""
        key = probe, isolated
        if key not in self._noises:
            runner = self._runner(network)
            substitutes = probe.substitutes if isolated else {}
            values = runner.run(probe.data, substitutes)
            noise = runner.noise(probe.data, values, substitutes)
            self._noises[key] = {
                tap: np.minimum(np.nan_to_num(v), 1e-4 * _scale(probe.judge[tap]))
                if tap in probe.judge else v
                for tap, v in noise.items()
            }  # fmt: skip
        return self._noises[key]


def _scale(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _distance(judge: Tensor, port: Tensor) -> tuple[float, float, bool]:
    """The largest difference over the judge's scale, the scale, and whether the shapes agree."""
    if judge.shape != port.shape:
        return float("inf"), 1.0, False
    scale = _scale(judge)
    difference = float((judge - port).abs().nan_to_num(nan=float("inf")).max())
    return (difference / scale if scale else difference), scale or 1.0, True


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What all pieces of a port share."""

    network: nn.Module
    runner: PieceRunner
    weights: WeightComparison
    planned: PlannedValues | None
    layers: NetworkLayers | None
    weight_set: str
    source: Source

    @property
    def pairing(self) -> TapPairing:
        """The taps of both sides."""
        return self.runner.pairing

    @cached_property
    def folded_keys(self) -> frozenset[str]:
        """Keys that were compared in a weight or bias that they fold into."""
        return frozenset(
            finding.key
            for finding in self.weights.findings
            if finding.agrees and finding.relation != "rounding"
        )

    @property
    def has_parts_of_timm(self) -> bool:
        """Whether parts of the port are timm's, which takes padding and epsilon as arguments."""
        return any(type(part).__module__.startswith("timm.") for part in self.network.modules())

    def stored_as(self, tensor: str | None) -> str | None:
        """The type in which the source stores a tensor."""
        info = self.source.tensors.get(tensor or "")
        return None if info is None else info.stored_as

    @cached_property
    def findings(self) -> Mapping[str, WeightFinding]:
        """By key, weights that are not the source's."""
        return {finding.key: finding for finding in self.weights.findings if not finding.agrees}

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        """By the port's tap, what is computed between it and the taps before."""
        return steps_of(self.pairing, self.layers)


@dataclass(frozen=True)
class Step:
    """What is computed between a tap and those before it.

    ``parts`` are of ``weight``, ``norm``, ``activation``; empty where no layer lies there.
    """

    tap: str
    flow: LayerFlow | None
    layer: Layer | None
    parts: frozenset[str] = frozenset()


def steps_of(pairing: TapPairing, layers: NetworkLayers | None) -> dict[str, Step]:
    """By the port's tap, what is computed between it and the taps before."""
    steps: dict[str, Step] = {}
    by_path = {} if layers is None else {layer.path: layer for layer in layers}
    for flow in pairing.flows:
        # The first of its results has the name that the network of the zoo has for it.
        layer = by_path.get(flow.results[0])
        visible = [tap for tap in flow.results if tap in pairing.taps]
        norm = None if layer is None else layer.norm
        for number, tap in enumerate(visible):
            port_tap = pairing.taps[tap]
            if port_tap in steps and steps[port_tap].flow is not None:
                # The nearest layer before a sum; another may end in it too.
                continue
            parts = set()
            if number == 0:
                parts |= {"weight", "norm"}
            if norm is not None and tap == norm and number:
                parts |= {"norm"}
            is_activation = tap in flow.clamped or (
                layer is not None and layer.activation != "none" and tap == layer.tap
            )
            if is_activation:
                parts |= {"activation"}
            steps[port_tap] = Step(port_tap, flow, layer, frozenset(parts))
    return steps


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of the port that disagrees by itself, between the judge's taps around it."""

    tap: str
    error: PieceError
    around: Surroundings

    @cached_property
    def step(self) -> Step:
        """The layer in it, if there is one."""
        return self.around.steps.get(self.tap, Step(self.tap, None, None))

    @property
    def layer(self) -> Layer | None:
        """The network's own description of the layer, for networks of this package."""
        return self.step.layer

    @property
    def flow(self) -> LayerFlow | None:
        """The layer as the mapping sees it."""
        return self.step.flow

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The state-dict keys that take part, and the epsilon of a batch norm."""
        flow = self.flow
        if flow is None:
            return ()
        own = [flow.weight, flow.bias]
        if flow.norm is not None:
            norm = flow.norm
            path = norm.variance.rpartition(".")[0]
            own += [norm.weight, norm.bias, norm.mean, norm.variance, f"{path}.eps".lstrip(".")]
        if self.layer is not None:
            own += [f"{part.path}.weight" for part in self.layer.parts]
        return tuple(dict.fromkeys(key for key in own if key is not None))

    @cached_property
    def findings(self) -> tuple[WeightFinding, ...]:
        """Weights of the piece that are not the source's."""
        findings = self.around.findings
        return tuple(findings[key] for key in self.keys if key in findings)

    @property
    def folded_keys(self) -> tuple[str, ...]:
        """Keys of the piece that were compared in a weight or bias that they fold into."""
        return tuple(key for key in self.keys if key in self.around.folded_keys)

    def value(self, key: str) -> np.ndarray:
        """The source's values of a key, with PyTorch's axes.

        Raises:
            BadInput: no plan says what fills it.
        """
        if self.around.planned is None:
            raise BadInput(f"no plan says what fills {key}")
        return self.around.planned.read(key)

    @cached_property
    def fit(self) -> ChannelFit:
        """How the port's values relate to the judge's, channel by channel."""
        runner, network = self.around.runner, self.around.network
        pairs = [
            (probe.judge[self.tap], runner.values(network, probe)[self.tap])
            for probe in runner.choosing
            if self.tap in probe.judge
        ]
        # The inputs that show most of it.
        return channel_fit(*max(pairs, key=lambda pair: _distance(*pair)[0]))


@dataclass(frozen=True, eq=False)
class ChannelFit:
    """``port = slope * judge + offset`` by least squares in each channel, and R2, all (C,)."""

    slope: np.ndarray
    offset: np.ndarray
    determination: np.ndarray
    wrong: np.ndarray

    @property
    def affine(self) -> bool:
        """Whether every channel is an affine function of the judge's: no kernel does that."""
        return bool((self.determination > 1 - 1e-6).all())

    def in_words(self) -> str:
        """What the fit says, for a reader."""
        share = f"{int(self.wrong.sum())} of {len(self.wrong)} channels differ"
        if not self.affine:
            return f"{share}; the judge's values do not determine the port's, channel by channel"
        slopes, offsets = self.slope[self.wrong], self.offset[self.wrong]
        if not len(slopes):
            return share
        return (
            f"{share}; each is {slopes.min():.4g} to {slopes.max():.4g} times the judge's plus "
            f"{offsets.min():.4g} to {offsets.max():.4g}"
        )


def channel_fit(judge: Tensor, port: Tensor) -> ChannelFit:
    """Fit the port's values to the judge's, (N, C, H, W) or (N, C), in float64."""
    if judge.shape != port.shape or judge.ndim < 2:
        none = np.zeros(0)
        return ChannelFit(none, none, none, none.astype(bool))
    x, y = (v.double().nan_to_num().transpose(0, 1).flatten(1).numpy() for v in (judge, port))
    x_mean, y_mean = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    covariance = ((x - x_mean) * (y - y_mean)).sum(1)
    power = np.square(x - x_mean).sum(1)
    slope = np.divide(covariance, power, out=np.ones_like(power), where=power > 0)
    offset = y_mean[:, 0] - slope * x_mean[:, 0]
    rest = np.square(y - slope[:, None] * x - offset[:, None]).sum(1)
    total = np.square(y - y_mean).sum(1)
    ratio = np.divide(rest, total, out=np.zeros_like(rest), where=total > 0)
    scale = float(np.abs(x).max()) or 1.0
    wrong = np.abs(x - y).max(1) > 1e-6 * scale
    return ChannelFit(slope, offset, 1 - ratio, wrong)

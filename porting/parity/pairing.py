"""The taps of judge and port, paired: which value of one side is which of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from genmobilenet.network import GenMobileNet
from porting.graph.layers import layers_of
from porting.graph.tap_names import CLASSIFIER, SOFTMAX
from porting.judges.judge import INPUT, Run
from porting.mapping.match import LayerFlow, Match
from porting.parity.judge_set import JudgeSet
from porting.parity.module_checks import wrong_activations
from porting.parity.port_runner import PortRunner, as_port, has_user_defined_parts
from porting.parity.tap_matching import TapMatching, match_taps

_UNSEEN = "computed where no part of the module can be looked into"


@dataclass(frozen=True, eq=False)
class JudgeRuns:
    """An image and what every judge gave on it, the deciding judge first.

    ``pixels`` are 0..255, (1, H, W, C), ``inputs`` what the judges were fed.
    """

    pixels: np.ndarray
    inputs: np.ndarray
    runs: tuple[Run, ...]

    @property
    def taps(self) -> Mapping[str, np.ndarray]:
        """The deciding judge's values."""
        return self.runs[0].taps


@dataclass(frozen=True, eq=False)
class TapPairing:
    """A port, its judges, and the taps that both sides have.

    ``taps`` gives, by the judge's tap, the port's; ``names`` gives, by the port's tap, the judge's
    own name of the tensor. ``unmatched_taps`` are names of the judge's taps without a counterpart;
    ``not_comparable`` says, by the judge's name, why a tap is left out; ``mistaken`` says, by the
    port's tap, what is wrong with an activation. ``logits`` is the port's tap of the logits, else
    the last one; ``output_tap`` is that of what the port returns, None for a network of this
    package. ``flows`` say between which of the judge's taps each weight works.
    """

    judge_set: JudgeSet
    match: Match
    model: nn.Module
    runner: PortRunner
    taps: Mapping[str, str]
    names: Mapping[str, str]
    unmatched_taps: tuple[str, ...]
    not_comparable: Mapping[str, str]
    mistaken: Mapping[str, str]
    logits: str
    output_tap: str | None
    flows: tuple[LayerFlow, ...]

    def port_input(
        self, inputs: np.ndarray, pixels: np.ndarray, judge: Mapping[str, np.ndarray]
    ) -> Tensor:
        """The port's input, NCHW, where the judges' is ``inputs``, NHWC."""
        return _port_input(self.match, inputs, pixels, judge)

    def as_port(
        self, taps: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """A judge's values under the port's taps, in the port's axes, units and ``shapes``."""
        values = self.judge_set.in_port_terms(taps)
        return {
            port_tap: as_port(values[tap], shapes[port_tap])
            for tap, port_tap in self.taps.items()
            if tap in values
        }

    def steps(self, run: Run) -> dict[str, float]:
        """A judge's quantisation steps under the port's taps."""
        return {port_tap: run.steps[tap] for tap, port_tap in self.taps.items() if tap in run.steps}


def pair_taps(judge_set: JudgeSet, match: Match, model: nn.Module, image: JudgeRuns) -> TapPairing:
    """Pair a port's taps with its judges'.

    A network of this package has the judge's names. The values of any other module are matched
    with the judge's on ``image``.

    Raises:
        BadInput: the module cannot be run.
    """
    by_structure = match.architecture is None
    foreign = by_structure or not isinstance(model, GenMobileNet)
    judge = judge_set.in_port_terms(image.taps)
    matching = TapMatching({tap: tap for tap in judge}, (), CLASSIFIER)
    mistaken: Mapping[str, str] = {}
    if foreign:
        data = _port_input(match, image.inputs, image.pixels, image.taps)
        matching = match_taps(model, data, judge).with_softmax()
    else:
        mistaken = wrong_activations(model, layers_of(match.config))
    names = {port_tap: judge_set.names[tap] for tap, port_tap in matching.taps.items()}
    unmatched_taps = tuple(judge_set.names[tap] for tap in matching.unmatched)
    not_comparable = dict(judge_set.not_comparable)
    if by_structure:
        # The structure says that the module computes them; what follows shows whether rightly.
        not_comparable, unmatched_taps = not_comparable | dict.fromkeys(unmatched_taps, _UNSEEN), ()
    ends = [tap for tap in (CLASSIFIER, SOFTMAX) if tap in matching.taps]
    ends += list(matching.taps)[-1:]
    overwrites = foreign or has_user_defined_parts(model)
    runner = PortRunner(model, list(names), matching.logits, overwrites)
    flows = match.flows
    if isinstance(model, GenMobileNet):
        epsilon = model.config.bn_epsilon
        flows = tuple(
            flow if flow.norm is None else replace(flow, norm=replace(flow.norm, epsilon=epsilon))
            for flow in flows
        )
    return TapPairing(
        judge_set, match, model, runner, matching.taps, names, unmatched_taps, not_comparable,
        mistaken, matching.taps[ends[0]] if ends else "", matching.output_tap, flows,
    )  # fmt: skip


def channels_first(images: np.ndarray) -> Tensor:
    """Images (N, H, W, C) as a network takes them: (N, C, H, W), float32."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2).contiguous()


def _port_input(
    match: Match, inputs: np.ndarray, pixels: np.ndarray,
    judge: Mapping[str, np.ndarray],
) -> Tensor:  # fmt: skip
    """Pixels for a network that normalises by itself, else what the judge's first layer gets."""
    return channels_first(pixels if match.normalises else judge.get(INPUT, inputs))

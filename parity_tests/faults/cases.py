"""Seeded cases: each kind of fault in first, middle, last and random layers of many sources."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from genmobilenet.factory import build
from parity_tests.faults import fault_kinds
from porting.carry_out import carry_out
from porting.graph.layers import Layer, layers_of
from porting.mapping.input_spec import convention_of
from porting.mapping.recognise import find_match
from porting.parity import verify
from porting.parity.compare import Comparison
from porting.parity.judge_set import BoundJudge, judges_of
from porting.sources import open_source

SEED = 7

HARMLESS = 1e-5
"""A fault that changes logits by no more than this, over their scale, need not be seen."""


@dataclass(frozen=True)
class Case:
    """A fault in a network. ``places`` are taps, of which one must be named; empty for none."""

    kind: str
    place: str
    network: nn.Module
    places: tuple[str, ...]
    sort: str


@dataclass(frozen=True)
class Outcome:
    """The verdict on a case; ``logits`` is by how much the fault changes them."""

    source: str
    case: Case
    comparison: Comparison
    logits: float

    @property
    def seen(self) -> bool:
        return not self.comparison

    @property
    def matters(self) -> bool:
        return self.logits > HARMLESS

    @property
    def placed(self) -> bool:
        """Whether the reported tap is right: one of the case's, none, or a refusal's reason."""
        comparison, sort = self.comparison, self.case.sort
        if sort == "unsound":
            return comparison.unsound is not None
        culprit = comparison.culprit
        if sort == "spread":
            # Every layer is damaged: the pieces reported in isolation must be among them.
            return culprit is None or culprit.own_error is None or culprit.tap in self.case.places
        if culprit is None and comparison.coverage is not None:
            # A weight that no input exercises changes no tap; the refusal names its key.
            keys = comparison.coverage.unproved
            return any(key.startswith(f"{self.case.place}.") for key in keys)
        return culprit is not None and culprit.tap in self.case.places


class _CachingJudge:
    """Runs a judge once on each input, and keeps its outputs."""

    def __init__(self, judge) -> None:
        self._judge, self._answers = judge, {}

    def run(self, inputs, taps):
        key = (inputs.tobytes(), tuple(taps))
        if key not in self._answers:
            self._answers[key] = self._judge.run(inputs, taps)
        return self._answers[key]

    def run_pieces(self, inputs, values, taps):
        key = (inputs.tobytes(), *taps, *(array.tobytes()[:256] for array in values.values()))
        if key not in self._answers:
            self._answers[key] = self._judge.run_pieces(inputs, values, taps)
        return self._answers[key]


class Subject:
    """A correct port of a source; faults are planted in copies of it, and judged."""

    def __init__(self, path: Path, weights: str | None = None, name: str | None = None) -> None:
        self.name = name or path.name
        self.source = open_source(path)
        self.match = find_match(self.source, None, weights)
        self.convention = convention_of(self.source, self.match)
        self.layers = layers_of(self.match.config)
        state = carry_out(self.match.plan, self.source, self.match.config)
        self.network = build(self.match.config, state)
        judge_set = judges_of(self.source, self.match)
        judges = tuple(BoundJudge(_CachingJudge(j.judge), j.taps) for j in judge_set.judges[:1])
        self.judge_set = replace(judge_set, judges=judges)
        other = next((s for s in self.source.weight_sets if s != self.match.plan.weight_set), None)
        self.other_state = None
        if other is not None:
            match = find_match(self.source, None, other)
            self.other_state = carry_out(match.plan, self.source, match.config)

    def judged(self, network: nn.Module, pixels: np.ndarray) -> Comparison:
        """The verdict on a network by this subject's judge."""
        original, verify.judges_of = verify.judges_of, lambda *_: self.judge_set
        try:
            return verify.verify_port(
                self.source, self.match, network, self.convention, pixels, details=False
            ).comparison
        finally:
            verify.judges_of = original

    def logits(self, network: nn.Module, pixels: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(self.convention.normalise(pixels)).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            return network.eval()(x)

    def outcomes(
        self, pixels: np.ndarray, per_kind: int, generator, kind: str = ""
    ) -> Iterator[Outcome]:
        """Every case of this source, judged; ``kind`` is searched for in the kinds of faults."""
        sound = self.logits(self.network, pixels)
        scale = float(sound.abs().max())
        for case in self.cases(per_kind, generator):
            if not re.search(kind, case.kind):
                continue
            torch.manual_seed(0)
            faulty = self.logits(case.network, pixels)
            yield Outcome(
                self.name, case, self.judged(case.network, pixels),
                float((faulty - sound).abs().max()) / scale,
            )  # fmt: skip

    def cases(self, per_kind: int, generator) -> Iterator[Case]:
        """The cases of this source."""
        for kind, fault in fault_kinds.LAYER_FAULTS.items():
            for layer in _places([x for x in self.layers if fault.applies(x)], per_kind, generator):
                network = copy.deepcopy(self.network)
                fault.change(network, layer, generator)
                yield Case(kind, layer.path, network, self._visible_tap(layer, fault.at), "place")
        yield from self._exchange_cases(per_kind, generator)
        yield from self._block_cases(per_kind, generator)
        for kind, change in fault_kinds.SPREAD.items():
            yield self._network_case(kind, change, "spread")
        if self.other_state is not None:
            yield self._network_case("the other weight set", self._with_other_set, "spread")
        for kind, spoil in fault_kinds.UNSOUND.items():
            acting = [x for x in self.layers if x.activation != "none" and ".se." not in x.path]
            for layer in _places(acting, 1, generator):
                network = copy.deepcopy(self.network)
                spoil(network, layer, generator)
                yield Case(kind, layer.path, network, (), "unsound")

    def _with_other_set(self, network: nn.Module) -> None:
        network.load_state_dict(self.other_state)

    def _network_case(self, kind: str, change: Callable[[nn.Module], None], sort: str) -> Case:
        network = copy.deepcopy(self.network)
        change(network)
        taps = [tap for layer in self.layers for tap in self._visible_tap(layer, "weight")]
        return Case(kind, "everywhere", network, tuple(taps), sort)

    def _exchange_cases(self, per_kind: int, generator) -> Iterator[Case]:
        pairs = [(x, fault_kinds.same_shape(self.layers, x)) for x in self.layers]
        for layer, other in _places([pair for pair in pairs if pair[1]], per_kind, generator):
            network = copy.deepcopy(self.network)
            one, two = (fault_kinds.weight_of(network, x) for x in (layer, other))
            with torch.no_grad():
                original = one.clone()
                one.copy_(two)
                two.copy_(original)
            yield Case(
                "two weights of one shape exchanged", layer.path, network,
                self._visible_tap(layer, "weight"), "place",
            )  # fmt: skip

    def _block_cases(self, per_kind: int, generator) -> Iterator[Case]:
        blocks = self.layers.blocks
        for kind, change in fault_kinds.GATE_FAULTS.items():
            for block in _places([b for b in blocks if b.squeeze], per_kind, generator):
                network = copy.deepcopy(self.network)
                change(network, block)
                path = f"{block.block.path}.se"
                # The gate's output if the graph has a tap for it, else the product after it.
                yield Case(kind, path, network, (f"{path}.gate", f"{path}"), "place")
        for block in _places([b for b in blocks if b.block.residual], per_kind, generator):
            network = copy.deepcopy(self.network)
            network.get_submodule(block.block.path).residual = False
            yield Case("residual missing", block.block.path, network, (block.block.path,), "place")
        alike = [
            (block, following)
            for block, following in itertools.pairwise(blocks)
            if not block.block.residual and block.block.stride == 1
            and block.block.in_channels == block.block.out_channels
            and block.block.type in ("ds", "dsa", "ir")
        ]  # fmt: skip
        for block, following in _places(alike, per_kind, generator):
            network = copy.deepcopy(self.network)
            network.get_submodule(block.block.path).residual = True
            layer = next(iter(following))
            yield Case(
                "residual added",
                block.block.path,
                network,
                self._visible_tap(layer, "weight"),
                "place",
            )

    def _visible_tap(self, layer: Layer, at: str) -> tuple[str, ...]:
        """The first of the judge's taps that shows the output of a part of a layer."""
        taps = {
            "weight": (layer.path, layer.norm, layer.tap),
            "norm": (layer.norm or layer.path, layer.tap),
            "activation": (layer.tap,),
        }[at]
        squeeze, inside, _ = layer.path.partition(".se.")
        if inside:
            # A graph may show what a squeeze-excite's layer gives behind its gate alone.
            taps = (*taps, f"{squeeze}.se.gate", f"{squeeze}.se")
        return (next(tap for tap in taps if tap in self.judge_set.names),)


def _places(candidates: list, count: int, generator) -> list:
    """Up to ``count`` candidates: the first, a middle one, the last, then random ones."""
    if not candidates:
        return []
    first = [0, len(candidates) // 2, len(candidates) - 1]
    permutation = generator.permutation(len(candidates)).tolist()
    return [candidates[i] for i in list(dict.fromkeys([*first, *permutation]))[:count]]

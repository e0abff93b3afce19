"""Plans how a source fills a network, by comparing their graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, MappingError
from porting.graph.architecture import ENDS, Backbone, backbone_of
from porting.graph.from_source import (
    Reading,
    SourceGraph,
    check_weights,
    graph_of_source,
    readings,
)
from porting.graph.layers import graph_of_network, layers_of
from porting.graph.match import GraphMatcher, GraphMismatch, Pairs
from porting.graph.node import (
    NORM,
    Graph,
    ModuleLayer,
    ModuleNorm,
    Node,
    SourceLayer,
    SourceNorm,
)
from porting.graph.tap_names import CLASSIFIER, SOFTMAX
from porting.mapping.image_classifier import Ends, ends_of, images_of, without_background
from porting.mapping.layouts import VECTOR, VECTORS, layout_onto
from porting.mapping.plan import Fill, LeftOut, Plan, check_total
from porting.sources.source import Source

if TYPE_CHECKING:
    from torch import nn

SIDE = 224
"""Side of images in pixels, if a graph does not state it: usual for ImageNet."""

_MOST_PLACES = 3  # most places that a note names


ENTRY = "input"
"""Stands for the network's input in place of a tap."""

_ACTIVATIONS = (
    "relu", "relu6", "clamp", "hard_swish", "hard_sigmoid", "sigmoid", "silu", "tanh",
)  # fmt: skip


@dataclass(frozen=True)
class LayerFlow:
    """One convolution or dense layer, and the taps before and behind it.

    ``weight`` and ``bias`` are state-dict keys; a depthwise layer makes ``multiplier`` channels of
    each, one behind the other. ``entry`` is the tap of what flows in, ``results`` are
    the taps that show what comes out, the nearest first. ``clamped`` are those of them that stand
    behind an activation, where a channel may be cut off for all inputs. The source's layer gives
    ``scale`` times what this one gives, plus ``offset``, where an exporter has moved a part of the
    activation into it. A part of a mixed convolution takes ``channels`` of what flows in: from the
    first to before the second, of so many. A batch norm that is no part of a layer is a
    depthwise layer whose ``weight`` is the norm's.
    """

    weight: str
    bias: str | None
    depthwise: bool
    entry: str
    results: tuple[str, ...]
    clamped: frozenset[str]
    norm: ModuleNorm | None = None
    scale: float = 1.0
    offset: float = 0.0
    multiplier: int = 1
    channels: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Match:
    """A network that fits a source, and the plan of the port.

    ``architecture`` has the source's number of classes and input channels; it is None for a
    user-defined module. ``ends`` are the network's images and classes, and ``normalises`` says
    that it takes pixels 0..255 and normalises them itself.

    ``layers`` are the network's, and ``flows`` says between which taps each works.
    ``factors`` gives, by tap, how many times the network's values the source's are by
    construction, ``stated_epsilons`` the epsilon of the source's batch norm by the key of the
    running variance.

    Where the plan was made from a graph, ``data`` is the tensor that the network's input stands
    for, behind the steps that ``normalisation`` lists (operator, constant), and ``taps`` pairs the
    network's taps with the tensors that hold the same values. Of those in ``computed_twice`` the
    source holds the values in other tensors too, which are computed apart.
    """

    model: str
    plan: Plan
    ends: Ends
    architecture: NetworkConfig | None
    layers: tuple[ModuleLayer | ModuleNorm, ...]
    flows: tuple[LayerFlow, ...]
    normalises: bool = False
    factors: Mapping[str, float] = field(default_factory=dict)
    stated_epsilons: Mapping[str, float] = field(default_factory=dict)
    data: str | None = None
    normalisation: tuple[tuple[str, str], ...] = ()
    taps: tuple[tuple[str, str], ...] = ()
    computed_twice: frozenset[str] = frozenset()

    @property
    def config(self) -> NetworkConfig:
        """The architecture, where the network is one of :mod:`genmobilenet`."""
        assert self.architecture is not None
        return self.architecture

    @property
    def first_class(self) -> int:
        """The first class of the source that the network keeps."""
        return max(fill.first_row for fill in self.plan.fills)

    @property
    def epsilons(self) -> dict[str, float]:
        """The network's batch-norm epsilons, by the key of the running variance."""
        return {norm.variance: norm.epsilon for norm in self.norms}

    @property
    def norms(self) -> Iterator[ModuleNorm]:
        """The network's batch norms."""
        for layer in self.layers:
            norm = layer if isinstance(layer, ModuleNorm) else layer.norm
            if norm is not None:
                yield norm


class SourceReadings:
    """A source's canonical graphs, one for each way to read it, built when needed.

    Each is read and fingerprinted once, so that comparing one source with many networks costs
    little more than the networks do.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._part: SourceGraph | None = None
        self._graphs: dict[Reading, SourceGraph] = {}
        self._matchers: dict[tuple[SourceGraph, bool, bool], GraphMatcher] = {}

    def of_backbone(self) -> tuple[SourceReadings, Backbone]:
        """The backbone in a source's graph, and the readings of that part alone.

        Raises:
            MappingError: there is none.
        """
        side, channels = images_of(self.source)
        first: MappingError | None = None
        for reading in readings(self.source):
            whole = graph_of_source(self.source, channels, reading, whole=True)
            path = str(self.source.path)
            try:
                backbone = backbone_of(whole.graph, path, Ends(side, 0, 0).with_side(SIDE).side,
                                       channels)  # fmt: skip
            except MappingError as error:
                first = first or error
                continue
            check_weights(backbone.graph, self.source.path)
            part = SourceReadings(self.source)
            part._part = replace(whole, graph=backbone.graph)
            return part, backbone
        assert first is not None  # there is at least one reading
        raise first

    @cached_property
    def ends(self) -> Ends:
        """The graph's images and classes; a side that it leaves open is 1.

        Raises:
            MappingError: it does not take images and give a number for each class.
        """
        if self._part is not None:
            return Ends(*images_of(self.source), 0)
        return ends_of(self.source)

    def graphs(self) -> Iterator[SourceGraph]:
        """The graph in each reading, the most likely first.

        Raises:
            MappingError: it has none, or not from its input to its output.
        """
        if self._part is not None:
            yield self._part
            return
        for reading in readings(self.source):
            if reading not in self._graphs:
                self._graphs[reading] = graph_of_source(self.source, self.ends.channels, reading)
            yield self._graphs[reading]

    def pairing(self, network: Graph, drop_background: bool) -> _Pairing:
        """The reading that fits a network, with its values paired with the network's.

        Raises:
            GraphMismatch: none does; the error is that of the reading that went furthest.
            AmbiguousAlignment: the structure leaves open which layer is which.
        """
        furthest: GraphMismatch | None = None
        for graph in self.graphs():
            ours, softmax = _up_to_logits(graph.graph, network)
            key = (graph, ours is graph.graph, drop_background)
            if key not in self._matchers:
                ours = _without_background(ours) if drop_background else ours
                self._matchers[key] = GraphMatcher(ours, str(self.source.path))
            matcher = self._matchers[key]
            try:
                pairs = matcher.match(network)
            except GraphMismatch as error:
                if furthest is None or error.depth > furthest.depth:
                    furthest = error
                continue
            return _Pairing(graph, matcher.source, network, pairs, softmax)
        assert furthest is not None  # there is at least one reading
        raise furthest


def match_network(
    readings: SourceReadings, model: str, config: NetworkConfig, weight_set: str, drop: bool
) -> Match:
    """Plan the port of a source with a graph onto one of the networks.

    Raises:
        MappingError: they do not fit; the message names both sides.
    """
    source, ends = readings.source, readings.ends.with_side(config.input_size)
    classes = ends.classes if config.num_classes else 0
    config = replace(config, in_chans=ends.channels, num_classes=classes, input_size=ends.side)
    first_row = 0
    if drop:
        first_row = 1
        config = replace(config, num_classes=without_background(ends.classes, source))
    layers = layers_of(config)
    network = graph_of_network(layers, ends.side, config.bn_epsilon)
    pairing = readings.pairing(network, drop)
    _check_details(pairing, config)
    fills, problems = pairing.fills(source, first_row)
    if problems:
        raise _does_not_fit(source, model, problems)
    counts = (key for key in layers.shapes() if key.endswith("num_batches_tracked"))
    fills += [Fill(key, constant="zeros") for key in counts]
    rest = pairing.left_out(source, fills)
    plan = Plan(model, "graph", weight_set, tuple(fills), rest, source.notes)
    if pairing.source.graph.output.kind == "l2_normalise":
        plan = plan.noted(
            "the source scales its embedding to length 1, and the network does not: "
            "torch.nn.functional.normalize(embedding) does the same"
        )
    check_total(plan, source, layers.shapes())
    return _match(model, plan, _ends(config), config, pairing)


def match_by_names(model: str, plan: Plan, config: NetworkConfig) -> Match:
    """The match of a source without a graph, whose plan comes from variable names."""
    network = graph_of_network(layers_of(config), config.input_size, config.bn_epsilon)
    names = {node: tap.name for node, tap in network.taps.items()}
    factors: dict[str, float] = {}
    for fill in plan.fills:
        if fill.factor != 1:
            # A projection that has taken a gate's constant in.
            block = fill.target.rsplit(".", 2)[0]
            factors |= {f"{block}.se.gate": fill.factor, f"{block}.se": fill.factor}
    layers = tuple(
        n.layer for n in network.nodes() if isinstance(n.layer, (ModuleLayer, ModuleNorm))
    )
    flows = tuple(flows_of(network, names))
    return Match(
        model, plan, _ends(config), config, layers, flows, config.normalises, factors
    )  # fmt: skip


def match_module(
    source: Source, module: nn.Module, model: str, weight_set: str, drop_background: bool = False
) -> Match:
    """Plan the port of a source with a graph onto a user-defined module.

    ``model`` is what the module is called. Nothing of the module is changed. A
    graph that leaves the size of its images open is compared at :data:`SIDE`.

    Raises:
        BadInput: the source has no graph, or the module cannot be traced.
        GraphMismatch: they compute different things; both first places are named.
        AmbiguousAlignment: the structure leaves open which layer is which.
        MappingError: a layer has no place for what the source holds, or a parameter is left.
    """
    from porting.graph.from_module import graph_of_module

    if source.graph is None:
        raise BadInput(
            f"{source.path}: holds weights alone, and no graph to align a module with; "
            "--onto needs a TFLite file, a SavedModel, a frozen graph or a whole Keras model"
        )
    readings = SourceReadings(source)
    ends = readings.ends.with_side(SIDE)
    if drop_background:
        ends = replace(ends, classes=without_background(ends.classes, source))
    network = graph_of_module(module, (1, ends.channels, ends.side, ends.side))
    try:
        pairing = readings.pairing(network, drop_background)
    except GraphMismatch as error:
        if not drop_background and (ends.classes, network.output.facts[-1:]) == (1001, (1000,)):
            error.add_line("--classes drop-background leaves off class 0 of 1001")
        raise
    fills, problems = pairing.fills(source, int(drop_background))
    if problems:
        raise _does_not_fit(source, model, problems)
    targets = {fill.target for fill in fills}
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for key in module.state_dict():
        if key not in targets and key not in parameters:
            constant = "zeros" if key.endswith("num_batches_tracked") else "as built"
            fills.append(Fill(key, constant=constant))
    rest = pairing.left_out(source, fills)
    notes = (*pairing.notes(), *source.notes)
    plan = Plan(model, "structure", weight_set, tuple(fills), rest, notes)
    check_total(plan, source, {key: tuple(v.shape) for key, v in module.state_dict().items()})
    return _match(model, plan, ends, None, pairing)


def match_by_order(match: Match, module: nn.Module) -> Match | None:
    """A match with a network of the zoo, onto a module that has its layers in the same order.

    Convolutions and dense layers are told by their weights' shapes, one after the other; a module
    without batch norms takes the bias that a source has folded them into. None where the layers
    are others.
    """
    state = module.state_dict()
    weights = [key for key, v in state.items() if key.endswith("weight") and v.ndim > 1]
    norms = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    shapes = layers_of(match.config).shapes()
    fills = {fill.target: fill for fill in match.plan.fills}
    flows = [flow for flow in match.flows if flow.weight in shapes]
    layer_norms = [flow.norm for flow in flows if flow.norm is not None]
    if [tuple(state[key].shape) for key in weights] != [shapes[flow.weight] for flow in flows]:
        return None
    if norms and len(norms) != len(layer_norms):
        return None
    paths, own_fills, own_flows = iter(norms), [], []
    layers: list[ModuleLayer] = []
    epsilons = {}
    for key, flow in zip(weights, flows, strict=True):
        own_fills.append(replace(fills[flow.weight], target=key))
        bias: str | None = key.removesuffix("weight") + "bias"
        bias = bias if bias in state else None
        norm = None
        if flow.norm is not None and norms:
            path = next(paths)
            names = (f"{path}weight", f"{path}bias", f"{path}running_mean", f"{path}running_var")
            before = (flow.norm.weight, flow.norm.bias, flow.norm.mean, flow.norm.variance)
            if any(name not in state for name in names) or None in before:
                return None
            own_fills += [
                replace(fills[str(old)], target=new)
                for old, new in zip(before, names, strict=True)
            ]  # fmt: skip
            own = getattr(module.get_submodule(path[:-1]), "eps", flow.norm.epsilon)
            norm = ModuleNorm(*names, float(own))
            epsilons[names[3]] = match.stated_epsilons.get(
                flow.norm.variance, match.config.bn_epsilon
            )
            if bias is not None:
                own_fills.append(Fill(bias, constant="zeros"))
        else:
            source = flow.bias if flow.norm is None else flow.norm.bias
            folded = flow.norm is None or fills[flow.norm.variance].constant == "unit variance"
            if not folded or (bias is None) != (source is None):
                return None
            if bias is not None:
                own_fills.append(replace(fills[str(source)], target=bias))
        layers.append(ModuleLayer(key, bias, state[key].ndim, norm))
        own_flows.append(replace(flow, weight=key, bias=bias, norm=norm))
    targets = {fill.target for fill in own_fills}
    own_fills += [Fill(key, constant="as built") for key in state if key not in targets]
    plan = replace(match.plan, fills=tuple(own_fills))
    return replace(
        match, plan=plan, architecture=None, layers=tuple(layers), flows=tuple(own_flows),
        stated_epsilons=epsilons,
    )  # fmt: skip


def _ends(config: NetworkConfig) -> Ends:
    return Ends(config.input_size, config.in_chans, config.num_classes)


def _does_not_fit(source: Source, model: str, problems: Iterable[str]) -> MappingError:
    return MappingError(f"{source.path}: does not fit {model}:\n  " + "\n  ".join(problems))


def _match(
    model: str, plan: Plan, ends: Ends, config: NetworkConfig | None, pairing: _Pairing
) -> Match:
    names = pairing.names()
    affine = {theirs.weight: (ours.scale, ours.offset) for ours, theirs in pairing.layers()}
    ours = dict(pairing.pairs)
    flows = flows_of(pairing.network, {ours[node]: name for node, name in names.items()})
    flows = (
        replace(flow, scale=scale, offset=offset)
        for flow in flows
        for scale, offset in [affine.get(flow.weight, (1.0, 0.0))]
    )
    taps = tuple((name, pairing.part.taps[node].name) for node, name in names.items())
    return Match(
        model, plan, ends, config,
        (*(layer for _, layer in pairing.layers()), *(norm for _, norm in pairing.lone_norms())),
        tuple(flows),
        pairing.network.normalises or (config is not None and config.normalises),
        pairing.factors(), dict(pairing.stated_epsilons()), pairing.source.data,
        pairing.source.normalisation, (*taps, *pairing.softmax),
        frozenset(name for node, name in names.items() if node in pairing.source.computed_twice),
    )  # fmt: skip


@dataclass(frozen=True)
class _Pairing:
    """A source's graph, the ``part`` of it that is compared, and its pairs with a network's.

    ``softmax`` is the tap behind the logits, where the network does not have one.
    """

    source: SourceGraph
    part: Graph
    network: Graph
    pairs: Pairs
    softmax: tuple[tuple[str, str], ...]

    def layers(self) -> Iterator[tuple[SourceLayer, ModuleLayer]]:
        """The layers of both sides."""
        for ours, theirs in self.pairs:
            if isinstance(ours.layer, SourceLayer) and isinstance(theirs.layer, ModuleLayer):
                yield ours.layer, theirs.layer

    def lone_norms(self) -> Iterator[tuple[SourceNorm, ModuleNorm]]:
        """The batch norms of both sides that are no part of a layer."""
        for ours, theirs in self.pairs:
            if isinstance(ours.layer, SourceNorm) and isinstance(theirs.layer, ModuleNorm):
                yield ours.layer, theirs.layer

    def norms(self) -> Iterator[tuple[SourceNorm, ModuleNorm, str]]:
        """All batch norms that both sides have, and their places."""
        for ours, theirs in self.pairs:
            if isinstance(ours.norm, SourceNorm) and isinstance(theirs.norm, ModuleNorm):
                yield ours.norm, theirs.norm, theirs.place

    def names(self) -> dict[Node, str]:
        """Names of the taps, by the source's nodes.

        By the network's paths, or by the places of a module; the ends as everywhere.
        """
        end = self.part.output
        logits = end.inputs[0] if end.kind == "softmax" else end
        ends = {end: SOFTMAX, logits: CLASSIFIER}  # of one node, the latter
        names = {}
        for ours, theirs in self.pairs:
            tap = self.part.taps.get(ours)
            if tap is None or ours.kind == "input":
                continue
            path = self.network.taps.get(theirs)
            if path is None and self.network.taps:
                continue  # no module of the network shows it, as a slice of the channels
            place = f"{theirs.place} {tap.name}" if path is None else path.name
            names[ours] = ends.get(ours, place)
        return names

    def factors(self) -> dict[str, float]:
        """By tap, the factor from the network's values to the source's, if it is not 1."""
        taps = self.part.taps
        return {name: taps[n].times for n, name in self.names().items() if taps[n].times != 1}

    def fills(self, source: Source, first_row: int) -> tuple[list[Fill], list[str]]:
        """What fills each key of the network's layers, and a line for what has no place there."""
        fills: list[Fill] = []
        problems: list[str] = []
        for ours, theirs in self.pairs:
            if isinstance(ours.layer, SourceLayer) and isinstance(theirs.layer, ModuleLayer):
                layer = _LayerPair(
                    ours, theirs, ours.layer, theirs.layer,
                    first_row if ours is self.part.output else 0,
                )  # fmt: skip
                fills += layer.fills(problems)
            elif isinstance(ours.layer, SourceNorm) and isinstance(theirs.layer, ModuleNorm):
                places = ours.place, theirs.place
                fills += _norm_fills(ours.layer, theirs.layer, None, problems, places)
        for place, fill in enumerate(fills):
            if fill.source in source.tensors and fill.layout == VECTOR:
                axes = len(source.tensors[str(fill.source)].shape)
                if 1 < axes <= len(VECTORS):
                    fills[place] = replace(fill, layout=VECTORS[axes - 1])
        return fills, problems

    def left_out(self, source: Source, fills: Iterable[Fill]) -> tuple[LeftOut, ...]:
        """The source's tensors that fill no key, and why."""
        sources = {name for fill in fills for name in (fill.source, fill.subtracted)}
        parameters = self.source.parameters
        return tuple(
            LeftOut(name, f"parameter of {parameters[name]}")
            if name in parameters
            else LeftOut(name, source.not_a_weight(name) or "not used by the graph")
            for name in source.tensors
            if name not in sources
        )

    def stated_epsilons(self) -> Iterator[tuple[str, float]]:
        """The epsilon of the source's batch norms, by the network's key of the variance."""
        for ours, theirs, _ in self.norms():
            if ours.epsilon is not None:
                yield theirs.variance, ours.epsilon

    def notes(self) -> tuple[str, ...]:
        """Differences in padding and epsilon; the judge decides whether they matter."""
        unlike = [
            (ours, theirs)
            for ours, theirs in self.pairs
            if ours.kind in ("conv", "depthwise") and _pads_of(ours) not in (None, _pads_of(theirs))
        ]
        notes = []
        if unlike:
            some = "; ".join(
                f"{theirs.place}: source {_pads_of(ours)}, module {_pads_of(theirs)}"
                for ours, theirs in unlike[:_MOST_PLACES]
            )
            more = f"; and {len(unlike) - _MOST_PLACES} more" if len(unlike) > _MOST_PLACES else ""
            notes.append(f"{len(unlike)} of the module's convolutions pad otherwise: {some}{more}")
        for norm, own, place in self.norms():
            epsilon = norm.epsilon
            if epsilon is not None and abs(epsilon - own.epsilon) > 1e-3 * epsilon:
                notes.append(
                    f"the source's batch norms have epsilon {epsilon:g}, the module's "
                    f"{own.epsilon:g}, {place} first"
                )
                break
        return tuple(notes)


def _pads_of(node: Node) -> object:
    return None if node.padding is None else node.padding.pads


@dataclass(frozen=True)
class _LayerPair:
    """A layer of a source, and the network's layer that it fills.

    ``rows`` are left off at the start of the source's: those of the background class.
    """

    ours: Node
    theirs: Node
    source: SourceLayer
    network: ModuleLayer
    rows: int

    def fills(self, problems: list[str]) -> Iterator[Fill]:
        """What fills each key of the layer; adds a line to ``problems`` for what has no place."""
        source, network = self.source, self.network
        kind = (
            "depthwise" if self.theirs.kind == "depthwise"
            else "conv" if network.axes == 4
            else "dense"
        )  # fmt: skip
        factor = self.ours.times / self.theirs.times / source.scale
        layout = layout_onto(source.axes, kind)
        yield Fill(
            network.weight, source.weight, layout, first_row=self.rows, factor=factor
        )  # fmt: skip
        if source.norm is not None:
            yield from self._kept_norm(problems)
        elif network.norm is None:
            yield from self._bias(network.bias, problems)
        else:
            # The source has folded the batch norm: it adds the bias, and changes nothing else.
            norm = network.norm
            if network.bias is not None:
                yield Fill(network.bias, constant="zeros")
            yield from self._bias(norm.bias, problems)
            if norm.weight is not None:
                yield Fill(norm.weight, constant="ones")
            yield Fill(norm.mean, constant="zeros")
            yield Fill(norm.variance, constant="unit variance")

    def _bias(self, key: str | None, problems: list[str]) -> Iterator[Fill]:
        source = self.source
        if key is not None and source.bias is None:
            yield Fill(key, constant="zeros")
        elif key is not None:
            offset = -source.offset / source.scale
            yield Fill(
                key, source.bias, VECTOR, first_row=self.rows, factor=1 / source.scale,
                offset=offset,
            )  # fmt: skip
        elif source.bias is not None:
            problems.append(self._no_place("a bias"))

    def _kept_norm(self, problems: list[str]) -> Iterator[Fill]:
        """What fills the batch norm's keys, if the source has not folded it."""
        ours, theirs, bias = self.source.norm, self.network.norm, self.source.bias
        assert ours is not None  # the caller looked
        if theirs is None:
            problems.append(self._no_place("a batch norm"))
            return
        if self.network.bias is not None:
            yield from self._bias(self.network.bias, problems)
            bias = None
        places = self.ours.place, self.theirs.place
        yield from _norm_fills(ours, theirs, bias, problems, places)

    def _no_place(self, what: str) -> str:
        return _no_place(what, self.ours.place, self.theirs.place)


def _no_place(what: str, ours: str, theirs: str) -> str:
    return f"{ours} has {what}, {theirs} has no place for it"


def _norm_fills(
    ours: SourceNorm, theirs: ModuleNorm, bias: str | None, problems: list[str],
    places: tuple[str, str],
) -> Iterator[Fill]:  # fmt: skip
    """What fills a batch norm's keys; ``bias`` is the layer's before it, and ``places`` theirs."""
    for name, key, constant, what in (
        (ours.gamma, theirs.weight, "ones", "a batch norm's gamma"),
        (ours.beta, theirs.bias, "zeros", "a batch norm's beta"),
        (ours.mean, theirs.mean, "zeros", ""),
        (ours.variance, theirs.variance, "unit variance", ""),
    ):
        if key is None:
            if name is not None:
                problems.append(_no_place(what, *places))
        elif key == theirs.mean and bias is not None:
            # A bias before a batch norm moves its mean, which is taken off.
            factor, offset = (-1.0, None) if name is None else (1.0, bias)
            yield Fill(key, name or bias, VECTOR, factor=factor, subtracted=offset)
        elif name is None:
            yield Fill(key, constant=constant)
        else:
            yield Fill(key, name, VECTOR)


def _check_details(pairing: _Pairing, config: NetworkConfig) -> None:
    """Check padding and epsilon, which fingerprints leave out, and that no operator remains.

    Raises:
        GraphMismatch: at the first place where they differ.
    """
    path, depth = pairing.source.path, 0
    for ours, theirs in pairing.pairs:
        if ours.layer is None or theirs.layer is None:
            continue
        padding = ours.padding
        if padding is not None and not padding.fits(config.padding):
            network = f"{theirs.place}, padding {config.padding}"
            raise GraphMismatch(path, depth, f"{ours.place}, {padding}", network)
        epsilon, own = None if ours.norm is None else ours.norm.epsilon, theirs.norm
        if epsilon is None or not isinstance(own, ModuleNorm):
            pass
        elif np.float32(epsilon) != np.float32(own.epsilon):  # graphs keep it in float32
            norm = str(own.weight).removesuffix(".weight")
            raise GraphMismatch(
                path, depth, f"{ours.place}, with epsilon {epsilon:g}",
                f"{norm}, a batch norm with epsilon {own.epsilon:g}",
            )  # fmt: skip
        depth += ours.weighted
    if pairing.source.surplus is not None:
        raise GraphMismatch(path, depth, pairing.source.surplus, "nothing further")


def _up_to_logits(
    source: Graph, network: Graph
) -> tuple[Graph, tuple[tuple[str, str], ...]]:  # fmt: skip
    """The source up to its logits if the network ends there, and the tap of a softmax left off."""
    end = source.output
    if end.kind not in ENDS or end.facts or network.output.kind == end.kind:
        return source, ()
    taps = ((SOFTMAX, source.taps[end].name),) if end.kind == "softmax" else ()
    return replace(source, output=end.inputs[0]), taps


def _without_background(source: Graph) -> Graph:
    """The source with a classifier that lacks class 0."""
    end = source.output
    if end.kind != "dense" or not isinstance(end.facts[-1], int):
        raise MappingError(f"{end.place}: expected a dense layer, to leave class 0 off")
    inputs, outputs = end.facts
    assert isinstance(outputs, int)
    smaller = replace(end, facts=(inputs, outputs - 1))
    taps = {**source.taps, smaller: source.taps[end]} if end in source.taps else source.taps
    return replace(source, output=smaller, taps=taps)


def flows_of(network: Graph, names: Mapping[Node, str]) -> Iterator[LayerFlow]:
    """The flow of every layer of a network; ``names`` are those of its taps."""
    consumers: dict[Node, list[Node]] = {}
    for node in network.nodes():
        for operand in node.inputs:
            consumers.setdefault(operand, []).append(node)
    for node in network.nodes():
        layer = node.layer
        if not isinstance(layer, (ModuleLayer, ModuleNorm)) or layer.weight is None:
            continue
        norm = layer if isinstance(layer, ModuleNorm) else layer.norm
        behind = [n for n in consumers.get(node, ()) if n.kind in _ACTIVATIONS and n in names]
        results = [layer.weight.removesuffix(".weight")]
        # A sum hides nothing of what is added.
        sums = [n for n in consumers.get(node, ()) if n.kind == "add"]
        results += [names[n] for n in (node, *behind, *sums) if n in names]
        if node is network.output:
            # A softmax spreads over all classes, and cuts none of them off.
            results.append(SOFTMAX)
        (entry,) = node.inputs
        channels = None
        if entry.kind == "channels" and entry not in names:
            start, stop, total = entry.facts
            assert isinstance(start, int) and isinstance(stop, int) and isinstance(total, int)
            channels, (entry,) = (start, stop, total), entry.inputs
        depthwise, multiplier = node.kind in ("depthwise", NORM), 1
        if node.kind == "depthwise":
            *_, inputs, outputs, _groups = node.facts
            assert isinstance(inputs, int) and isinstance(outputs, int)
            multiplier = outputs // inputs
        yield LayerFlow(
            layer.weight, layer.bias, depthwise,
            ENTRY if entry.kind == "input" else names.get(entry, ""),
            tuple(dict.fromkeys(results)), frozenset(names[n] for n in behind), norm,
            multiplier=multiplier, channels=channels,
        )  # fmt: skip

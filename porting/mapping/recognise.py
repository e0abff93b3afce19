"""Finds the networks that fit a source, by graph fingerprints or by variable names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from genmobilenet.arch import shares
from genmobilenet.config import NetworkConfig
from genmobilenet.errors import GenMobileNetError
from genmobilenet.zoo import ALIASES, get_config, list_models
from porting.errors import AmbiguousModel, MappingError
from porting.graph.architecture import NotInTheLanguage, architecture_of
from porting.graph.layers import layers_of
from porting.graph.match import GraphMismatch
from porting.graph.operators import facts_of
from porting.graph.tap_names import CLASSIFIER
from porting.mapping.image_classifier import gives_a_map, not_a_classifier, without_background
from porting.mapping.match import SIDE, Match, SourceReadings, match_by_names, match_network
from porting.mapping.plan import Fill, check_total
from porting.mapping.rules import NamedVariables, choose_weight_set
from porting.sources.source import Source


def find_match(
    source: Source, model: str | None, weights: str | None = None, drop_background: bool = False,
    backbone: bool = False,
) -> Match:  # fmt: skip
    """The match for ``model``, or for the only network that fits.

    With ``backbone`` that of the longest part of the source's graph that is a mobile network,
    which gives the features behind its last block; a ``model`` that gives such features is
    compared with that part too.

    Raises:
        MappingError: source and network do not fit, or no network fits.
        AmbiguousModel: several fit and none is named.
        WeightSetError: the requested weight set is not there.
    """
    weight_set = choose_weight_set(source, weights)
    search = _Search(source, weight_set, drop_background)
    if model is not None and get_config(model).pool == "none":
        return search.features(model)
    if backbone:
        return search.backbone()
    other = not_a_classifier(source)
    if other is not None:
        raise MappingError(f"{source.path}: no known network fits: {other}{search.backbone_hint()}")
    if model is not None:
        return search.named(model)
    matches = list(search.fits())
    if not matches:
        raise search.nothing_fits()
    if len(matches) > 1:
        names = ", ".join(match.model for match in matches)
        raise AmbiguousModel(f"{source.path}: several networks fit: {names}; choose with --model")
    return matches[0]


def candidates(source: Source, weight_set: str) -> Iterator[Match]:
    """All networks that fit; of one with a ``tf_`` form that fits, that form alone.

    If no known network fits, the one whose architecture is read from the source's graph.
    """
    return _Search(source, weight_set, drop_background=False).fits()


def match_model(
    source: Source, model: str, weight_set: str, drop_background: bool = False
) -> Match:
    """Plan the port of a source onto one network, and check that it is whole.

    Raises:
        MappingError: they do not fit; the message names both sides.
    """
    return _Search(source, weight_set, drop_background).match(model)


class _Search:
    """A source, compared with one network after another."""

    def __init__(self, source: Source, weight_set: str, drop_background: bool) -> None:
        self._source, self._weight_set, self._drop = source, weight_set, drop_background
        self._readings = SourceReadings(source)
        self._refusals: dict[str, MappingError] = {}
        self._read = ""  # the strings of the network whose layers are the graph's
        self._unread: MappingError | None = None

    @cached_property
    def _variables(self) -> NamedVariables:
        return NamedVariables(self._source, self._weight_set)

    def match(self, model: str) -> Match:
        """The match for one network, with one of the heads that it is published with."""
        if model in self._refusals:
            raise self._refusals[model]
        by_graph = self._source.graph is not None
        first: MappingError | None = None
        for config in _heads(get_config(model)):
            try:
                if by_graph:
                    return match_network(
                        self._readings, model, config, self._weight_set, self._drop
                    )
                return _match_names(self._source, model, config, self._variables, self._drop)
            except MappingError as error:
                first = first or error
        assert first is not None  # there is at least one head
        self._refusals[model] = first
        raise first

    def fits(self) -> Iterator[Match]:
        """All known networks that fit; if none does, the one that is read from the graph."""
        is_known = False
        for match in self.known():
            is_known = True
            yield match
        if not is_known:
            yield from self.from_graph()

    def known(self) -> Iterator[Match]:
        """All known networks that fit."""
        fitting = set()
        widths, weights = _widths(self._source), None
        if self._source.graph is None:
            with suppress(MappingError):
                weights = self._variables.weight_count
        for model in self._models():
            config = get_config(model)
            if f"tf_{model}" in fitting or (widths and not _has_widths_of(widths, config)):
                continue
            if weights not in (None, layers_of(config).weight_count):
                continue
            try:
                yield self.match(model)
                fitting.add(model)
            except MappingError:
                continue

    def from_graph(self) -> Iterator[Match]:
        """The match for the network whose architecture is read from the graph; none without one."""
        if self._source.graph is None or not_a_classifier(self._source) is not None:
            return
        try:
            ends = self._readings.ends.with_side(SIDE)
            for graph in self._readings.graphs():
                model = ""
                try:
                    config = architecture_of(
                        graph.graph, str(self._source.path), ends.side, ends.channels
                    )
                    model = config.format()
                    yield match_network(self._readings, model, config, self._weight_set, self._drop)
                    return
                except MappingError as error:
                    self._unread = self._unread or error
                    if model and not self._read:
                        self._read, self._unread = model, error
        except MappingError as error:
            self._unread = self._unread or error

    def backbone(self) -> Match:
        """The match for the longest part of the graph that is a mobile network.

        Raises:
            MappingError: there is none.
        """
        if self._source.graph is None:
            raise MappingError(f"{self._source.path}: holds weights alone, and no graph to cut")
        readings, part = self._readings.of_backbone()
        model = part.config.format()
        match = match_network(readings, model, part.config, self._weight_set, False)
        end = dict(match.taps)[CLASSIFIER]
        note = f"the backbone ends at {end!r}; behind it: {part.rest}"
        return replace(match, plan=match.plan.noted(note))

    def features(self, model: str) -> Match:
        """The match for a network that gives features: all of the source, or its backbone.

        Raises:
            MappingError: neither fits.
        """
        try:
            return self.match(model)
        except MappingError as error:
            try:
                match = self.backbone()
            except MappingError:
                raise error from None
            if match.model != model:
                raise error from None
            return match

    def backbone_hint(self) -> str:
        """A line that says that the backbone can be ported, if there is one."""
        try:
            match = self.backbone()
        except MappingError:
            return ""
        blocks = len(match.config.resolve())
        return f"\n  its backbone of {blocks} blocks is a mobile network: --backbone ports that"

    def named(self, model: str) -> Match:
        """The match for a network that the user names.

        Raises:
            MappingError: it does not fit; the message names the network that would.
        """
        get_config(model)
        try:
            return self.match(ALIASES.get(model, model))
        except MappingError as error:
            others = [match.model for match in self.known()]
            # A plain network pads otherwise from its stem on; what else differs says more.
            reason = self._furthest((model, f"tf_{model}"))[1] or error
            if not others:
                raise reason from error
            names = ", ".join(others)
            raise MappingError(f"{reason}\n  the network that would fit: {names}") from error

    def nothing_fits(self) -> MappingError:
        """The error for the network that came nearest."""
        nearest, error = self._furthest(self._models())
        agrees = not isinstance(self._unread, GraphMismatch)  # but its tensors have no place
        if self._read and (agrees or _depth(self._unread) > _depth(error)):
            nearest, error = f"that of its own layers, {self._read}", self._unread
        description = gives_a_map(self._source)
        if description is not None:
            text = f"{self._source.path}: no known network fits: {description}"
        else:
            text = f"no known network fits; the nearest is {nearest}:\n{error}"
        if isinstance(self._unread, NotInTheLanguage):
            text += f"\n{self._unread}"
        return MappingError(text + self.backbone_hint())

    def _models(self) -> list[str]:
        """Models to try: only ``tf_`` forms for weights alone, whose names do not tell padding."""
        forms = list_models("tf_*")
        if self._source.graph is None:
            return forms
        return forms + [model for model in list_models() if f"tf_{model}" in forms]

    def _furthest(self, models: Iterable[str]) -> tuple[str, MappingError | None]:
        """Of networks that do not fit, the one that agrees the furthest, and its error."""
        best: tuple[int, str, MappingError | None] = (-(1 << 62), "", None)
        for model in models:
            try:
                self.match(model)
            except MappingError as error:
                if _depth(error) > best[0]:
                    best = _depth(error), model, error
            except GenMobileNetError:
                continue  # a plain name need not have a TensorFlow form
        return best[1:]


def _depth(error: MappingError | None) -> int:
    """How far source and network agree: by layers, or where they differ in names, by these."""
    return error.depth if isinstance(error, GraphMismatch) else -str(error).count("\n")


def _widths(source: Source) -> list[int]:
    """Output channels of a graph's convolutions in order; none if some are not known.

    They quickly rule out most networks. The stem of a grey image may be a depthwise convolution.
    """
    operators = () if source.graph is None else source.graph.operators
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
    layers = (op for op in operators if op.kind in kinds and len(op.inputs) > 1)
    widths = [facts_of(layer, source).out_channels for layer in layers]
    return widths if all(widths) else []


def _has_widths_of(widths: list[int], config: NetworkConfig) -> bool:
    """Whether a graph's widths begin with a network's stem and hold those of its blocks."""
    if widths[0] != config.stem:
        return False  # before the blocks of every network are resolved
    blocks = {
        width
        for block in config.resolve()
        for width in shares(block.out_channels, len(block.end_kernels) or 1)
    }
    return blocks.issubset(widths)


def _heads(config: NetworkConfig) -> Iterator[NetworkConfig]:
    """A network with each head that it is published with.

    Below a multiplier of 1 slim's plain ``depth_multiplier`` scales V3's head too; Google's
    files and Keras keep it.
    """
    yield config
    if config.head == "after_pool" and config.width is not None and config.width < 1:
        yield replace(config, head_channels=config.scaled(config.head_channels))


def _match_names(
    source: Source, model: str, config: NetworkConfig, variables: NamedVariables, drop: bool
) -> Match:
    if config.padding != "same":
        raise MappingError(
            f"{source.path}: computes with SAME padding and batch-norm epsilon 1e-3, {model} with "
            f"symmetric padding and {config.bn_epsilon:g}"
        )
    plan = variables.plan(model, layers_of(config))
    fills = {fill.target: fill for fill in plan.fills}
    classes = _source_axis(source, fills.get("classifier.bias"), 0)
    inputs = _source_axis(source, fills.get("conv_stem.weight"), 2)
    config = replace(
        config,
        num_classes=classes or config.num_classes,
        in_chans=inputs or config.in_chans,
        input_size=source.input_side or config.input_size,
    )
    if drop:
        config = replace(config, num_classes=without_background(config.num_classes, source))
        plan = variables.plan(model, layers_of(config), 1)
    check_total(plan, source, layers_of(config).shapes())
    return match_by_names(model, plan, config)


def _source_axis(source: Source, fill: Fill | None, axis: int) -> int | None:
    if fill is None or fill.source is None:
        return None
    shape = source.tensors[fill.source].shape
    return shape[axis] if len(shape) > axis else None

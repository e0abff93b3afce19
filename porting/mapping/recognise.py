"""Which network a source holds: the plans that fit, found by trying."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from genmobilenet.config import NetworkConfig
from genmobilenet.errors import GenMobileNetError
from genmobilenet.zoo import ALIASES, get_config, list_models
from porting.errors import AmbiguousModel, MappingError
from porting.mapping.align import align
from porting.mapping.by_graph import plan_by_graph
from porting.mapping.ends import Ends, ends_of, without_background
from porting.mapping.layers import layers_of
from porting.mapping.operators import facts_of
from porting.mapping.plan import Fill, Plan, check_total
from porting.mapping.rules import choose_weight_set, plan_by_rules, weight_count
from porting.mapping.walk import Alignment, GraphMismatch
from porting.sources.source import Source


@dataclass(frozen=True)
class Match:
    """A network that fits a source, with the plan that says how.

    ``config`` has the source's number of classes and input channels.
    ``alignment`` is None where the plan was made from names.
    """

    model: str
    config: NetworkConfig
    plan: Plan
    alignment: Alignment | None

    @property
    def normalises(self) -> bool:
        """Whether the network takes pixels 0..255, and normalises them itself."""
        return self.config.normalises

    @property
    def ends(self) -> Ends:
        """The network's images and classes."""
        return Ends(self.config.input_size, self.config.in_chans, self.config.num_classes)


def find_match(
    source: Source, model: str | None, weights: str | None = None, drop_background: bool = False
) -> Match:
    """The match for ``model``, or for the only network that fits.

    Raises:
        MappingError: source and network do not fit, or no network fits.
        AmbiguousModel: several fit and none is named.
        WeightSetError: the wanted weight set is not there.
    """
    weight_set = choose_weight_set(source, weights)
    if model is not None:
        return _named_match(source, model, weight_set, drop_background)
    found = list(candidates(source, weight_set, drop_background))
    if not found:
        raise _nothing_fits(source, weight_set, drop_background)
    if len(found) > 1:
        names = ", ".join(match.model for match in found)
        raise AmbiguousModel(f"{source.path}: several networks fit: {names}; choose with --model")
    return found[0]


def candidates(source: Source, weight_set: str, drop_background: bool = False) -> Iterator[Match]:
    """All networks that fit, TensorFlow's form before the plain one, which it stands in for."""
    found = set()
    stem, weights = _stem_channels(source), weight_count(source, weight_set)
    for model in _worth_trying(source):
        config = get_config(model)
        if f"tf_{model}" in found or stem not in (None, config.stem):
            continue
        if weights not in (None, layers_of(config).weight_count):
            continue
        try:
            yield match(source, model, weight_set, drop_background)
            found.add(model)
        except MappingError:
            continue


def _stem_channels(source: Source) -> int | None:
    """Channels of a graph's first convolution, which rule most networks out at a glance."""
    operators = () if source.graph is None else source.graph.operators
    first = next((op for op in operators if op.kind == "CONV_2D" and len(op.inputs) > 1), None)
    return None if first is None else facts_of(first, source).out_channels or None


def _worth_trying(source: Source) -> list[str]:
    """Names alone do not say how a network pads, and variables are TensorFlow's."""
    forms = list_models("tf_*")
    if source.graph is None:
        return forms
    return forms + [model for model in list_models() if f"tf_{model}" in forms]


def match(source: Source, model: str, weight_set: str, drop_background: bool = False) -> Match:
    """Plan the port of a source onto one network, and check that it is whole.

    Raises:
        MappingError: they do not fit; the message names both sides.
    """
    made = _match_graph if source.graph is not None else _match_names
    first: MappingError | None = None
    for config in _heads(get_config(model)):
        try:
            return made(source, model, config, weight_set, drop_background)
        except MappingError as error:
            first = first or error
    assert first is not None  # there is at least one head
    raise first


def _heads(config: NetworkConfig) -> Iterator[NetworkConfig]:
    """A network with the heads that it is published with.

    Below a multiplier of 1 slim's plain ``depth_multiplier`` scales V3's head too; Google's
    files and Keras keep it.
    """
    yield config
    if config.head == "after_pool" and config.width is not None and config.width < 1:
        yield replace(config, head_channels=config.scaled(config.head_channels))


def _match_graph(
    source: Source, model: str, config: NetworkConfig, weight_set: str, drop: bool
) -> Match:
    ends = ends_of(source).with_side(config.input_size)
    config = replace(config, in_chans=ends.channels, num_classes=ends.classes, input_size=ends.side)
    alignment = align(source, layers_of(config), config.padding, config.bn_epsilon)
    config, first_row = _classes(source, config, drop)
    plan = plan_by_graph(source, model, alignment, weight_set, first_row)
    check_total(plan, source, layers_of(config).shapes())
    return Match(model, config, plan, alignment)


def _match_names(
    source: Source, model: str, config: NetworkConfig, weight_set: str, drop: bool
) -> Match:
    _check_form(source, model, config)
    plan = plan_by_rules(source, model, layers_of(config), weight_set)
    fills = {fill.target: fill for fill in plan.fills}
    classes = _source_axis(source, fills.get("classifier.bias"), 0)
    inputs = _source_axis(source, fills.get("conv_stem.weight"), 2)
    config = replace(
        config,
        num_classes=classes or config.num_classes,
        in_chans=inputs or config.in_chans,
        input_size=source.input_side or config.input_size,
    )
    config, first_row = _classes(source, config, drop)
    if first_row:
        plan = plan_by_rules(source, model, layers_of(config), weight_set, first_row)
    check_total(plan, source, layers_of(config).shapes())
    return Match(model, config, plan, None)


def _source_axis(source: Source, fill: Fill | None, axis: int) -> int | None:
    if fill is None or fill.source is None:
        return None
    shape = source.tensors[fill.source].shape
    return shape[axis] if len(shape) > axis else None


def _classes(source: Source, config: NetworkConfig, drop: bool) -> tuple[NetworkConfig, int]:
    if not drop:
        return config, 0
    return replace(config, num_classes=without_background(config.num_classes, source)), 1


def _check_form(source: Source, model: str, config: NetworkConfig) -> None:
    if config.padding != "same":
        raise MappingError(
            f"{source.path}: computes with SAME padding and batch-norm epsilon 1e-3, {model} with "
            f"symmetric padding and {config.bn_epsilon:g}"
        )


def _named_match(source: Source, model: str, weight_set: str, drop: bool) -> Match:
    get_config(model)
    try:
        return match(source, ALIASES.get(model, model), weight_set, drop)
    except MappingError as error:
        others = [found.model for found in candidates(source, weight_set, drop)]
        # A plain network pads otherwise from its stem on; what else differs says more.
        told = _furthest(source, (model, f"tf_{model}"), weight_set, drop)[1] or error
        if not others:
            raise told from error
        raise MappingError(f"{told}\n  the network that would fit: {', '.join(others)}") from error


def _nothing_fits(source: Source, weight_set: str, drop: bool) -> MappingError:
    """The error for the network that came nearest."""
    nearest, error = _furthest(source, _worth_trying(source), weight_set, drop)
    return MappingError(f"no known network fits; the nearest is {nearest}:\n{error}")


def _furthest(
    source: Source, models: Iterable[str], weight_set: str, drop: bool
) -> tuple[str, MappingError | None]:
    """Of networks that do not fit the one that fits the furthest, and why not further."""
    best: tuple[int, str, MappingError | None] = (-(1 << 62), "", None)
    for model in models:
        try:
            match(source, model, weight_set, drop)
        except MappingError as error:
            score = error.depth if isinstance(error, GraphMismatch) else -str(error).count("\n")
            if score > best[0]:
                best = score, model, error
        except GenMobileNetError:
            continue  # a plain name need not have a TensorFlow form
    return best[1:]

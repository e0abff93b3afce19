"""Which network a source holds: the plans that fit, found by trying."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from genmobilenet.config import NetworkConfig
from genmobilenet.zoo import ALIASES, get_config, list_models
from porting.errors import AmbiguousModel, BadInput, MappingError
from porting.mapping.by_graph import Alignment, GraphMismatch, align, plan_by_graph
from porting.mapping.layers import layers_of
from porting.mapping.plan import Fill, Plan, check_total
from porting.mapping.rules import choose_weight_set, plan_by_rules
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
    """All networks that fit. Only TensorFlow forms can: the others pad differently."""
    for model in list_models("tf_*"):
        try:
            yield match(source, model, weight_set, drop_background)
        except MappingError:
            continue


def match(source: Source, model: str, weight_set: str, drop_background: bool = False) -> Match:
    """Plan the port of a source onto one network, and check that it is whole.

    Raises:
        MappingError: they do not fit; the message names both sides.
    """
    if source.graph is not None:
        return _match_graph(source, model, weight_set, drop_background)
    return _match_names(source, model, weight_set, drop_background)


def _match_graph(source: Source, model: str, weight_set: str, drop: bool) -> Match:
    graph = source.graph
    assert graph is not None  # the caller looked
    config = get_config(model)
    if graph.inputs and graph.outputs:
        shape = source.activations[graph.inputs[0]].shape
        classes = source.activations[graph.outputs[0]].shape
        if len(shape) == 4 and classes:
            config = replace(
                config, in_chans=shape[3], num_classes=classes[-1], input_size=shape[1]
            )
    alignment = align(source, layers_of(config))
    _check_padding(source, model, config, alignment.asymmetric)
    config, first_row = _classes(source, config, drop)
    plan = plan_by_graph(source, model, alignment, weight_set, first_row)
    check_total(plan, source, layers_of(config).shapes())
    return Match(model, config, plan, alignment)


def _match_names(source: Source, model: str, weight_set: str, drop: bool) -> Match:
    config = get_config(model)
    plan = plan_by_rules(source, model, layers_of(config), weight_set)
    fills = {fill.target: fill for fill in plan.fills}
    classes = _source_axis(source, fills.get("classifier.bias"), 0)
    inputs = _source_axis(source, fills.get("conv_stem.weight"), 2)
    config = replace(
        config, num_classes=classes or config.num_classes, in_chans=inputs or config.in_chans
    )
    config, first_row = _classes(source, config, drop)
    plan = plan_by_rules(source, model, layers_of(config), weight_set, first_row)
    check_total(plan, source, layers_of(config).shapes())
    _check_padding(source, model, config, [])
    return Match(model, config, plan, None)


def _source_axis(source: Source, fill: Fill | None, axis: int) -> int | None:
    if fill is None or fill.source is None:
        return None
    shape = source.tensors[fill.source].shape
    return shape[axis] if len(shape) > axis else None


def _classes(source: Source, config: NetworkConfig, drop: bool) -> tuple[NetworkConfig, int]:
    if not drop:
        return config, 0
    if config.num_classes != 1001:
        raise BadInput(
            f"{source.path}: has {config.num_classes} classes; only of 1001 is the first known "
            f"to be the background"
        )
    return replace(config, num_classes=1000), 1


def _check_padding(source: Source, model: str, config: NetworkConfig, other: list[str]) -> None:
    if other:
        raise MappingError(
            f"{source.path}: {other[0]} pads VALID where {model} pads {config.padding}"
        )
    if config.padding != "same":
        raise MappingError(
            f"{source.path}: computes with SAME padding and batch-norm epsilon 1e-3, {model} with "
            f"symmetric padding and {config.bn_epsilon:g}; the network that fits is tf_{model}"
        )


def _named_match(source: Source, model: str, weight_set: str, drop: bool) -> Match:
    get_config(model)
    try:
        return match(source, ALIASES.get(model, model), weight_set, drop)
    except MappingError as error:
        others = [found.model for found in candidates(source, weight_set, drop)]
        if not others or str(error).endswith(others[0]):
            raise
        raise MappingError(f"{error}\n  the network that would fit: {', '.join(others)}") from error


def _nothing_fits(source: Source, weight_set: str, drop: bool) -> MappingError:
    """The error for the network that came nearest."""
    nearest: tuple[int, str, MappingError] | None = None
    for model in list_models("tf_*"):
        try:
            match(source, model, weight_set, drop)
        except MappingError as error:
            score = error.depth if isinstance(error, GraphMismatch) else -str(error).count("\n")
            if nearest is None or score > nearest[0]:
                nearest = (score, model, error)
    assert nearest is not None  # the zoo is not empty, and none fitted
    return MappingError(f"no known network fits; the nearest is {nearest[1]}:\n{nearest[2]}")

"""Carry out a plan: read source tensors into the state dict of a network or of a user's module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, BadSource
from porting.graph.layers import NORMALISATION, NORMALISES, layers_of
from porting.mapping.input_spec import InputConvention, normalises_inside
from porting.mapping.layouts import change
from porting.mapping.match import Match, match_module
from porting.mapping.plan import Fill, Plan
from porting.mapping.recognise import find_match
from porting.mapping.rules import choose_weight_set
from porting.own_module import build_module, copied, name_of
from porting.sources.source import Source

if TYPE_CHECKING:
    import torch
    from torch import nn


def carry_out(
    plan: Plan,
    source: Source,
    config: NetworkConfig,
    mean: Sequence[float] = (),
    deviation: Sequence[float] = (),
) -> dict[str, torch.Tensor]:
    """Read every tensor of a plan into a state dict, in the network's own order.

    Weights are float32 whatever the source stores. ``mean`` and ``deviation`` of pixels 0..255,
    one number for each channel, are for a network that normalises its input itself.

    Raises:
        BadInput: the plan is of a calibrated port, whose values are not all the source's.
        BadSource: a tensor's bytes are damaged, or its values are not finite.
    """
    return planned_values(plan, source, config, mean, deviation).state_dict()


class PlannedValues:
    """The values that a plan gives for each key, read from the source one key at a time.

    ``fills`` has the keys in the network's own order, without a module's own buffers, which no
    source has.
    """

    def __init__(
        self, plan: Plan, source: Source, shapes: Mapping[str, tuple[int, ...]],
        epsilon_of: Callable[[str], float], constants: Mapping[str, Sequence[float]],
    ) -> None:  # fmt: skip
        from_images = [fill.target for fill in plan.fills if fill.measured]
        if from_images:
            raise BadInput(
                f"{source.path}: {len(from_images)} keys of the plan come from images, "
                f"{from_images[0]} first; carry out the plan that the source fits, and calibrate"
            )
        fills = {fill.target: fill for fill in plan.fills}
        self.fills = {key: fills[key] for key in shapes if fills[key].constant != "as built"}
        self.shapes = {key: shapes[key] for key in self.fills}
        self._source, self._epsilon_of, self._constants = source, epsilon_of, constants

    def read(self, key: str) -> np.ndarray:
        """The values of a key, with the network's axes: float32, or int64 for a count.

        Raises:
            BadSource: the tensor's bytes are damaged, or its values are not finite.
        """
        fill = self.fills[key]
        if fill.constant is None:
            return _source_values(fill, self._source)
        if fill.constant in self._constants:
            return np.array(self._constants[fill.constant], np.float32)
        shape = self.shapes[key]
        if key.endswith("num_batches_tracked"):
            return np.zeros(shape, np.int64)
        if fill.constant == "unit variance":
            # float32(1 - epsilon) + epsilon rounds to 1, so the batch norm is an exact identity.
            return np.full(shape, 1.0 - self._epsilon_of(key), np.float32)
        return np.full(shape, {"ones": 1.0, "zeros": 0.0}[fill.constant], np.float32)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The values of all keys.

        Raises:
            BadSource: as :meth:`read`.
        """
        import torch

        return {key: torch.from_numpy(self.read(key)) for key in self.fills}


def planned_values(
    plan: Plan,
    source: Source,
    config: NetworkConfig,
    mean: Sequence[float] = (),
    deviation: Sequence[float] = (),
) -> PlannedValues:
    """What a plan for a network gives; the arguments are those of :func:`carry_out`."""
    constants = {"normalisation's mean": mean, "normalisation's deviation": deviation}
    shapes = layers_of(config).shapes()
    return PlannedValues(plan, source, shapes, lambda _: config.bn_epsilon, constants)


def planned_values_onto(
    plan: Plan, source: Source, module: nn.Module, epsilons: Mapping[str, float]
) -> PlannedValues:
    """What a plan for a user-defined module gives, in the order of its state dict.

    ``epsilons`` gives the batch-norm epsilon by the key of the running variance.
    """
    shapes = {key: tuple(values.shape) for key, values in module.state_dict().items()}
    return PlannedValues(plan, source, shapes, epsilons.__getitem__, {})


def _source_values(fill: Fill, source: Source) -> np.ndarray:
    assert fill.source is not None and fill.layout is not None  # checked by check_total
    values = change(source.read(fill.source), fill.layout)[fill.first_row :]
    # A copy: the source's pages are read-only, and the port outlives the file.
    with np.errstate(over="ignore", invalid="ignore"):  # infinite results are refused below
        if fill.factor != 1 or fill.offset:
            values = values * fill.factor + fill.offset
        if fill.subtracted is not None:
            values = values - source.read(fill.subtracted).ravel()
        values = np.array(values, np.float32, order="C")
    if not np.isfinite(values).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
        raise BadSource(
            f"{source.path}: {fill.source} holds {values[place]} at {fill.target}"
            f"{[int(i) for i in place]}; weights must be finite"
        )
    return values


@dataclass(frozen=True)
class Target:
    """A network or module, and how a source fills it. ``module`` is None for a network."""

    match: Match
    module: nn.Module | None = None

    @property
    def config(self) -> NetworkConfig | None:
        """The network's configuration; None for a module."""
        return self.match.architecture

    def state_dict(self, source: Source, convention: InputConvention) -> dict[str, torch.Tensor]:
        """The plan carried out; ``convention`` is the source's.

        Raises:
            BadSource: a tensor's bytes are damaged, or its values are not finite.
        """
        match = self.match
        if self.module is None:
            return carry_out(match.plan, source, match.config, convention.mean, convention.std)
        initial = self.module.state_dict()
        values = planned_values_onto(match.plan, source, self.module, match.epsilons)
        state = values.state_dict()
        return {key: state[key] if key in state else initial[key].clone() for key in initial}

    def network(self, state: dict[str, torch.Tensor]) -> nn.Module:
        """The network with a state dict's values in evaluation mode; a module is copied first."""
        from genmobilenet.factory import build

        if self.module is None:
            return build(self.match.config, state)
        module = copied(self.module)
        module.load_state_dict(state)
        return module.eval()


def network_target(
    source: Source,
    model: str | None,
    weights: str | None,
    drop_background: bool,
    keep_normalisation: bool,
    backbone: bool = False,
) -> Target:
    """One of the networks: ``model``, or the only one that fits; or the source's ``backbone``.

    Raises:
        MappingError: source and network do not fit, or no network fits.
        BadInput: there is no normalisation in the source to keep.
    """
    match = find_match(source, model, weights, drop_background, backbone)
    if keep_normalisation:
        if not normalises_inside(source, match):
            raise BadInput(
                f"{source.path}: has no normalisation inside to keep; leave out --normalisation "
                "keep"
            )
        match = with_normalisation(match)
    return Target(match)


def module_target(
    source: Source, onto: nn.Module | str, weights: str | None, drop_background: bool
) -> Target:
    """A user-defined module, or what ``package.module:callable`` returns.

    Raises:
        BadInput: it cannot be built or traced.
        MappingError: source and module do not fit, or leave open which layer is which.
    """
    from torch import nn

    module = build_module(onto) if isinstance(onto, str) else onto
    if not isinstance(module, nn.Module):
        raise BadInput(f"onto is a {type(module).__name__}; expected a torch.nn.Module or its name")
    weight_set = choose_weight_set(source, weights)
    return Target(match_module(source, module, name_of(onto), weight_set, drop_background), module)


def with_normalisation(match: Match) -> Match:
    """The match of a network that normalises by itself, as the source's graph may do too."""
    fills = tuple(
        Fill(key, constant=f"normalisation's {name}")
        for key, name in zip(NORMALISATION, ("mean", "deviation"), strict=True)
    )
    plan = replace(match.plan, fills=(*fills, *match.plan.fills))
    architecture, taps = replace(match.config, normalises=True), match.taps
    if match.data is not None and match.normalisation:
        taps = ((NORMALISES, match.data), *taps)
    return replace(match, architecture=architecture, normalises=True, plan=plan, taps=taps)

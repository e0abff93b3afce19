"""The target of a port: one of the networks, or a user-defined module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genmobilenet.config import NetworkConfig
from porting.carry_out import carry_out, carry_out_onto
from porting.errors import BadInput
from porting.graph.layers import NORMALISATION, NORMALISES
from porting.mapping.input_spec import InputConvention, normalises_inside
from porting.mapping.match import Match
from porting.mapping.plan import Fill
from porting.mapping.recognise import find_match
from porting.mapping.rules import choose_weight_set
from porting.own_module import copied
from porting.sources import Source

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        return carry_out_onto(match.plan, source, self.module, match.epsilons)

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
) -> Target:
    """One of the networks: ``model``, or the only one that fits.

    Raises:
        MappingError: source and network do not fit, or no network fits.
        BadInput: there is no normalisation in the source to keep.
    """
    match = find_match(source, model, weights, drop_background)
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

    from porting.mapping.match import match_module
    from porting.own_module import build_module, name_of

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

"""What is known of a module that fits a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from porting.mapping.ends import Ends
from porting.mapping.flows import LayerFlow
from porting.mapping.plan import Plan
from porting.mapping.structure.node import ModuleLayer
from porting.mapping.walk import Alignment


@dataclass(frozen=True)
class ModuleMatch:
    """A module that fits a source, with the plan that says how.

    ``ends`` are those of the module: its images' side and channels, its classes.
    ``normalises`` says that it takes pixels 0..255 and turns them into its input itself.
    ``epsilons`` gives the batch-norm epsilon by the key of the running variance,
    ``stated_epsilons`` that of the source's own batch norm, where it has one;
    ``factors``, by tap, how many times the module's values the source's are by
    construction. ``flows`` says between which taps each layer works, ``layers`` which keys make
    it up.
    """

    model: str
    plan: Plan
    alignment: Alignment
    ends: Ends
    normalises: bool
    epsilons: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    flows: tuple[LayerFlow, ...] = ()
    stated_epsilons: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[ModuleLayer, ...] = ()

"""What one naming scheme consists of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from porting.graph.layers import NetworkLayers


@dataclass(frozen=True)
class RuleSet:
    """A naming scheme as data.

    ``pattern`` takes a variable's name apart into the groups ``scope``,
    ``layer`` (may be absent), ``counter`` (may be absent: the first has none)
    and ``variable``. ``variables`` gives state-dict suffix and layout by kind
    of layer and variable. ``places`` lists, by scope and kind of layer, the
    module paths in the order of the counters. ``gate_factor`` is how many times
    the networks' hard sigmoid that of the scheme's code is.
    """

    name: str
    pattern: str
    variables: Mapping[tuple[str, str], tuple[str, str]]
    places: Callable[[NetworkLayers], dict[tuple[str, str], list[str]]]
    gate_factor: float = 1.0

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern, compiled once."""
        return re.compile(self.pattern)

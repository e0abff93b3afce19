"""The plan: which source tensor fills which key, and what is left out. Pure data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from porting.errors import MappingError
from porting.mapping.layouts import VECTORS, changed_shape
from porting.sources.source import Source

CONSTANTS = {
    "ones": "1 everywhere",
    "zeros": "0 everywhere",
    "unit variance": "1 - epsilon, so that epsilon added to it gives 1",
    "normalisation's mean": "the mean of pixels 0..255 that the source's graph takes off",
    "normalisation's deviation": "what the source's graph divides by then",
    "as built": "what the module was built with: a buffer that no source has",
    "measured mean": "a convolution's mean on the calibration's images",
    "measured variance": "a convolution's variance on the calibration's images",
    "measured deviation": "the square root of the measured variance and epsilon",
}
"""What fills a key that no source tensor fills, by name."""

_CONSTANT_BY_ENDING = {
    "running_mean": "measured mean",
    "running_var": "measured variance",
    "weight": "measured deviation",
}


@dataclass(frozen=True)
class Fill:
    """One state-dict key and the source of its values.

    Either ``source`` names a tensor, changed by ``layout``, or ``constant`` is
    a name of :data:`CONSTANTS`. ``first_row`` counts the rows left off at the
    start: 1 where the background class is dropped. Values are multiplied by
    ``factor``: slim's hard sigmoid is relu6(x + 3) * 0.16667, the networks' is
    relu6(x + 3) / 6, and the projection behind it takes the difference in.
    ``offset`` is added to them: -3 where a converter has put that gate's 3
    into the bias. ``added`` is ``"measured mean"`` for the bias of a calibrated
    batch norm, which puts back the mean that it takes out. ``subtracted`` names a source tensor
    that is taken off: from a batch norm's mean the bias before it.
    """

    target: str
    source: str | None = None
    layout: str | None = None
    constant: str | None = None
    first_row: int = 0
    factor: float = 1.0
    offset: float = 0.0
    added: str | None = None
    subtracted: str | None = None

    @property
    def measured(self) -> bool:
        """Whether the values come, at least in part, from a calibration's images."""
        return self.added is not None or self.constant in _CONSTANT_BY_ENDING.values()


@dataclass(frozen=True)
class LeftOut:
    """A source tensor that fills nothing, and the rule that says so."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """How one source becomes one network's state dict.

    ``naming`` is the rule set or ``"graph"``; ``weight_set`` is one of the
    source's weight sets. ``notes`` say what a reader of the plan must know:
    where it is not all of the weight set that it names.
    """

    model: str
    naming: str
    weight_set: str
    fills: tuple[Fill, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()

    def noted(self, note: str) -> Plan:
        """The plan with another note."""
        return replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """Plain data for the release file; absent parts of a fill are left off."""
        data = asdict(self)
        data["fills"] = [
            {key: value for key, value in fill.items() if value not in (None, 0, 1.0)}
            for fill in data["fills"]
        ]
        return data


def identity_norms(plan: Plan) -> tuple[str, ...]:
    """Paths of the batch norms that become identities because the source has them folded."""
    end = ".running_var"
    return tuple(
        fill.target.removesuffix(end)
        for fill in plan.fills
        if fill.target.endswith(end) and fill.constant == "unit variance"
    )


def calibrated_plan(plan: Plan, norms: Collection[str]) -> Plan:
    """The plan with measured statistics in these batch norms, and the mean in their biases."""
    fills = []
    for fill in plan.fills:
        path, _, name = fill.target.rpartition(".")
        constant = _CONSTANT_BY_ENDING.get(name)
        if path in norms and name == "bias":
            fills.append(replace(fill, added="measured mean"))
        elif path in norms and constant is not None:
            fills.append(Fill(fill.target, constant=constant))
        else:
            fills.append(fill)
    return replace(plan, fills=tuple(fills))


def check_total(plan: Plan, source: Source, keys: Mapping[str, tuple[int, ...]]) -> None:
    """Every key filled once, every tensor used once or left out, shapes equal.

    Raises:
        MappingError: with every problem in one message.
    """
    targets = Counter(fill.target for fill in plan.fills)
    problems = [f"nothing in the source fills {key}" for key in keys if key not in targets]
    problems += [f"{key} is filled {n} times" for key, n in targets.items() if n > 1]
    problems += [f"{key} is not a key of the network" for key in targets if key not in keys]
    uses = Counter(fill.source for fill in plan.fills if fill.source is not None)
    uses.update(fill.subtracted for fill in plan.fills if fill.subtracted is not None)
    uses.update(entry.source for entry in plan.left_out)
    problems += [
        f"extra tensor {name} {info.shape} in the source"
        for name, info in source.tensors.items()
        if name not in uses
    ]
    # Converters keep constants that are equal once: one vector may be the bias of many layers.
    vectors = {fill.source for fill in plan.fills if fill.layout in VECTORS}
    problems += [
        f"tensor {name} is used {n} times"
        for name, n in uses.items()
        if n > 1 and name not in vectors
    ]
    problems += [
        f"missing tensor {name} in the source" for name in uses if name not in source.tensors
    ]
    for fill in plan.fills:
        if fill.source is None or fill.layout is None:
            continue
        if fill.source not in source.tensors or fill.target not in keys:
            continue
        stored_shape = source.tensors[fill.source].shape
        shape = changed_shape(stored_shape, fill.layout)
        if shape is not None and fill.first_row:
            shape = (shape[0] - fill.first_row, *shape[1:])
        if shape != keys[fill.target]:
            problems.append(
                f"{fill.source} {stored_shape} as {fill.layout!r} gives {shape}, "
                f"{fill.target} is {keys[fill.target]}"
            )
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise MappingError(
            f"{source.path}: does not fit {plan.model}, {count}:\n  " + "\n  ".join(problems)
        )

"""Carry out a plan: read source tensors into a state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, BadSource
from porting.graph.layers import layers_of
from porting.mapping.layouts import change
from porting.mapping.plan import Fill, Plan
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
    return _state_dict(planned_values(plan, source, config, mean, deviation))


def carry_out_onto(
    plan: Plan, source: Source, module: nn.Module, epsilons: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """The same for a user-defined module, in the order of its state dict.

    ``epsilons`` gives the batch-norm epsilon by the key of the running variance.

    Raises:
        BadSource: a tensor's bytes are damaged, or its values are not finite.
    """
    initial = module.state_dict()
    state = _state_dict(planned_values_onto(plan, source, module, epsilons))
    return {key: state[key] if key in state else initial[key].clone() for key in initial}


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
    """What a plan for a module gives; the arguments are those of :func:`carry_out_onto`."""
    shapes = {key: tuple(values.shape) for key, values in module.state_dict().items()}
    return PlannedValues(plan, source, shapes, epsilons.__getitem__, {})


def _state_dict(values: PlannedValues) -> dict[str, torch.Tensor]:
    import torch

    return {key: torch.from_numpy(values.read(key)) for key in values.fills}


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

"""The plan carried out: source tensors into a state dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, BadSource
from porting.mapping.layers import layers_of
from porting.mapping.layouts import change
from porting.mapping.plan import Fill, Plan
from porting.sources.source import Source

if TYPE_CHECKING:
    import torch


def carry_out(plan: Plan, source: Source, config: NetworkConfig) -> dict[str, torch.Tensor]:
    """Read every tensor of a plan into a state dict, in the network's own order.

    Weights are float32 whatever the source stores.

    Raises:
        BadInput: the plan is of a calibrated port, whose values are not all the source's.
        BadSource: a tensor's bytes are damaged, or its values are not finite.
    """
    import torch

    measured = [fill.target for fill in plan.fills if fill.measured]
    if measured:
        raise BadInput(
            f"{source.path}: {len(measured)} keys of the plan come from images, {measured[0]} "
            "first; carry out the plan that the source fits, and calibrate"
        )
    fills = {fill.target: fill for fill in plan.fills}
    keys = layers_of(config).shapes()
    state = {}
    for key, shape in keys.items():
        state[key] = torch.from_numpy(_values(fills[key], shape, source, config))
    return state


def _values(
    fill: Fill, shape: tuple[int, ...], source: Source, config: NetworkConfig
) -> np.ndarray:
    if fill.constant is not None:
        return _constant(fill, shape, config)
    assert fill.source is not None and fill.layout is not None  # checked by check_total
    stored = source.read(fill.source)
    values = change(stored, fill.layout)[fill.first_row :]
    # A copy of its own: the source's pages are read-only, and the port outlives the file.
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        if fill.factor != 1 or fill.offset:
            values = values * fill.factor + fill.offset
        values = np.array(values, np.float32, order="C")
    if not np.isfinite(values).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
        raise BadSource(
            f"{source.path}: {fill.source} holds {values[place]} at {fill.target}"
            f"{[int(i) for i in place]}; weights must be finite"
        )
    return values


def _constant(fill: Fill, shape: tuple[int, ...], config: NetworkConfig) -> np.ndarray:
    if fill.target.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = {
        "ones": 1.0,
        "zeros": 0.0,
        # float32(1 - epsilon) + epsilon rounds to 1, so the batch norm is an exact identity.
        "unit variance": 1.0 - config.bn_epsilon,
    }
    return np.full(shape, values[str(fill.constant)], np.float32)

"""Checkpoints of networks, with random weights, made byte by byte under Google's names.

The names come from the reference's naming (written from the order of
construction in Google's code), the shapes from the network's own state dict.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genmobilenet import create_model, get_config
from parity_tests.building.tables import write_checkpoint
from porting.judges.reference.graphs import layer_scopes

_VARIABLES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
              "running_var": "moving_variance"}  # fmt: skip


def variables(model: str, scheme: str, root: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Google's variables of a network with random values, by full name."""
    generator = np.random.default_rng(seed)
    named = variables_of(create_model(model).state_dict(), model, scheme, root)
    return {
        name: generator.standard_normal(values.shape).astype(np.float32)
        for name, values in named.items()
    }


def variables_of(state: dict, model: str, scheme: str, root: str) -> dict[str, np.ndarray]:
    """A network's state dict as Google's variables, by full name."""
    scopes = layer_scopes(get_config(model), scheme)
    made = {}
    for key, tensor in state.items():
        path, _, kind = key.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        values, name = tensor.numpy(), kind
        if path.rsplit(".", 1)[-1].startswith("bn"):
            name = _VARIABLES[kind]
        elif kind == "weight":
            depthwise = path.endswith("conv_dw")
            name = "depthwise_kernel" if depthwise else "kernel"
            # OIHW -> HWIO (depthwise: HWOI), OI -> IO.
            axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
            values = values.transpose(axes) if values.ndim == 4 else values.T
        made[f"{root}/{scopes[path]}/{name}"] = np.ascontiguousarray(values)
    return made


def with_averages(raw: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """The same variables with different moving averages, optimizer slots and a step."""
    generator = np.random.default_rng(seed)
    made = dict(raw)
    for name, values in raw.items():
        noise = generator.standard_normal(values.shape).astype(np.float32)
        made[f"{name}/ExponentialMovingAverage"] = values + noise
        made[f"{name}/RMSProp"] = noise
    made["global_step"] = np.asarray(5, np.int64)
    return made


def write_network(
    prefix: Path, model: str, scheme: str = "keras", root: str = "mnasnet"
) -> dict[str, np.ndarray]:
    """Write a network's checkpoint with averages, and return its tensors."""
    made = with_averages(variables(model, scheme, root))
    write_checkpoint(prefix, made)
    return made

"""Checking that each activation and gate computes the function that the source declares.

ReLU6 for ReLU shows only where a value exceeds 6, which depends on the images. So every
activation module of the network is also given a ladder of values far beyond that, and
must return what TensorFlow's definition of the declared function does. What is declared
comes from the source: a TFLite graph was matched with the network's layers operator by
operator, a checkpoint's judge is built from the same description.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from porting.graph.layers import NetworkLayers
from porting.parity.noise import FACTOR, floor
from porting.parity.port_runner import inference_copy

LADDER = np.arange(-16, 16.125, 0.125, dtype=np.float32)
"""Exact in float32, beyond every bend of the functions below on both sides."""

DECLARED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
}
"""tf.nn.relu, relu6 and sigmoid; the hard ones as slim's ``mobilenet_v3.py`` has them."""


def wrong_activations(model: nn.Module, layers: NetworkLayers) -> dict[str, str]:
    """By tap, what is wrong with activations and gates that compute another function."""
    functions = {layer.tap: layer.activation for layer in layers if layer.activation != "none"}
    for block in layers.blocks:
        if block.squeeze:
            functions[f"{block.block.path}.se.gate"] = layers.gate
    complaints = {
        tap: _complaint(model.get_submodule(tap), name, DECLARED[name])
        for tap, name in functions.items()
    }
    return {tap: complaint for tap, complaint in complaints.items() if complaint is not None}


def _complaint(
    module: nn.Module, name: str, definition: Callable[[np.ndarray], np.ndarray]
) -> str | None:
    with torch.inference_mode():
        # (1, 1, n, 1), as the module may look at axes; a copy, as it may overwrite.
        ladder = torch.from_numpy(LADDER.copy()).reshape(1, 1, -1, 1)
        result = inference_copy(module).float()(ladder).numpy().ravel()
    expected = definition(LADDER)
    distances = np.abs(result - expected)
    # Written so that NaN counts as wrong.
    if distances.max() <= FACTOR * floor(float(LADDER.max())):
        return None
    place = int(np.argmax(distances))
    return (
        f"computes another function than the source's {name}: {result[place]:.3g} for "
        f"{LADDER[place]:.3g}, where that gives {expected[place]:.3g}"
    )

"""Seeded weights under which a network behaves like a trained one.

Kernels are drawn at random; batch-norm statistics are then *settled*: set to
what really goes into each batch norm on seeded images, so that activations
keep their scale through the depth and no error can hide in a vanished signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.judges.reference.reference_graph import build_reference
from porting.judges.tensorflow import import_tensorflow

SETTLING_IMAGES = 8
ADDED = ("beta", "bias", "biases")
"""Last parts of the names of what is added and not multiplied."""

_LEAST_VARIANCE = 0.01
"""Over the mean of its layer: keeps a channel that is all but constant from being blown up."""


@dataclass(frozen=True)
class Weights:
    """Both weight sets, by full variable name."""

    raw: dict[str, np.ndarray]
    ema: dict[str, np.ndarray]


def seeded_weights(config: NetworkConfig, scheme: str, root: str, seed: int) -> Weights:
    """Draw and settle both sets; the averages lie a few per cent beside the raw weights."""
    tf = import_tensorflow()
    generator = np.random.default_rng(seed)
    reference = build_reference(config, scheme, root, settle=True)
    raw = {
        name: _random_values(name, tuple(variable.shape.as_list()), generator)
        for name, variable in reference.variables.items()
    }
    ema = {name: _near_copy(name, array, generator) for name, array in raw.items()}
    images = _images(config, generator)
    with tf.compat.v1.Session(graph=reference.graph) as session:
        for weights in (raw, ema):
            load_weights(session, reference.variables, weights)
            moments = session.run(reference.moments, {reference.image: images})
            for norm, (mean, variance) in moments.items():
                weights[f"{norm}/moving_mean"] = mean
                least = _LEAST_VARIANCE * variance.mean()
                weights[f"{norm}/moving_variance"] = np.maximum(variance, least)
    return Weights(raw, ema)


def load_weights(
    session: Any, variables: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> None:
    """Give TensorFlow's variables their values, by name.

    In one run, since TensorFlow prunes the graph anew for what each run asks of it:
    ``Variable.load``, a run each, takes seconds for a few hundred variables.
    """
    feed = {variable.initializer.inputs[1]: weights[name] for name, variable in variables.items()}
    session.run([variable.initializer for variable in variables.values()], feed)


def _random_values(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    kind = name.rsplit("/", 1)[-1]
    if kind == "gamma":
        values = generator.uniform(0.5, 1.5, shape)
    elif kind in ADDED:
        values = 0.3 * generator.standard_normal(shape)
    elif kind in ("moving_mean", "moving_variance"):
        values = np.zeros(shape)  # settled below
    else:
        # He et al., arXiv:1502.01852: variance 2 over the fan-in (HWIO, or IO).
        inputs = 1 if kind.startswith("depthwise") else shape[-2]
        fan_in = inputs * int(np.prod(shape[:-2]))
        values = generator.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    return values.astype(np.float32)


def _near_copy(name: str, array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    change = 0.05 * generator.standard_normal(array.shape)
    additive = name.rsplit("/", 1)[-1] in ADDED
    return (array + change if additive else array * (1 + change)).astype(np.float32)


def _images(config: NetworkConfig, generator: np.random.Generator) -> np.ndarray:
    """Normalised images (N, H, W, C): coarse structure with noise over it."""
    size, channels = config.input_size, config.in_chans
    cells = 8
    coarse = generator.standard_normal((SETTLING_IMAGES, cells, cells, channels))
    place = np.arange(size) * cells // size
    noise = generator.standard_normal((SETTLING_IMAGES, size, size, channels))
    return (coarse[:, place][:, :, place] + 0.5 * noise).astype(np.float32)

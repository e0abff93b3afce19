"""What Keras calls each tap: a model's steps matched with a network's, in the order of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from porting.errors import MappingError
from porting.graph.layers import BlockLayers, Layer, NetworkLayers
from porting.mapping.normalisation import NORMALISING

_PASSING = ("InputLayer", "Rescaling", "Normalization", "ZeroPadding2D", "Dropout", "Flatten",
            "Reshape")  # fmt: skip
"""Steps that hand values on as they are, or that the port's input has behind it."""

_CONVOLUTIONS = {
    "conv": ("Conv2D",),
    "depthwise": ("DepthwiseConv2D",),
    "dense": ("Dense", "Conv2D"),
}
_ACTIVATIONS = ("ReLU", "Activation")
_MEANS = ("GlobalAveragePooling2D",)

Expected = tuple[str, tuple[str, ...]]
"""A tap, or none for a step that the port has no part for, and the classes that give it."""


class Step(Protocol):
    """One layer or operation of a model: its name, its class, and its activation's name."""

    @property
    def name(self) -> str:
        """The name by which the judge knows it."""

    @property
    def kind(self) -> str:
        """The name of its class."""

    @property
    def activation(self) -> str:
        """The activation inside it, empty for none."""


def keras_taps(flow: Iterable[Step], layers: NetworkLayers) -> dict[str, str]:
    """Module path in the network -> the step that gives the same values.

    Raises:
        MappingError: at the first step that is not what the network has there.
    """
    steps = [step for step in flow if step.kind not in _PASSING]
    expected = list(_network(layers))
    found: dict[str, str] = {}
    for place, (tap, kinds) in enumerate(expected):
        if place == len(steps) and tap == "softmax":
            return found
        step = steps[place] if place < len(steps) else None
        if step is None or step.kind not in kinds:
            there = "the end" if step is None else f"{step.name} ({step.kind})"
            wanted = f"{tap or 'a part of a gate'} ({' or '.join(kinds)})"
            raise MappingError(
                f"model and network differ after {place} steps in agreement:\n"
                f"  model:   {there}\n  network: {wanted}"
            )
        if tap:
            found[tap] = step.name
    if len(steps) > len(expected):
        extra = steps[len(expected)]
        raise MappingError(f"the model goes on behind the network: {extra.name} ({extra.kind})")
    return found


def last_normalising(flow: Iterable[Step]) -> str | None:
    """The step that gives what the first convolution takes, if one normalises before that."""
    last = None
    for step in flow:
        if step.kind in _CONVOLUTIONS["conv"]:
            break
        if step.kind in NORMALISING:
            last = step.name
    return last


def _network(layers: NetworkLayers) -> Iterator[Expected]:
    yield from _layer(layers.stem)
    for block in layers.blocks:
        yield from _block(block, layers.gate)
    if layers.head is not None and not layers.pools_first:
        yield from _layer(layers.head)
    yield "global_pool", _MEANS
    if layers.head is not None and layers.pools_first:
        yield from _layer(layers.head)
    yield from _layer(layers.classifier)
    yield "softmax", ("Activation", "Softmax")


def _layer(layer: Layer) -> Iterator[Expected]:
    yield layer.path, _CONVOLUTIONS[layer.kind]
    if layer.norm is not None:
        yield layer.norm, ("BatchNormalization",)
    if layer.activation != "none":
        yield layer.tap, _ACTIVATIONS


def _block(block: BlockLayers, gate: str) -> Iterator[Expected]:
    path = block.block.path
    for role, layer in block.main.items():
        if role == "project" and block.squeeze:
            yield from _squeeze(block, f"{path}.se", gate)
        yield from _layer(layer)
    if block.block.residual:
        yield path, ("Add",)


def _squeeze(block: BlockLayers, path: str, gate: str) -> Iterator[Expected]:
    yield f"{path}.pool", _MEANS
    for layer in block.squeeze:
        yield from _layer(layer)
    if gate == "hard_sigmoid":
        # relu6(x + 3) * (1 / 6), a step each.
        yield "", ("Add",)
        yield "", _ACTIVATIONS
        yield f"{path}.gate", ("Multiply",)
    else:
        yield f"{path}.gate", _ACTIVATIONS
    yield path, ("Multiply",)

"""Ways in which ports go wrong, each applied to a copy of a correct network.

A kind takes the network, a layer (or a block) of it, and a generator of random numbers; it
changes the network in place. What it is given is one of those that it applies to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from genmobilenet.layers import same_padding
from porting.graph.layers import BlockLayers, Layer, NetworkLayers

Change = Callable[[nn.Module, Layer, np.random.Generator], None]


@dataclass(frozen=True)
class LayerFault:
    """A fault in one layer: ``applies`` says to which; ``at`` is what of it shows the fault first.

    ``at`` is ``weight``, ``norm`` or ``activation``.
    """

    change: Change
    at: str = "weight"
    applies: Callable[[Layer], bool] = lambda layer: True


def weight_of(network: nn.Module, layer: Layer) -> torch.Tensor:
    return network.get_submodule(layer.path).weight


def _set_weight(weight: torch.Tensor, values: torch.Tensor) -> None:
    with torch.no_grad():
        weight.copy_(values)


def scale(factor: float) -> Change:
    def change(network, layer, _generator):
        _set_weight(weight_of(network, layer), weight_of(network, layer) * factor)

    return change


def exchange_channels(axis: int) -> Change:
    def change(network, layer, generator):
        weight = weight_of(network, layer)
        one, other = generator.choice(weight.shape[axis], 2, replace=False).tolist()
        order = list(range(weight.shape[axis]))
        order[one], order[other] = other, one
        _set_weight(weight, weight.index_select(axis, torch.tensor(order)).clone())

    return change


def transpose_kernel(network, layer, _generator):
    weight = weight_of(network, layer)
    _set_weight(weight, weight.transpose(2, 3).clone())


def flip_kernel(network, layer, _generator):
    weight = weight_of(network, layer)
    _set_weight(weight, weight.flip(2, 3).clone())


def negate_row(network, layer, generator):
    weight = weight_of(network, layer)
    row = int(generator.integers(len(weight)))
    values = weight.clone()
    values[row] *= -1
    _set_weight(weight, values)


def zero_weight(network, layer, generator):
    weight = weight_of(network, layer)
    row = int(generator.integers(len(weight)))
    values = weight.clone()
    values[row].view(-1)[int(values[row].abs().argmax())] = 0
    _set_weight(weight, values)


def round_to(dtype: torch.dtype) -> Change:
    def change(network, layer, _generator):
        weight = weight_of(network, layer)
        _set_weight(weight, weight.to(dtype).to(weight.dtype))

    return change


def _bias_of(network: nn.Module, layer: Layer) -> torch.Tensor:
    return network.get_submodule(layer.norm or layer.path).bias


def shift_bias(network, layer, generator):
    bias = _bias_of(network, layer)
    values = bias.clone()
    values[int(generator.integers(len(bias)))] += 0.01 * (float(bias.detach().abs().max()) or 1.0)
    _set_weight(bias, values)


def zero_bias(network, layer, _generator):
    _set_weight(_bias_of(network, layer), torch.zeros_like(_bias_of(network, layer)))


def epsilon(network, layer, _generator):
    network.get_submodule(layer.norm).eps = 1e-5


class _ShiftedPadding(nn.Module):
    """A convolution with the odd element of padding on the other side than SAME's."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = conv.weight, conv.bias, conv.groups
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]

    def forward(self, x):
        total = [same_padding(side, self.kernel, self.stride, 1) for side in x.shape[2:]]
        before = [t // 2 if t % 2 else t // 2 + 1 for t in total]
        before = [t - t // 2 if t % 2 else b for t, b in zip(total, before, strict=True)]
        after = [t - b for t, b in zip(total, before, strict=True)]
        x = F.pad(x, [before[1], max(after[1], 0), before[0], max(after[0], 0)])
        y = F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)
        sides = [-(-side // self.stride) for side in x.shape[2:]]
        return y[:, :, : sides[0], : sides[1]]


def pad_other_side(network, layer, _generator):
    parent, _, name = layer.path.rpartition(".")
    setattr(network.get_submodule(parent), name, _ShiftedPadding(network.get_submodule(layer.path)))


class _Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _replace(network: nn.Module, path: str, function: Callable[..., torch.Tensor]) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, _Function(function))


def activation(function: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(network, layer, _generator):
        _replace(network, layer.tap, function)

    return change


def activation_behind(function: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Apply one more function to the output of a layer."""

    def change(network, layer, _generator):
        inner = network.get_submodule(layer.tap)
        parent, _, name = layer.tap.rpartition(".")
        behind = nn.Sequential(inner, _Function(function))
        setattr(network.get_submodule(parent), name, behind)

    return change


def _has_kernel(layer: Layer) -> bool:
    return layer.kernel > 1


def _has_norm(layer: Layer) -> bool:
    return layer.norm is not None


def _is(name: str) -> Callable[[Layer], bool]:
    return lambda layer: layer.activation == name


def _has_inputs(layer: Layer) -> bool:
    return layer.kind != "depthwise"


LAYER_FAULTS = {
    "weight scaled by 1.05": LayerFault(scale(1.05)),
    "weight scaled by 1.0001": LayerFault(scale(1.0001)),
    "two output channels exchanged": LayerFault(exchange_channels(0)),
    "two input channels exchanged": LayerFault(exchange_channels(1), applies=_has_inputs),
    "kernel transposed": LayerFault(transpose_kernel, applies=_has_kernel),
    "kernel flipped": LayerFault(flip_kernel, applies=_has_kernel),
    "one channel's sign": LayerFault(negate_row),
    "one weight zeroed": LayerFault(zero_weight),
    "weight rounded to bfloat16": LayerFault(round_to(torch.bfloat16)),
    "weight rounded to float16": LayerFault(round_to(torch.float16)),
    "padding on the other side": LayerFault(pad_other_side, applies=_has_kernel),
    "one bias shifted": LayerFault(shift_bias, "norm"),
    "biases missing": LayerFault(zero_bias, "norm"),
    "epsilon 1e-5 in one batch norm": LayerFault(epsilon, "norm", _has_norm),
    "ReLU6 for ReLU": LayerFault(activation(F.relu6), "activation", _is("relu")),
    "ReLU for ReLU6": LayerFault(activation(F.relu), "activation", _is("relu6")),
    "ReLU6 for hard-swish": LayerFault(activation(F.relu6), "activation", _is("hard_swish")),
    "swish for hard-swish": LayerFault(activation(F.silu), "activation", _is("hard_swish")),
    "leaky ReLU for ReLU": LayerFault(
        activation(lambda x: F.leaky_relu(x, 1e-3)), "activation", _is("relu")
    ),
}
"""Faults in one layer, by name; the comparison must name the place."""


def _noisy(x: torch.Tensor) -> torch.Tensor:
    return x + 1e-2 * torch.randn_like(x)


UNSOUND = {
    "dropout that stays active": activation_behind(lambda x: F.dropout(x, 0.2, training=True)),
    "random noise": activation_behind(_noisy),
    "values rounded to bfloat16": activation_behind(lambda x: x.bfloat16().to(x.dtype)),
    "values rounded to float16": activation_behind(lambda x: x.half().to(x.dtype)),
}
"""Modules that no noise of their own can measure, by name; they must be refused."""


class Autocast(nn.Module):
    """A network that enables autocast in its own forward pass."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, x):
        with torch.autocast("cpu", dtype=self.dtype):
            return self.network(x).float()


def unclip_gate(network: nn.Module, block: BlockLayers) -> None:
    _replace(network, f"{block.block.path}.se.gate", lambda x: (x + 3) / 6)


def exchange_gate(network: nn.Module, block: BlockLayers) -> None:
    path = f"{block.block.path}.se.gate"
    sigmoid = isinstance(network.get_submodule(path), nn.Sigmoid)
    _replace(network, path, F.hardsigmoid if sigmoid else torch.sigmoid)


def open_gate(network: nn.Module, block: BlockLayers) -> None:
    _replace(network, f"{block.block.path}.se.gate", torch.ones_like)


GATE_FAULTS = {
    "hard sigmoid not clipped": unclip_gate,
    "sigmoid and hard sigmoid": exchange_gate,
    "gate always open": open_gate,
}
"""Faults in a squeeze-excite's gate, by name."""


def everywhere(change: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    def change_network(network: nn.Module) -> None:
        with torch.no_grad():
            for module in network.modules():
                change(module)

    return change_network


def _scale_all(factor: float) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.mul_(factor)

    return change


def _epsilon_all(change: Callable[[float], float]) -> Callable[[nn.Module], None]:
    def change_module(module: nn.Module) -> None:
        if isinstance(module, nn.BatchNorm2d):
            module.eps = change(module.eps)

    return change_module


SPREAD = {
    "all weights scaled by 1 + 1e-6": everywhere(_scale_all(1 + 1e-6)),
    "all weights scaled by 1 + 1e-5": everywhere(_scale_all(1 + 1e-5)),
    "epsilon off by 1e-6 everywhere": everywhere(_epsilon_all(lambda e: e + 1e-6)),
    "epsilon 1e-5 everywhere": everywhere(_epsilon_all(lambda _: 1e-5)),
}
"""Faults in the whole network, by name; there is no one place to name."""


def same_shape(layers: NetworkLayers, layer: Layer) -> Layer | None:
    """Another layer after this one, with a weight of the same shape."""
    behind = iter(layers)
    for other in behind:
        if other.path == layer.path:
            break
    return next((other for other in behind if other.weight_shape == layer.weight_shape), None)

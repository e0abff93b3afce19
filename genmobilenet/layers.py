"""Layers of which PyTorch has none alike: SAME padding, normalisation, shuffle, squeeze-excite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.nn import functional as F

from genmobilenet.arch import shares


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Total padding along one axis for TensorFlow's SAME, in elements.

    The output has ``ceil(size / stride)`` elements; of an odd total the extra
    element goes to the end. Source: the notes on padding at
    https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    # ``size`` occurs only modulo the stride, so that compilers see a constant at stride 1 and
    # a parity at stride 2.
    return max((kernel - 1) * dilation + 1 - stride + -size % stride, 0)


def has_open_size(input: Tensor) -> bool:
    """Whether a pass is recorded for inputs (N, C, H, W) of any height and width.

    ``torch.jit.trace`` and the ONNX exporter on top of it record for every size, ``torch.export``
    where a side is a symbol.
    """
    tracing = torch._C._get_tracing_state() is not None
    return tracing or not all(isinstance(side, int) for side in input.shape[2:])


def conv2d_padded_in_graph(conv: nn.Conv2d, input: Tensor) -> Tensor:
    """A SAME convolution whose padding is computed from the input's size, without a branch.

    What records a pass sees a branch taken once, for good: at a size of the other parity the
    recorded network would pad wrongly.
    """
    sides: list[int] = []
    for axis in (1, 0):
        extent = (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1
        # No less than 0 for a kernel that is at least as long as its stride, as all here are.
        total = extent - conv.stride[axis] + -input.shape[2 + axis] % conv.stride[axis]
        sides += [total // 2, total - total // 2]
    return F.conv2d(
        F.pad(input, sides), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups
    )


class Normalise(nn.Module):
    """Pixels to a network's input: ``(x - mean) / std``, per channel, (N, C, H, W).

    Both are buffers of shape (C,), so that the state dict has them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W)."""
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, NCHW in and out.

    For input side ``h`` and stride ``s`` the output side is ``ceil(h / s)``.
    The amount of padding depends on the input's size, and its odd element
    goes to the bottom and the right, so no fixed ``padding`` of ``nn.Conv2d``
    gives the same numbers at stride 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, in_channels, H, W)."""
        # A script computes the padding anew for each size; what only records does not. The compiler
        # knows the condition in this form alone.
        if not is_scripting():  # noqa: SIM102
            if has_open_size(input):
                return conv2d_padded_in_graph(self, input)
        high = same_padding(input.shape[2], self.kernel_size[0], self.stride[0], self.dilation[0])
        wide = same_padding(input.shape[3], self.kernel_size[1], self.stride[1], self.dilation[1])
        if high % 2 or wide % 2:
            before_h, before_w = high // 2, wide // 2
            input = F.pad(input, [before_w, wide - before_w, before_h, high - before_h])
            high = wide = 0
        # An even total is symmetric, and the convolution pads it without a copy.
        return F.conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            (high // 2, wide // 2),
            self.dilation,
            self.groups,
        )


def make_conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    padding: str = "symmetric",
) -> nn.Conv2d:
    """A convolution without bias, padded ``"same"`` or ``"symmetric"``."""
    if padding == "same" and kernel > 1:
        return Conv2dSame(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        padding=(kernel - 1) // 2,
        groups=groups,
        bias=False,
    )


class MixedConv2d(nn.ModuleDict):
    """Convolutions side by side, each of a share of the channels with a kernel of its own.

    Of ``depthwise`` ones each is as wide as its share, else in one group. Source: ``MixConv`` and
    ``GroupedConv2D`` in tensorflow/tpu ``models/official/mnasnet/mixnet/custom_layers.py``; Tan
    and Le, arXiv:1907.09595, figure 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernels: tuple[int, ...], stride: int = 1,
        padding: str = "symmetric", *, depthwise: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shares = shares(in_channels, len(kernels))
        outputs = shares(out_channels, len(kernels))
        for number, (kernel, width) in enumerate(zip(kernels, self.shares, strict=True)):
            groups = width if depthwise else 1
            self[str(number)] = make_conv(width, outputs[number], kernel, stride, groups, padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        parts = torch.split(x, self.shares, 1)
        # TorchScript unrolls this form of a loop over modules, and no other.
        return torch.cat([conv(parts[number]) for number, conv in enumerate(self.values())], 1)


def make_depthwise(
    channels: int, kernels: tuple[int, ...], stride: int, padding: str
) -> nn.Conv2d | MixedConv2d:
    """A depthwise convolution without bias, mixed where there are several kernels."""
    if len(kernels) > 1:
        return MixedConv2d(channels, channels, kernels, stride, padding, depthwise=True)
    return make_conv(channels, channels, kernels[0], stride, channels, padding)


def make_pointwise(
    in_channels: int, out_channels: int, kernels: tuple[int, ...], groups: int = 1
) -> nn.Conv2d | MixedConv2d:
    """A 1x1 convolution without bias, in shares of the channels where there are several kernels."""
    if len(kernels) > 1:
        return MixedConv2d(in_channels, out_channels, kernels, depthwise=False)
    return make_conv(in_channels, out_channels, 1, groups=groups)


class ChannelShuffle(nn.Module):
    """Distribute the channels of each group over all groups.

    Source: Zhang et al., "ShuffleNet", arXiv:1707.01083, figure 1.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        n, c, h, w = x.shape
        # (N, groups, C / groups, H, W), groups and members exchanged.
        x = x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2)
        return x.reshape(n, c, h, w)


class SpatialMean(nn.Module):
    """Mean over height and width, kept as axes of 1: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        return x.mean((2, 3), keepdim=True)


class FlattenChannelsLast(nn.Module):
    """All values of an image in a row, in TensorFlow's order: (N, C, H, W) -> (N, H * W * C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, H * W * C)."""
        return x.permute(0, 2, 3, 1).flatten(1)


POOLS: dict[str, Callable[[], nn.Module]] = {
    "mean": lambda: nn.AdaptiveAvgPool2d(1),
    "max": lambda: nn.AdaptiveMaxPool2d(1),
}
"""What reduces height and width to one place, by its name in the configuration."""

FLATTENS: dict[str, Callable[[], nn.Module]] = {
    "flatten": FlattenChannelsLast,
    "none": nn.Identity,
}
"""How images become vectors where they are not pooled, by the same names."""


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the spatial mean.

    Mean over H and W, 1x1 convolution to ``squeeze`` channels, ``activation``, 1x1
    convolution back, ``gate``: ``"sigmoid"`` or ``"hard_sigmoid"``, which is
    relu6(x + 3) / 6. Sources: ``MnasBlock._call_se`` in tensorflow/tpu
    ``mnasnet_model.py``; ``squeeze_excite`` in slim ``conv_blocks.py``; Hu et
    al., arXiv:1709.01507.
    """

    def __init__(
        self, channels: int, squeeze: int, gate: str = "sigmoid", activation: str = "relu"
    ) -> None:
        super().__init__()
        self.pool = SpatialMean()
        self.conv_reduce = nn.Conv2d(channels, squeeze, 1)
        self.act1 = make_activation(activation)
        self.conv_expand = nn.Conv2d(squeeze, channels, 1)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        gate: Tensor = self.conv_expand(self.act1(self.conv_reduce(self.pool(x))))
        gate = self.gate(gate)
        return x * gate


GATES: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid}

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hard_swish": lambda: nn.Hardswish(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


def make_activation(name: str) -> nn.Module:
    """An activation by its name in :class:`~genmobilenet.config.NetworkConfig`."""
    return ACTIVATIONS[name]()


def norms_of(model: nn.Module) -> dict[str, str]:
    """Path of each convolution without a bias -> path of the batch norm after it, in order.

    The parts of a mixed convolution have one batch norm, and count as one convolution.
    """
    pairs: dict[str, str] = {}
    convolution = None
    for path, part in model.named_modules():
        if isinstance(part, MixedConv2d):
            convolution = path if part["0"].bias is None else None
        elif isinstance(part, nn.Conv2d) and part.bias is None:
            parent = path.rpartition(".")[0]
            convolution = parent if parent == convolution else path
        elif isinstance(part, nn.BatchNorm2d) and convolution is not None:
            pairs[convolution], convolution = path, None
    return pairs

"""SAME padding without a copy of what is padded, and batch norm in the convolution."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.layers import Conv2dSame, same_padding


class ResolvedConv(Conv2dSame):
    """A :class:`Conv2dSame` of dilation 1 that never copies its input to pad it.

    Where TensorFlow pads one row more at the bottom than at the top, a kernel with one more row
    of zeros at its top gives the same sums under even padding. That kernel, of ``resolved``, is
    kept for the size given to :meth:`resolve`; for another size it is made in each pass.
    ``state_dict`` has the kernel as it was.
    """

    resolved: Tensor

    def __init__(self, conv: Conv2dSame, weight: Tensor, bias: Tensor) -> None:
        kernel = conv.kernel_size[0], conv.kernel_size[1]
        stride = conv.stride[0], conv.stride[1]
        with torch.device("meta"):  # no weights are drawn
            super().__init__(conv.in_channels, conv.out_channels, kernel, stride, 1, conv.groups)
        self.weight, self.bias = frozen(weight), frozen(bias)
        self.odd = (0, 0)
        self.register_buffer("resolved", self.weight.detach(), persistent=False)

    def padding_of(self, height: int, width: int) -> tuple[int, int]:
        """Total padding of both axes, in elements, for an input of that size."""
        return (
            same_padding(height, self.kernel_size[0], self.stride[0], 1),
            same_padding(width, self.kernel_size[1], self.stride[1], 1),
        )

    def resolve(self, height: int, width: int) -> None:
        """Keep the kernel that inputs of that size need."""
        high, wide = self.padding_of(height, width)
        self.odd = high % 2, wide % 2
        self.resolved = enlarged(self.weight.detach(), *self.odd)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, in_channels, H, W)."""
        high, wide = self.padding_of(input.shape[2], input.shape[3])
        odd = high % 2, wide % 2
        weight = self.resolved if odd == self.odd else enlarged(self.weight, *odd)
        padding = high // 2 + odd[0], wide // 2 + odd[1]
        return F.conv2d(input, weight, self.bias, self.stride, padding, 1, self.groups)


def enlarged(weight: Tensor, rows: int, columns: int) -> Tensor:
    """A kernel (O, I, H, W) with that many rows of zeros at its top and columns at its left."""
    return F.pad(weight, (columns, 0, rows, 0)) if rows or columns else weight


def frozen(values: Tensor) -> nn.Parameter:
    """A parameter that is not trained."""
    return nn.Parameter(values, requires_grad=False)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with a bias that does what a convolution and its batch norm do.

    Computed in float64, so that folding costs one rounding a weight.
    """
    assert norm.running_mean is not None and norm.running_var is not None  # the caller looked
    mean, variance = _exact(norm.running_mean), _exact(norm.running_var)
    factor = _exact(norm.weight) / (variance + norm.eps).sqrt()
    weight = (_exact(conv.weight) * factor.reshape(-1, 1, 1, 1)).to(conv.weight)
    bias = (_exact(norm.bias) - mean * factor).to(conv.weight)
    if isinstance(conv, Conv2dSame) and conv.dilation == (1, 1):
        return ResolvedConv(conv, weight, bias)
    made = copy.deepcopy(conv)
    made.weight, made.bias = frozen(weight), frozen(bias)
    return made


def _exact(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)

"""The form of a network for exporters: folded batch norms, and SAME padding that they understand.

PyTorch has no convolution with TensorFlow's SAME padding, whose amount depends on the input's
size. ONNX has (``auto_pad="SAME_UPPER"``): for its exporter such a layer is one operator,
``genmobilenet::conv2d_same``, so that no arithmetic with sizes comes into the graph. For other
formats the padding is computed in the graph.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.deployment import fold
from genmobilenet.layers import Conv2dSame, norms_of, same_padding
from genmobilenet.network import GenMobileNet


@torch.library.custom_op("genmobilenet::conv2d_same", mutates_args=())
def conv2d_same(
    x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], dilation: list[int], groups: int
) -> Tensor:
    """A convolution (N, C, H, W) padded as TensorFlow's SAME."""
    amounts = [
        same_padding(x.shape[2 + axis], weight.shape[2 + axis], stride[axis], dilation[axis])
        for axis in (1, 0)
    ]
    sides = [side for total in amounts for side in (total // 2, total - total // 2)]
    return F.conv2d(F.pad(x, sides), weight, bias, stride, 0, dilation, groups)


@conv2d_same.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], dilation: list[int], groups: int
) -> Tensor:
    height, width = ((x.shape[2 + axis] + stride[axis] - 1) // stride[axis] for axis in (0, 1))
    return x.new_empty(x.shape[0], weight.shape[0], height, width)


class SameConvOperator(Conv2dSame):
    """A :class:`~genmobilenet.layers.Conv2dSame` that is one operator in an exported graph."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, in_channels, H, W)."""
        assert self.bias is not None  # made by folding
        result: Tensor = conv2d_same(
            input, self.weight, self.bias, list(self.stride), list(self.dilation), self.groups
        )
        return result


def exportable(model: GenMobileNet, same_as_operator: bool = False) -> GenMobileNet:
    """A copy of a network in evaluation mode with its batch norms folded, for exporters.

    ``same_as_operator`` makes each convolution with SAME padding a :class:`SameConvOperator`.
    """
    result = copy.deepcopy(model).eval().requires_grad_(False)
    for path, norm_path in norms_of(model).items():
        conv, norm = result.get_submodule(path), result.get_submodule(norm_path)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)  # by norms_of
        replacement = fold(conv, norm)
        if isinstance(conv, Conv2dSame):
            kind = SameConvOperator if same_as_operator else Conv2dSame
            with torch.device("meta"):  # no weights are drawn
                same = kind(
                    conv.in_channels, conv.out_channels, _pair(conv.kernel_size),
                    _pair(conv.stride), _pair(conv.dilation), conv.groups,
                )  # fmt: skip
            same.weight, same.bias = replacement.weight, replacement.bias
            replacement = same
        result.set_submodule(path, replacement)
        result.set_submodule(norm_path, nn.Identity())
    return result.eval()


def _pair(sides: tuple[int, ...]) -> tuple[int, int]:
    height, width = sides
    return height, width

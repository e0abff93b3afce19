"""The port's arithmetic in another order throughout: a second draw of what float32 costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from porting.parity.summation_order import pair


class Reordered(TorchFunctionMode):
    """Convolutions whose terms are added backwards, batch norm centred first.

    The same functions in exact arithmetic. Convolutions of single places are
    left to :class:`~porting.parity.summation_order.SumsOneByOne`.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, in another order where one is known."""
        if func is torch.conv2d and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            if groups == 1 and x.shape[2:] != (1, 1):
                flipped = x.flip(1), weight.flip(1)
                return _with_bias(func(*flipped, None, stride, padding, dilation, 1), bias)
            plain = pair(dilation) == (1, 1) and not isinstance(padding, str)
            if groups == len(weight) == x.shape[1] and plain:
                return _with_bias(_turned(x, weight, pair(stride), pair(padding)), bias)
        if func is F.batch_norm and len(args) == 3 and kwargs and not kwargs["training"]:
            return _normalised(*args, kwargs["weight"], kwargs["bias"], kwargs["eps"])
        return func(*args, **(kwargs or {}))


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.reshape(1, -1, 1, 1)


def _turned(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """(N, C, H, W) by one kernel (C, 1, k, l) a channel, all turned by half a turn and back."""
    x = F.pad(x, [padding[1], padding[1], padding[0], padding[0]])
    rows, columns = weight.shape[2:]
    # Only what the kernel reaches: else it would start elsewhere from the other end.
    high = (x.shape[2] - rows) // stride[0] * stride[0] + rows
    wide = (x.shape[3] - columns) // stride[1] * stride[1] + columns
    x = x[:, :, :high, :wide].flip(2, 3)
    return torch.conv2d(x, weight.flip(2, 3), None, stride, 0, 1, len(weight)).flip(2, 3)


def _normalised(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None,
    epsilon: float,
) -> Tensor:  # fmt: skip
    """(N, C, ...) with the running statistics (C,), as TensorFlow's FusedBatchNorm does it."""
    axes = [1, -1] + [1] * (x.ndim - 2)
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if weight is None else factor * weight
    centred = (x - mean.reshape(axes)) * factor.reshape(axes)
    return centred if bias is None else centred + bias.reshape(axes)

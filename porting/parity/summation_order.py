"""PyTorch's sums added in other orders, to measure how much the order changes the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_MEANS = (torch.mean, Tensor.mean, F.adaptive_avg_pool2d, F.avg_pool2d)


class SequentialSums(TorchFunctionMode):
    """Long sums for single places, added term by term as TensorFlow's kernels add them.

    PyTorch adds in a tree of partial sums, which rounds far less. Covers the
    mean over height and width, and convolutions and dense layers on what it
    leaves, (N, C, 1, 1) or (N, C).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, and sum anew where it summed for single places."""
        result = func(*args, **(kwargs or {}))
        if func in _MEANS and args[0].ndim == 4:
            if result.numel() == args[0].shape[0] * args[0].shape[1]:
                return _mean(args[0]).reshape(result.shape)
        elif func is F.linear and args[0].ndim == 2:
            return _dense(*args, **(kwargs or {}))
        elif func is torch.conv2d and _is_dense(args, result):
            x, weight, bias = args[:3]
            return _dense(x.flatten(1), weight.flatten(1), bias).reshape(result.shape)
        return result


def _is_dense(args: tuple[Any, ...], result: Tensor) -> bool:
    """Whether a convolution's kernel, input and output have one place each, in one group."""
    one = args[0].shape[2:] == args[1].shape[2:] == result.shape[2:] == (1, 1)
    return bool(one and args[0].shape[1] == args[1].shape[1])


def _mean(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C)."""
    # NumPy's running sum rounds at each step; PyTorch's is in float64.
    places = x.flatten(2).numpy()
    sums = places.cumsum(-1, dtype=places.dtype)[..., -1]
    return torch.from_numpy(sums / places.dtype.type(places.shape[-1]))


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, C) by a weight (O, C) -> (N, O)."""
    # (C, O), so that NumPy adds whole rows of outputs, one after another.
    factors = weight.numpy().T
    terms = (np.multiply(row[:, None], factors, order="C") for row in x.numpy())
    sums = np.stack([np.add.reduce(each, axis=0) for each in terms])
    return torch.from_numpy(sums if bias is None else sums + bias.numpy())


def pair(number: int | Sequence[int]) -> tuple[int, int]:
    """What PyTorch takes for height and width: one number for both, or one for each."""
    return (number, number) if isinstance(number, int) else (number[0], number[-1])


class DepthwiseByShifts(TorchFunctionMode):
    """Depthwise convolutions in float64 as a sum of shifted products.

    PyTorch convolves float64 a group at a time, which for these networks takes
    three quarters of the whole run; the sum has the same terms.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, or the sum where it is a depthwise convolution in float64."""
        if func is torch.conv2d and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            plain = pair(dilation) == (1, 1) and not isinstance(padding, str)
            if x.dtype == torch.float64 and groups == len(weight) == x.shape[1] and plain:
                return _depthwise_by_shifts(x, weight, bias, pair(stride), pair(padding))
        return func(*args, **(kwargs or {}))


def _depthwise_by_shifts(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """(N, C, H, W) by one kernel (k, l) a channel, weight (C, 1, k, l)."""
    x = F.pad(x, [padding[1], padding[1], padding[0], padding[0]])
    rows, columns = weight.shape[2:]
    high = (x.shape[2] - rows) // stride[0] * stride[0] + 1
    wide = (x.shape[3] - columns) // stride[1] * stride[1] + 1
    total = None
    for row in range(rows):
        for column in range(columns):
            part = x[:, :, row : row + high : stride[0], column : column + wide : stride[1]]
            factor = weight[:, 0, row, column].reshape(1, -1, 1, 1)
            total = part * factor if total is None else total.addcmul_(part, factor)
    assert total is not None  # a kernel has at least one element
    return total if bias is None else total + bias.reshape(1, -1, 1, 1)


class ReversedSums(TorchFunctionMode):
    """Convolutions whose terms are added backwards, batch norm centred first.

    The same functions in exact arithmetic. Convolutions of single places are
    left to :class:`SequentialSums`.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, in another order where one is known."""
        if func is torch.conv2d and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            if groups == 1 and x.shape[2:] != (1, 1):
                operands = x.flip(1), weight.flip(1)
                return _with_bias(func(*operands, None, stride, padding, dilation, 1), bias)
            plain = pair(dilation) == (1, 1) and not isinstance(padding, str)
            if groups == len(weight) == x.shape[1] and plain:
                return _with_bias(_reversed_depthwise(x, weight, pair(stride), pair(padding)), bias)
        if func is F.batch_norm and len(args) == 3 and kwargs and not kwargs["training"]:
            return _centred_batch_norm(*args, kwargs["weight"], kwargs["bias"], kwargs["eps"])
        return func(*args, **(kwargs or {}))


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.reshape(1, -1, 1, 1)


def _reversed_depthwise(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """(N, C, H, W) by one kernel (C, 1, k, l) a channel, all turned by half a turn and back."""
    x = F.pad(x, [padding[1], padding[1], padding[0], padding[0]])
    rows, columns = weight.shape[2:]
    # Only what the kernel reaches: else it would start elsewhere from the other end.
    high = (x.shape[2] - rows) // stride[0] * stride[0] + rows
    wide = (x.shape[3] - columns) // stride[1] * stride[1] + columns
    x = x[:, :, :high, :wide].flip(2, 3)
    return torch.conv2d(x, weight.flip(2, 3), None, stride, 0, 1, len(weight)).flip(2, 3)


def _centred_batch_norm(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None,
    epsilon: float,
) -> Tensor:  # fmt: skip
    """(N, C, ...) with the running statistics (C,), as TensorFlow's FusedBatchNorm does it."""
    axes = [1, -1] + [1] * (x.ndim - 2)
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if weight is None else factor * weight
    result = (x - mean.reshape(axes)) * factor.reshape(axes)
    return result if bias is None else result + bias.reshape(axes)

"""Running the PyTorch side with its taps seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from genmobilenet.layers import SpatialMean

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def run_network(
    model: nn.Module, inputs: np.ndarray, taps: Iterable[str], one_by_one: bool = False
) -> dict[str, np.ndarray]:
    """Run a network on inputs (N, H, W, C) and return what its modules gave.

    ``taps`` are module paths. Arrays are NHWC where the module's output has
    spatial axes, (N, C) where it has none, in the network's own precision.
    With ``one_by_one`` spatial means are summed place after place, as
    TensorFlow's kernels do, and not in PyTorch's tree of partial sums.
    """
    seen: dict[str, np.ndarray] = {}
    handles: list[RemovableHandle] = []
    if one_by_one:
        means = (m for m in model.modules() if isinstance(m, (SpatialMean, nn.AdaptiveAvgPool2d)))
        handles += [mean.register_forward_hook(_sum_one_by_one) for mean in means]
    for tap in taps:
        handles.append(model.get_submodule(tap).register_forward_hook(_recorder(tap, seen)))
    weight = next(model.parameters())
    # NHWC -> NCHW; the copy keeps hooks and in-place activations off the caller's array.
    data = torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)))
    try:
        with torch.inference_mode():
            model(data.to(weight.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _recorder(tap: str, seen: dict[str, np.ndarray]) -> Hook:
    def record(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # NCHW -> NHWC, as TensorFlow has it.
        seen[tap] = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()

    return record


def _sum_one_by_one(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    # (N, C, H * W). NumPy's running sum rounds at each step; PyTorch's accumulates in float64.
    places = inputs[0].flatten(2).numpy()
    sums = places.cumsum(-1, dtype=places.dtype)[..., -1]
    return torch.from_numpy(sums / places.dtype.type(places.shape[-1])).reshape(output.shape)

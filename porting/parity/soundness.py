"""Checking that a module's float32 noise can serve as a tolerance.

The tolerance of a tap is how far the port's own float32 runs lie from its float64 run. A module
that draws random numbers, or computes in half precision inside, has a noise of per cents of its
values: any judge would lie within it. Such a module cannot be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from porting.graph.layers import NORMALISES
from porting.parity.port_runner import PortRunner

_LOW_BITS = {16: "bfloat16", 13: "float16"}
"""Low bits of a float32 that are 0 where its value is one of a shorter type."""

_SAMPLE = 2048
"""Values of a tap, evenly spaced, that are looked at first."""

_ENOUGH = 16
"""Values that must all be such before chance is ruled out."""


class _AutocastWatch(TorchFunctionMode):
    """Records to which type autocast is switched while a module runs."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.is_autocast_enabled("cpu"):
            self.dtype = torch.get_autocast_dtype("cpu")
        return func(*args, **(kwargs or {}))


def unsoundness(runner: PortRunner, inputs: Tensor, first: Mapping[str, Tensor]) -> str | None:
    """Why a module cannot be judged, by a second run on the same inputs (N, C, H, W); else None.

    ``first`` is what the first one gave.
    """
    watch = _AutocastWatch()
    with watch:
        second = runner.run(inputs)
    if watch.dtype is not None:
        return (
            f"it switches autocast to {_dtype_name(watch.dtype)} on inside its forward, and so "
            "computes in half precision; switch it off for inference"
        )
    if runner.odd_types:
        tap, dtype = next(iter(runner.odd_types.items()))
        return f"{tap} gives {_dtype_name(dtype)} where float32 went in"
    for tap in first:
        if not torch.equal(first[tap].nan_to_num(), second[tap].nan_to_num()):
            return (
                f"it gives something else each time it is run on one input, in evaluation mode, "
                f"{tap} first; is there a dropout without self.training?"
            )
    return None


def reduced_precision(values: Mapping[str, Tensor], judge: Mapping[str, Tensor]) -> str | None:
    """Which tap of a module is the first rounded to float16 or bfloat16, in a clause; else None.

    What the judge's values show as well is no rounding: whole pixels, for one.
    """
    for tap, tensor in values.items():
        short = _shorter_type(tensor)
        if short is not None and tap != NORMALISES and _shorter_type(judge[tap]) is None:
            return f"all values of {tap} are rounded to {short}"
    return None


def _shorter_type(values: Tensor) -> str | None:
    """The shorter type to which all of some float32 values are rounded, None for none."""
    flat = values.flatten()
    # Some of them tell it where it is not so, which is nearly always.
    for step in (-(-flat.numel() // _SAMPLE), 1):
        some = flat[::step]
        # What an activation cuts off lies at the least or the largest value, which may be exact.
        inner = some[(some != 0) & (some != some.min()) & (some != some.max()) & some.isfinite()]
        if inner.numel() < _ENOUGH:
            continue
        bits = int(np.bitwise_or.reduce(inner.contiguous().numpy().view(np.int32)))
        name = next((n for low, n in _LOW_BITS.items() if not bits & ((1 << low) - 1)), None)
        if name is None or step == 1:
            return name
    return None


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

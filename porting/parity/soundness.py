"""Whether the noise of a module's own float32 can be a yardstick at all.

The tolerance of a tap is how far the port's own float32 runs lie from its float64 run. A module
that draws random numbers, or computes in half precision inside, has a noise of per cents of its
values: any judge would lie within it. Such a module cannot be judged. Nor is a module at parity
that takes an image's neighbours in a batch into account, or returns something else than the value
that was compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from porting.errors import BadInput
from porting.mapping.layers import NORMALISES
from porting.parity.names import CLASSIFIER, SOFTMAX
from porting.parity.noise import CEILING
from porting.parity.taps import OUTPUT, PortRunner

_LOW_BITS = {16: "bfloat16", 13: "float16"}
"""Low bits of a float32 that are 0 where its value is one of a shorter type."""

_SAMPLE = 2048
"""Values of a tap, evenly spaced, that are looked at first."""

_ENOUGH = 16
"""Values that must all be such before chance is ruled out."""


class _AutocastWatch(TorchFunctionMode):
    """Notes to which type autocast is switched while a module runs."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.is_autocast_enabled("cpu"):
            self.dtype = torch.get_autocast_dtype("cpu")
        return func(*args, **(kwargs or {}))


def unsound(runner: PortRunner, inputs: Tensor, first: Mapping[str, Tensor]) -> str | None:
    """Why a module cannot be judged, seen in a second run on the same inputs (N, C, H, W).

    ``first`` is what the first one gave.
    """
    watch = _AutocastWatch()
    with watch:
        second = runner.run(inputs)
    if watch.dtype is not None:
        return (
            f"it switches autocast to {_plain(watch.dtype)} on inside its forward, and so computes "
            "in half precision; switch it off for inference"
        )
    if runner.odd_types:
        tap, dtype = next(iter(runner.odd_types.items()))
        return f"{tap} gives {_plain(dtype)} where float32 went in"
    for tap in first:
        if not torch.equal(first[tap].nan_to_num(), second[tap].nan_to_num()):
            return (
                f"it gives something else each time it is run on one input, in evaluation mode, "
                f"{tap} first; is there a dropout without self.training?"
            )
    return None


def mixes_images(
    runner: PortRunner, inputs: Tensor, alone: Mapping[str, Tensor]
) -> str | None:  # fmt: skip
    """That what a module makes of an image depends on another in its batch, and where first.

    ``alone`` is what it gave in its last run, on the inputs by themselves. A module that takes no
    larger batch mixes nothing.
    """
    singly = _with_returned(runner, alone)
    low, high = float(inputs.min()), float(inputs.max())
    generator = torch.Generator().manual_seed(0)
    other = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype, device="cpu")
    try:
        values = runner.run(torch.cat([low + (high - low + 1) * other, inputs]))
    except BadInput:
        return None
    for tap, together in _with_returned(runner, values).items():
        own, expected = together[len(inputs) :], singly[tap]
        scale = float(expected.nan_to_num().abs().max())
        same = own.shape == expected.shape
        apart = float((own - expected).nan_to_num().abs().max()) if same else math.inf
        if apart > CEILING * scale:
            return (
                f"what it makes of an image depends on the others in its batch, {tap} first: "
                f"with one image beside it, it is off by {apart:.3g}"
            )
    return None


def _with_returned(runner: PortRunner, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The taps of a module's last run, and what it returned."""
    return {**values, **({} if runner.returned is None else {OUTPUT: runner.returned})}


def returns_another(
    runner: PortRunner, values: Mapping[str, Tensor], answer: str | None
) -> str | None:  # fmt: skip
    """That what a module returned in its last run is not the tap that was compared for it.

    ``values`` are its taps, ``answer`` the one that it returns; None for a network of this
    package, which returns the logits.
    """
    returned = runner.returned
    if answer is not None and answer not in values:
        return None  # then that tap has no counterpart, and counts as such
    place = answer or CLASSIFIER
    said = f"what it returns is not what {place} gives"
    if returned is None or returned.dtype != torch.float32:
        return f"{said}, but {'no tensor' if returned is None else _plain(returned.dtype)}"
    answers = {place: returned.flatten(1)}
    if answer is None and CLASSIFIER not in values:
        answers = {SOFTMAX: returned.flatten(1).softmax(-1)}
    elif answer is None and SOFTMAX in values:
        answers[SOFTMAX] = returned.flatten(1)
    same = (
        torch.equal(values[tap].flatten(1).nan_to_num(), expected.nan_to_num())
        for tap, expected in answers.items()
    )
    return None if any(same) else f"{said}: a hook or a forward of its own changes that"


def rounded_taps(values: Mapping[str, Tensor], judge: Mapping[str, Tensor]) -> str | None:
    """That a module rounds to a shorter type on its way, and where first, by the port's values.

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


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

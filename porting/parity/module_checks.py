"""What is checked of a port beside its taps.

The tolerance of a tap is how far the port's own float32 runs lie from its float64 run. A module
that draws random numbers, or computes in half precision inside, has a noise of per cents of its
values: any judge would lie within it. Such a module cannot be judged. Nor is a module at parity
that takes an image's neighbours in a batch into account, returns something else than the value
that was compared, or has an activation that only happens to agree on the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from porting.errors import BadInput
from porting.graph.layers import NORMALISES, NetworkLayers
from porting.graph.tap_names import CLASSIFIER, OUTPUT, SOFTMAX
from porting.parity.noise import CEILING, FACTOR, floor
from porting.parity.port_runner import PortRunner, inference_copy

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


def batch_dependence(
    runner: PortRunner, inputs: Tensor, values: Mapping[str, Tensor]
) -> str | None:  # fmt: skip
    """That a module's values for an image depend on the others in its batch, and the first tap.

    ``values`` are those of the last run, on ``inputs`` by themselves. None where there is no such
    tap, and for a module that takes no larger batch.
    """
    expected = _values_with_output(runner, values)
    low, high = float(inputs.min()), float(inputs.max())
    generator = torch.Generator().manual_seed(0)
    neighbour = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype, device="cpu")
    try:
        batch_values = runner.run(torch.cat([low + (high - low + 1) * neighbour, inputs]))
    except BadInput:
        return None
    for tap, tensor in _values_with_output(runner, batch_values).items():
        left, right = tensor[len(inputs) :], expected[tap]
        scale = float(right.nan_to_num().abs().max())
        difference = math.inf
        if left.shape == right.shape:
            difference = float((left - right).nan_to_num().abs().max())
        if difference > CEILING * scale:
            return (
                f"what it makes of an image depends on the others in its batch, {tap} first: "
                f"with one image beside it, it is off by {difference:.3g}"
            )
    return None


def _values_with_output(runner: PortRunner, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The taps of a module's last run, and what it returned."""
    return {**values, **({} if runner.output is None else {OUTPUT: runner.output})}


def output_mismatch(
    runner: PortRunner, values: Mapping[str, Tensor], output_tap: str | None
) -> str | None:  # fmt: skip
    """That a module returned something else in its last run than the tap compared for it.

    ``values`` are its taps, ``output_tap`` the one that it returns; None for a network of this
    package, which returns the logits.
    """
    output = runner.output
    if output_tap is not None and output_tap not in values:
        return None  # then that tap has no counterpart, and counts as such
    place = output_tap or CLASSIFIER
    start = f"what it returns is not what {place} gives"
    if output is None or output.dtype != torch.float32:
        return f"{start}, but {'no tensor' if output is None else _dtype_name(output.dtype)}"
    candidates = {place: output.flatten(1)}
    if output_tap is None and CLASSIFIER not in values:
        candidates = {SOFTMAX: output.flatten(1).softmax(-1)}
    elif output_tap is None and SOFTMAX in values:
        candidates[SOFTMAX] = output.flatten(1)
    matches = (
        torch.equal(values[tap].flatten(1).nan_to_num(), expected.nan_to_num())
        for tap, expected in candidates.items()
    )
    return None if any(matches) else f"{start}: a hook or a forward of its own changes that"


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


LADDER = np.arange(-16, 16.125, 0.125, dtype=np.float32)
"""Exact in float32, beyond every bend of the functions below on both sides."""

DECLARED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
}
"""tf.nn.relu, relu6, silu, tanh and sigmoid; the hard ones as in slim's ``mobilenet_v3.py``."""


def wrong_activations(model: nn.Module, layers: NetworkLayers) -> dict[str, str]:
    """By tap, what is wrong with activations and gates that compute another function.

    ReLU6 for ReLU shows only where a value exceeds 6, which depends on the images. So every
    activation module of the network is also given a ladder of values far beyond that, and must
    return what TensorFlow's definition of the declared function does. What is declared comes from
    the source: a TFLite graph was matched with the network's layers operator by operator, a
    checkpoint's judge is built from the same description.
    """
    functions = {layer.tap: layer.activation for layer in layers if layer.activation != "none"}
    for block in layers.blocks:
        if block.squeeze:
            functions[f"{block.block.path}.se.gate"] = layers.gate
    complaints = {
        tap: _complaint(model.get_submodule(tap), name, DECLARED[name])
        for tap, name in functions.items()
    }
    return {tap: complaint for tap, complaint in complaints.items() if complaint is not None}


def _complaint(
    module: nn.Module, name: str, definition: Callable[[np.ndarray], np.ndarray]
) -> str | None:
    with torch.inference_mode():
        # (1, 1, n, 1), as the module may look at axes; a copy, as it may overwrite.
        ladder = torch.from_numpy(LADDER.copy()).reshape(1, 1, -1, 1)
        result = inference_copy(module).float()(ladder).numpy().ravel()
    expected = definition(LADDER)
    distances = np.abs(result - expected)
    # Written so that NaN counts as wrong.
    if distances.max() <= FACTOR * floor(float(LADDER.max())):
        return None
    place = int(np.argmax(distances))
    return (
        f"computes another function than the source's {name}: {result[place]:.3g} for "
        f"{LADDER[place]:.3g}, where that gives {expected[place]:.3g}"
    )

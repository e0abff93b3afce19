"""Matching a judge's taps with the values of a user-defined module, by shape, order and values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from porting.errors import BadInput
from porting.graph.tap_names import CLASSIFIER, INPUT_OF, OUTPUT, SOFTMAX, call_name
from porting.parity.port_runner import (
    as_port,
    forward_errors_as_bad_input,
    inference_copy,
    output_tensor,
)

_ELEMENTS = 4096  # of a tap, evenly spaced, on which similarity is judged
_ANY_SHAPE_MATCH = 0.01  # what two values of one shape are worth if nothing else speaks for them
_ALIKE, _UNLIKE = 0.999, 0.9


@dataclass(frozen=True)
class TapMatching:
    """Which value of a module stands for which of the judge's taps.

    ``taps`` gives, by the judge's tap, the module's; ``unmatched`` have no counterpart.

    ``logits`` is the module's tap from which a softmax is to be computed, None
    where it has one itself. ``output_tap`` is the tap of what the module returns.
    """

    taps: dict[str, str]
    unmatched: tuple[str, ...]
    logits: str | None = None
    output_tap: str | None = None

    def with_softmax(self) -> TapMatching:
        """The same for a module that ends at its logits: the softmax is computed from them."""
        logits = self.taps.get(CLASSIFIER)
        if SOFTMAX not in self.unmatched or logits is None or SOFTMAX in self.taps.values():
            return self
        rest = tuple(tap for tap in self.unmatched if tap != SOFTMAX)
        return replace(self, taps={**self.taps, SOFTMAX: SOFTMAX}, unmatched=rest, logits=logits)


def match_taps(network: nn.Module, inputs: Tensor, judge: Mapping[str, np.ndarray]) -> TapMatching:
    """Match a judge's taps with a module's values, in order, by shape and similarity.

    ``inputs`` are (1, C, H, W), ``judge`` holds what it gave on them in order
    of depth, NHWC. A module's values are the outputs of all its parts, and
    what flows into them, which shows what was computed without a part of its
    own. Of all matchings in order, the one of the greatest similarity is taken.
    """
    values, output_tap = record_values(network, inputs)
    candidates = list(values)
    worth = np.zeros((len(judge), len(candidates)))
    for row, array in enumerate(judge.values()):
        for column, name in enumerate(candidates):
            worth[row, column] = _similarity(array, values[name])
    _match_output_last(worth, candidates.index(output_tap), list(judge))
    pairs = _without_implausible(_best_ordered_pairs(worth), worth)
    taps = {tap: candidates[pairs[row]] for row, tap in enumerate(judge) if row in pairs}
    unmatched = tuple(tap for tap in judge if tap not in taps)
    return TapMatching(taps, unmatched, output_tap=output_tap)


def _match_output_last(worth: np.ndarray, output: int, taps: list[str]) -> None:
    """Let what the module returns stand for the judge's last tap, or for the logits before it.

    Whatever a part of the module holds, its users get what it returns.
    """
    ends = [row for row, tap in enumerate(taps) if tap in (CLASSIFIER, SOFTMAX)] or [len(taps) - 1]
    row = max(ends, key=lambda end: worth[end, output])
    worth[row, :output] = worth[row, output + 1 :] = 0.0


def _similarity(array: np.ndarray, values: Tensor) -> float:
    """How alike two values are, from 0 to 1; 0 for shapes that differ."""
    if [n for n in array.shape[1:] if n > 1] == [n for n in values.shape[1:] if n > 1]:
        candidate = as_port(array, tuple(values.shape))
    elif array.ndim == 4 and values.ndim == 4:
        candidate = as_port(array, ())
    else:
        return 0.0
    if candidate.shape != values.shape:
        return 0.0
    step = -(-values.numel() // _ELEMENTS)
    left, right = (v.flatten()[::step].double() for v in (candidate, values))
    size = float(left.norm() + right.norm())
    return _ANY_SHAPE_MATCH + (1.0 - float((left - right).norm()) / size if size else 1.0)


def _best_ordered_pairs(worth: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column), both rising, of the greatest total worth."""
    rows, columns = worth.shape
    best = np.zeros((rows + 1, columns + 1))
    for row in range(rows):
        for column in range(columns):
            together = best[row, column] + worth[row, column] if worth[row, column] else -1.0
            best[row + 1, column + 1] = max(best[row, column + 1], best[row + 1, column], together)
    pairs = []
    row, column = rows, columns
    while row and column:
        if best[row, column] == best[row, column - 1]:
            column -= 1
        elif best[row, column] == best[row - 1, column]:
            row -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs[::-1]


def _without_implausible(pairs: list[tuple[int, int]], worth: np.ndarray) -> dict[int, int]:
    """Pairs without those that differ although values behind them agree.

    An error does not go away on the way down: such a value is another one, and
    the one looked for cannot be seen in the module.
    """
    similarity = [worth[pair] - _ANY_SHAPE_MATCH for pair in pairs]
    last = max((place for place, like in enumerate(similarity) if like > _ALIKE), default=-1)
    return {
        row: column
        for place, (row, column) in enumerate(pairs)
        if place > last or similarity[place] > _UNLIKE
    }


def record_values(network: nn.Module, inputs: Tensor) -> tuple[dict[str, Tensor], str]:
    """Every value that enters or leaves a part of a module, once, by its tap, in order.

    The second result is the tap of what the module returns, at its first occurrence.

    Raises:
        BadInput: the module returns no tensor that can be taken for its logits.
    """
    values: dict[str, Tensor] = {}
    tensors: dict[tuple[int, int], tuple[str, Tensor]] = {}

    def record(tap: str, value: Any) -> None:
        # What has no axis of images, as the weights that a parametrisation computes, is no tap.
        if not isinstance(value, Tensor) or value.ndim not in (2, 4) or len(value) != len(inputs):
            return
        # In-place operators raise the version, and make of one tensor another value.
        key = (id(value), value._version)
        if key not in tensors:
            tensors[key] = tap, value
            values[tap] = value.clone()

    runner = inference_copy(network, in_place=True).float()
    check_runs(runner, inputs)
    handles = []
    for path, module in runner.named_modules():
        before, after = _recording_hooks(path or OUTPUT, record)
        handles.append(module.register_forward_hook(after))
        if path:
            handles.append(module.register_forward_pre_hook(before))
    tensors[id(inputs), inputs._version] = "", inputs
    with torch.no_grad():
        result = runner(inputs)
    for handle in handles:
        handle.remove()
    output, output_tap = output_tensor(result), ""
    if output is not None:
        output_tap, _ = tensors.get((id(output), output._version), ("", output))
    if not output_tap:
        what = f"a {type(result).__name__}" if output is None else f"{tuple(output.shape)} values"
        raise BadInput(
            f"{type(network).__name__}: returns {what}; expected its answers, a tensor (N, classes)"
        )
    return values, output_tap


def check_runs(network: nn.Module, inputs: Tensor) -> None:
    """Check that a module takes the inputs, in float32 and in float64, which measures the noise.

    Raises:
        BadInput: it does not, or gives something else each time: whatever noise were
            measured of that, any judge would lie within it.
    """
    for dtype in (torch.float64, torch.float32):
        data = inputs.to(dtype)
        with torch.no_grad(), forward_errors_as_bad_input(network, data):
            runner = copy.deepcopy(network).to(dtype)
            # Whether it gives the same again is seen in either precision.
            results = [output_tensor(runner(data)) for _ in range(1 + (dtype is torch.float32))]
        first, last = results[0], results[-1]
        if first is None or last is None:
            continue
        scale = float(first.abs().max()) if first.numel() else 0.0
        if not torch.allclose(first, last, rtol=0, atol=1e-6 * scale, equal_nan=True):
            raise BadInput(
                f"{type(network).__name__}: gives something else each time it is run on one "
                "input, in evaluation mode; is there a dropout without self.training?"
            )


def _recording_hooks(path: str, record: Callable[[str, Any], None]) -> tuple[Any, Any]:
    calls = {"in": 0, "out": 0}

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls["in"] += 1
        if inputs:
            record(call_name(path + INPUT_OF, calls["in"]), inputs[0])

    def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
        calls["out"] += 1
        value = output_tensor(output) if path == OUTPUT else output
        record(call_name(path, calls["out"]), value)

    return before, after

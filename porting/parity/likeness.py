"""A judge's taps found among the values of somebody's own module, by shape, order and likeness."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from porting.errors import BadInput
from porting.parity.names import CLASSIFIER, SOFTMAX
from porting.parity.taps import (
    INPUT_OF,
    OUTPUT,
    answer_in,
    as_port,
    call_name,
    failures_named,
    prepared,
)

_ELEMENTS = 4096  # of a tap, evenly spaced, on which likeness is judged
_ANY_SHAPE_MATCH = 0.01  # what two values of one shape are worth if nothing else speaks for them
_ALIKE, _UNLIKE = 0.999, 0.9


@dataclass(frozen=True)
class Matching:
    """``taps`` gives, by the judge's tap, the module's; ``unmatched`` are left over.

    ``logits`` is the module's tap from which a softmax is to be computed, None
    where it has one itself. ``returned`` is the module's tap that it returns.
    """

    taps: dict[str, str]
    unmatched: tuple[str, ...]
    logits: str | None = None
    returned: str | None = None

    def with_softmax(self) -> Matching:
        """The same for a module that ends at its logits: the softmax is computed from them."""
        logits = self.taps.get(CLASSIFIER)
        if SOFTMAX not in self.unmatched or logits is None or SOFTMAX in self.taps.values():
            return self
        rest = tuple(tap for tap in self.unmatched if tap != SOFTMAX)
        return replace(self, taps={**self.taps, SOFTMAX: SOFTMAX}, unmatched=rest, logits=logits)


def match_taps(network: nn.Module, inputs: Tensor, judge: Mapping[str, np.ndarray]) -> Matching:
    """Match a judge's taps with a module's values, in order, by shape and likeness.

    ``inputs`` are (1, C, H, W), ``judge`` holds what it gave on them in order
    of depth, NHWC. A module's values are the outputs of all its parts, and
    what flows into them, which shows what was computed without a part of its
    own. Of all matchings in order, the one of the greatest likeness is taken.
    """
    values, returned = record_values(network, inputs)
    candidates = list(values)
    worth = np.zeros((len(judge), len(candidates)))
    for row, array in enumerate(judge.values()):
        for column, name in enumerate(candidates):
            worth[row, column] = _worth(array, values[name])
    _end_at_the_output(worth, candidates.index(returned), list(judge))
    pairs = _without_mistaken(_best_in_order(worth), worth)
    taps = {tap: candidates[pairs[row]] for row, tap in enumerate(judge) if row in pairs}
    return Matching(taps, tuple(tap for tap in judge if tap not in taps), returned=returned)


def _end_at_the_output(worth: np.ndarray, returned: int, taps: list[str]) -> None:
    """Let what the module returns stand for the judge's last tap, or for the logits before it.

    Whatever a part of the module holds, its users get what it returns.
    """
    ends = [row for row, tap in enumerate(taps) if tap in (CLASSIFIER, SOFTMAX)] or [len(taps) - 1]
    row = max(ends, key=lambda end: worth[end, returned])
    worth[row, :returned] = worth[row, returned + 1 :] = 0.0


def _worth(array: np.ndarray, values: Tensor) -> float:
    if [n for n in array.shape[1:] if n > 1] == [n for n in values.shape[1:] if n > 1]:
        aligned = as_port(array, tuple(values.shape))
    elif array.ndim == 4 and values.ndim == 4:
        aligned = as_port(array, ())
    else:
        return 0.0
    if aligned.shape != values.shape:
        return 0.0
    step = -(-values.numel() // _ELEMENTS)
    left, right = (v.flatten()[::step].double() for v in (aligned, values))
    size = float(left.norm() + right.norm())
    return _ANY_SHAPE_MATCH + (1.0 - float((left - right).norm()) / size if size else 1.0)


def _best_in_order(worth: np.ndarray) -> list[tuple[int, int]]:
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


def _without_mistaken(pairs: list[tuple[int, int]], worth: np.ndarray) -> dict[int, int]:
    """Pairs without those unlike each other although what follows is alike.

    An error does not go away on the way down: such a value is another one, and
    the one looked for cannot be seen in the module.
    """
    likeness = [worth[pair] - _ANY_SHAPE_MATCH for pair in pairs]
    last = max((place for place, like in enumerate(likeness) if like > _ALIKE), default=-1)
    return {
        row: column
        for place, (row, column) in enumerate(pairs)
        if place > last or likeness[place] > _UNLIKE
    }


def record_values(network: nn.Module, inputs: Tensor) -> tuple[dict[str, Tensor], str]:
    """Every value that enters or leaves a part of a module, once, by its tap, in order.

    Returned as well is the tap of what the module returns, wherever it was first seen.

    Raises:
        BadInput: it returns no tensor that could be told to be its answer.
    """
    seen: dict[str, Tensor] = {}
    known: dict[tuple[int, int], tuple[str, Tensor]] = {}

    def note(tap: str, value: Any) -> None:
        # What has no axis of images, as the weights that a parametrisation computes, is no tap.
        if not isinstance(value, Tensor) or value.ndim not in (2, 4) or len(value) != len(inputs):
            return
        # In-place operators raise the version, and make of one tensor another value.
        key = (id(value), value._version)
        if key not in known:
            known[key] = tap, value
            seen[tap] = value.clone()

    copied = prepared(network, in_place=True).float()
    check_runs(copied, inputs)
    handles = []
    for path, module in copied.named_modules():
        before, after = _noters(path or OUTPUT, note)
        handles.append(module.register_forward_hook(after))
        if path:
            handles.append(module.register_forward_pre_hook(before))
    known[id(inputs), inputs._version] = "", inputs
    with torch.no_grad():
        returned = copied(inputs)
    for handle in handles:
        handle.remove()
    answer = answer_in(returned)
    tap, _ = ("", None) if answer is None else known.get((id(answer), answer._version), ("", None))
    if not tap:
        what = f"a {type(returned).__name__}" if answer is None else f"{tuple(answer.shape)} values"
        raise BadInput(
            f"{type(network).__name__}: returns {what}; expected its answers, a tensor (N, classes)"
        )
    return seen, tap


def check_runs(network: nn.Module, inputs: Tensor) -> None:
    """See that a module takes the inputs, in float32 and in float64, which measures the noise.

    Raises:
        BadInput: it does not, or gives something else each time: whatever noise were
            measured of that, any judge would lie within it.
    """
    for dtype in (torch.float64, torch.float32):
        given = inputs.to(dtype)
        with torch.no_grad(), failures_named(network, given):
            converted = copy.deepcopy(network).to(dtype)
            # Whether it gives the same again is seen in either precision.
            results = [answer_in(converted(given)) for _ in range(1 + (dtype is torch.float32))]
        first, last = results[0], results[-1]
        if first is not None and last is not None and not _same(first, last):
            raise BadInput(
                f"{type(network).__name__}: gives something else each time it is run on one "
                "input, in evaluation mode; is there a dropout without self.training?"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    scale = float(one.abs().max()) if one.numel() else 0.0
    return bool(torch.allclose(one, other, rtol=0, atol=1e-6 * scale, equal_nan=True))


def _noters(path: str, note: Callable[[str, Any], None]) -> tuple[Any, Any]:
    calls = {"in": 0, "out": 0}

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls["in"] += 1
        if inputs:
            note(call_name(path + INPUT_OF, calls["in"]), inputs[0])

    def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
        calls["out"] += 1
        value = answer_in(output) if path == OUTPUT else output
        note(call_name(path, calls["out"]), value)

    return before, after

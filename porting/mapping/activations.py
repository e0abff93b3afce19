"""Activations in a graph: fused into an operator, operators of their own, or spelled out.

Hard-swish is ``x * relu6(x + 3) / 6`` and the hard sigmoid ``relu6(x + 3) / 6``;
exporters write them as one operator or as three and two, in more than one order.
"""

from __future__ import annotations

import numpy as np

from porting.mapping.operators import constant_of, describe, is_constant, is_plain
from porting.mapping.walk import Walk
from porting.sources.source import Operator

_OWN = {"relu": "RELU", "relu6": "RELU6", "hard_swish": "HARD_SWISH"}
_TOLERANCE = 1e-4  # slim writes 0.16667 for 1/6


def take_activation(walk: Walk, operator: Operator, wanted: str, described: str) -> bool:
    """Go past the activation behind ``operator``; whether it was an operator of its own.

    Raises:
        GraphMismatch: there is another one, or none.
    """
    fused = operator.options.get("activation", "none")
    if fused == wanted or (fused == "none" and _implied(walk, operator, wanted)):
        return False
    if fused != "none":
        raise walk.fail(describe(operator, walk.source), described)
    if wanted == "none":
        return False
    if own := walk.next(_OWN[wanted]):
        walk.visit(own)
        return True
    if wanted == "hard_swish" and walk.next("ADD"):
        _spelled_out_swish(walk, described)
        return True
    raise walk.fail(f"{describe(operator, walk.source)}, then {walk.ahead()}", described)


def _implied(walk: Walk, operator: Operator, wanted: str) -> bool:
    """Whether an operator's quantised output makes the clamp by itself.

    Converters leave an activation out where its ends are those of what the output can hold.
    """
    info = walk.source.activations.get(operator.outputs[0])
    if info is None or info.range is None or wanted not in ("relu", "relu6"):
        return False
    low, high = info.range
    step = (high - low) / 255
    return abs(low) < step / 2 and (wanted == "relu" or high < 6 + step / 2)


def take_gate(walk: Walk, path: str, gate: str, clamped: bool = False) -> float:
    """Go past a squeeze-excite's gate; how many times the network's the graph's is.

    ``clamped`` says that the operator before has made ``relu6(x + 3)`` of it.

    Raises:
        GraphMismatch: there is another function.
    """
    expected = f"{path}.gate ({gate})"
    if gate == "sigmoid":
        walk.take(("LOGISTIC",), expected)
        return 1.0
    if not clamped:
        _plus_three(walk, expected)
    return 6.0 * _scale(walk, expected)


def _spelled_out_swish(walk: Walk, expected: str) -> None:
    """``x * relu6(x + 3) / 6``, the product taken before or after the division."""
    entry = walk.cursor
    _plus_three(walk, expected)
    multiplied = False
    for _ in range(2):
        operator = walk.take(("MUL", "DIV"), expected)
        if not multiplied and _multiplies(operator, entry):
            multiplied = True
        elif not _is_sixth(walk, operator):
            raise walk.fail(describe(operator, walk.source), expected)
    if not multiplied:
        raise walk.fail("it divides by 6 twice", expected)


def _multiplies(operator: Operator, entry: str) -> bool:
    return operator.kind == "MUL" and entry in operator.inputs and is_plain(operator)


def _plus_three(walk: Walk, expected: str) -> None:
    operator = walk.take(("ADD",), expected)
    if not _is_near(constant_of(operator, walk.source), 3.0):
        raise walk.fail(describe(operator, walk.source), expected)
    fused = operator.options.get("activation", "none")
    if fused == "none" and not _implied(walk, operator, "relu6"):
        walk.take(("RELU6",), expected)
    elif fused not in ("none", "relu6"):
        raise walk.fail(describe(operator, walk.source), expected)


def _scale(walk: Walk, expected: str) -> float:
    operator = walk.take(("MUL", "DIV"), expected)
    if not _is_sixth(walk, operator):
        raise walk.fail(describe(operator, walk.source), expected)
    constant = constant_of(operator, walk.source)
    assert constant is not None  # _is_sixth looked at it
    factor = float(constant.ravel()[0])
    return factor if operator.kind == "MUL" else 1.0 / factor


def _is_sixth(walk: Walk, operator: Operator) -> bool:
    wanted = 1 / 6 if operator.kind == "MUL" else 6.0
    turned = operator.kind == "DIV" and is_constant(operator.inputs[0] or "", walk.source)
    return (
        not turned and is_plain(operator) and _is_near(constant_of(operator, walk.source), wanted)
    )


def _is_near(constant: np.ndarray | None, wanted: float) -> bool:
    return constant is not None and bool(
        constant.size and np.all(np.abs(constant - wanted) <= _TOLERANCE * wanted)
    )

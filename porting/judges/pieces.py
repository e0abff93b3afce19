"""Running a network piece by piece: each tap from values that are fed at the taps before it.

A session or a model computes a value from values that are fed in its stead, but not from
both itself and its substitute at once. So taps are computed in a few groups, none of which
holds a tap and one that it is directly computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def direct_inputs(
    value: Value, taps: Collection[Value], inputs_of: Callable[[Value], Iterable[Value]]
) -> set[Value]:
    """The taps that a value is computed from with no other tap between.

    ``inputs_of`` gives what a value is computed from in one step.
    """
    nearest: set[Value] = set()
    history: set[Value] = set()
    pending = list(inputs_of(value))
    while pending:
        step = pending.pop()
        if step in history:
            continue
        history.add(step)
        if step in taps:
            nearest.add(step)
        else:
            pending += inputs_of(step)
    return nearest


def groups_of(inputs: Mapping[Value, Collection[Value]]) -> list[list[Value]]:
    """Taps in groups that hold no tap together with a direct input of it.

    ``inputs`` are the direct inputs of each tap. Networks without branches need two groups,
    those with squeeze-excite three.
    """
    groups: list[list[Value]] = []
    for tap, tap_inputs in inputs.items():
        for group in groups:
            if not any(other in tap_inputs or tap in inputs[other] for other in group):
                group.append(tap)
                break
        else:
            groups.append([tap])
    return groups

"""What a judge is, what it gives back, and how one runs its network piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

INPUT = "input"
"""The judge's tap for what the network proper gets, after any normalisation in its graph."""

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True)
class Run:
    """One run of a judge.

    ``taps`` maps a tap to its values: NHWC, batch first, or (N, C) where the
    judge has no spatial axes. ``judge`` and ``version`` say who ran it.
    ``steps`` gives, for a tap that the judge held in integers, how far two
    neighbouring values differ in real units.
    """

    taps: Mapping[str, np.ndarray]
    judge: str
    version: str
    steps: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Runs the TensorFlow side; ``taps`` gives, by tap, the judge's own name of the tensor.

    ``name`` and ``version`` are those of the library that runs it.
    """

    name: str
    version: str

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the network on inputs (N, H, W, C); taps are NHWC or (N, C)."""

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Compute each tap from ``values``, which are fed at the taps before it.

        ``inputs`` (1, H, W, C) are what the network itself gets. A tap without a value is computed
        and not fed.

        Raises:
            NoPieces: this judge cannot.
        """


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

    A session or a model computes a value from values that are fed in its stead, but not from both
    itself and its substitute at once, so each group needs its own run. ``inputs`` are the direct
    inputs of each tap. Networks without branches need two groups, those with squeeze-excite three.
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

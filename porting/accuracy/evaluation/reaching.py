"""How far several changes at once bring a port to what is stated, and which of them to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from porting.accuracy.evaluation.explanation import Answered, Effect
from porting.accuracy.evaluation.figures import SIGNIFICANT, Difference, difference, holm


@dataclass(frozen=True)
class Reached:
    """How far changes bring the port: what they do, and what it then answers."""

    effect: Effect
    answers: Answered

    def step_from(self, before: Reached) -> Difference:
        """From what was reached before to this, on the images that both answer."""
        both = self.answers.usable & before.answers.usable
        return difference(before.answers.right()[both], self.answers.right()[both])


def nearest(first: Reached, longer: Sequence[Reached], stated: float) -> Reached:
    """Of ever more changes at once those beyond which more bring nothing.

    Each step is held against chance as one of so many.
    """
    kept = first
    for more in longer:
        step = more.step_from(kept)
        if step.p < SIGNIFICANT / len(longer) and step.comes_nearer(stated - kept.effect.top1):
            kept = more
    return kept


def best_step(kept: Reached, others: Sequence[Reached], stated: float) -> Reached:
    """Of others, each with one change more, the nearest that is not so by chance; else the same."""
    steps = [other.step_from(kept) for other in others]
    gap = stated - kept.effect.top1
    found = [
        other for other, step, p in zip(others, steps, holm([s.p for s in steps]), strict=True)
        if p < SIGNIFICANT and step.comes_nearer(gap)
    ]  # fmt: skip
    return min(found, key=lambda other: other.effect.remaining(stated), default=kept)

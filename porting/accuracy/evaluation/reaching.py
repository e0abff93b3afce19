"""How far several changes at once bring a port to what is stated, and which of them to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from porting.accuracy.evaluation.explanation import Answered, Effect
from porting.accuracy.evaluation.figures import SIGNIFICANT, difference, holm


@dataclass(frozen=True)
class Reached:
    """How far changes bring the port: what they do, and what it then answers."""

    effect: Effect
    answers: Answered

    def step_from(self, before: Reached) -> float:
        """McNemar's p of the difference between the two."""
        both = self.answers.usable & before.answers.usable
        return difference(before.answers.right()[both], self.answers.right()[both]).p


def nearest(first: Reached, longer: Sequence[Reached], stated: float) -> Reached:
    """Of ever more changes at once those beyond which more bring nothing."""
    kept = first
    for more in longer:
        if more.step_from(kept) < SIGNIFICANT and _nearer(more, kept, stated):
            kept = more
    return kept


def best_step(kept: Reached, others: Sequence[Reached], stated: float) -> Reached:
    """Of others, each with one change more, the nearest that is not so by chance; else the same."""
    adjusted = holm([other.step_from(kept) for other in others])
    found = [
        other for other, p in zip(others, adjusted, strict=True)
        if p < SIGNIFICANT and _nearer(other, kept, stated)
    ]  # fmt: skip
    return min(found, key=lambda other: other.effect.remaining(stated), default=kept)


def _nearer(one: Reached, other: Reached, stated: float) -> bool:
    return one.effect.remaining(stated) < other.effect.remaining(stated)

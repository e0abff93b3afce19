"""How far changes move a port's accuracy, and which of them explain its gap to the stated one.

Each change moves the port's top-1, counted on the images that both answer. A
change *helps* where that is more than chance does among so many changes, and brings
the port nearer to what is stated: at its interval's end it is no further off. What
is written of it is described by ``explanation`` in ``porting/reports/evaluation_schema.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from porting.accuracy.evaluation.batch import ANSWERED, UNANSWERED, Answers
from porting.accuracy.evaluation.changes import (
    PARTS,
    PREPROCESSING,
    Change,
    LeftOut,
)
from porting.accuracy.evaluation.significance import (
    SIGNIFICANT,
    Difference,
    difference,
    holm,
    right,
    share,
)


@dataclass(frozen=True)
class SideAnswers:
    """The five best classes of one side (N, 5), the labels (N,), and which are ``usable`` (N,)."""

    best: np.ndarray
    labels: np.ndarray
    usable: np.ndarray

    def right(self) -> np.ndarray:
        """(N,) whether the first answer is the label."""
        return right(self.best, self.labels, 1)


@dataclass(frozen=True)
class Effect:
    """How one change, or several at once, move the port's top-1 of ``base`` percent.

    ``p`` is McNemar's; of a single change it is adjusted by :func:`with_adjusted_p`.
    """

    changes: tuple[Change, ...]
    base: float
    difference: Difference
    p: float

    @property
    def top1(self) -> float:
        """The port's top-1 in percent as it would be with the changes."""
        return min(max(self.base + self.difference.points, 0.0), 100.0)

    def remaining(self, stated: float) -> float:
        """How many points are then left to what is stated."""
        return abs(stated - self.top1)

    def helps(self, stated: float | None) -> bool:
        """Whether it comes nearer, beyond chance."""
        if stated is None:
            return False
        return self.p < SIGNIFICANT and self.difference.comes_nearer(stated - self.base)


@dataclass(frozen=True)
class Explanation:
    """Effects of single changes and of several at once, against ``stated`` in percent.

    ``chance`` is whether the stated accuracy is within the interval of the port's.
    """

    base: float
    stated: float | None
    chance: bool
    effects: tuple[Effect, ...]
    left_out: tuple[LeftOut, ...]
    combined: Effect | None = None

    @property
    def best(self) -> Effect | None:
        """The single change that explains most."""
        return next(iter(self.helping()), None)

    def helping(self) -> list[Effect]:
        """Single changes that help, the one that leaves the least first."""
        stated = self.stated
        if stated is None:
            return []
        helping = (effect for effect in self.effects if effect.helps(stated))
        return sorted(helping, key=lambda effect: effect.remaining(stated))

    def best_by_topic(self) -> list[Effect]:
        """The best change of each topic that helps, the best of all first.

        The preprocessing as a whole stands for its parts: the authors' is what
        the stated accuracy was measured with, and a part helps for its sake.
        """
        helping = self.helping()
        topics = {effect.changes[0].topic for effect in helping}
        if PREPROCESSING in topics:
            topics -= PARTS.keys()
        best: dict[str, Effect] = {}
        for effect in helping:
            if effect.changes[0].topic in topics:
                best.setdefault(effect.changes[0].topic, effect)
        return list(best.values())

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain data, for the report."""
        best = self.best
        return {
            "base": self.base,
            "stated": self.stated,
            "changes": [
                {
                    **_named(effect),
                    **_figures(effect),
                    "adjusted_p": effect.p,
                    "helps": effect.helps(self.stated),
                }
                for effect in self.effects
            ],
            "left_out": [asdict(left) for left in self.left_out],
            "best": None if best is None else _named(best) | self._reached(best),
            "combined": None if self.combined is None else self._combined(self.combined),
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """What explains the gap, in words."""
        if self.stated is None:
            return "no accuracy is stated to explain the distance to; give it with --stated"
        gap = f"{abs(self.stated - self.base):.2f} points between the port's {self.base:.2f} and"
        chance = "; so few images leave that distance within chance" if self.chance else ""
        of_stated = f"the stated {self.stated:.2f}"
        best = self.best
        if best is None:
            return f"no single change explains the {gap} {of_stated} beyond chance{chance}"
        if self.combined is None:
            (change,) = best.changes
            return f"{_words(change, best.difference)}: {best.top1:.2f} of {of_stated}{chance}"
        alone = {effect.changes[0]: effect for effect in self.effects}
        parts = [
            _words(change, alone[change].difference, " alone") for change in self.combined.changes
        ]
        together = f"together {self.combined.difference.points:+.2f}"
        return f"{' and '.join(parts)}, {together}: {self.combined.top1:.2f} of {of_stated}{chance}"

    def _reached(self, effect: Effect) -> dict[str, float]:
        assert self.stated is not None  # nothing helps otherwise
        points = effect.difference.points
        return {"points": points, "top1": effect.top1, "remaining": effect.remaining(self.stated)}

    def _combined(self, effect: Effect) -> dict[str, Any]:
        alone = {one.changes[0]: one for one in self.effects}
        each = [
            {**_named(alone[change]), "points": alone[change].difference.points}
            for change in effect.changes
        ]
        return {"changes": each, **_figures(effect), **self._reached(effect)}


def side_answers(answers: Answers, labels: np.ndarray, column: int, shift: int = 0) -> SideAnswers:
    """The answers of one side, with ``shift`` added to the labels."""
    best = answers.best[:, column]
    usable = (answers.state == ANSWERED) & (best[:, 0] != UNANSWERED)
    return SideAnswers(best, np.where(labels < 0, UNANSWERED, labels + shift), usable)


def effect_of(changes: Sequence[Change], base: SideAnswers, other: SideAnswers) -> Effect | None:
    """Compare on the images that both answer; None where there is no such image."""
    both = base.usable & other.usable
    if not both.any():
        return None
    change = difference(base.right()[both], other.right()[both])
    return Effect(tuple(changes), 100 * float(base.right()[base.usable].mean()), change, change.p)


def with_adjusted_p(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """The same effects, with Holm-adjusted p-values."""
    adjusted = holm([effect.p for effect in effects])
    return tuple(replace(effect, p=p) for effect, p in zip(effects, adjusted, strict=True))


def within_chance(base: SideAnswers, stated: float | None) -> bool:
    """Whether the stated top-1 in percent is in the confidence interval of the measured one."""
    if stated is None:
        return False
    top1 = share(int(base.right()[base.usable].sum()), int(base.usable.sum()))
    return top1.low <= stated <= top1.high


@dataclass(frozen=True)
class Outcome:
    """The effect of several changes, and the port's answers with them."""

    effect: Effect
    answers: SideAnswers

    def step_from(self, before: Outcome) -> Difference:
        """The difference in accuracy to what was reached before, on the images that both answer."""
        both = self.answers.usable & before.answers.usable
        return difference(before.answers.right()[both], self.answers.right()[both])


def best_step(before: Outcome, others: Sequence[Outcome], stated: float) -> Outcome:
    """Of others, each with one change more, the nearest that is so beyond chance; else the same."""
    steps = [other.step_from(before) for other in others]
    gap = stated - before.effect.top1
    nearer = [
        other for other, step, p in zip(others, steps, holm([s.p for s in steps]), strict=True)
        if p < SIGNIFICANT and step.comes_nearer(gap)
    ]  # fmt: skip
    return min(nearer, key=lambda other: other.effect.remaining(stated), default=before)


def _named(effect: Effect) -> dict[str, str]:
    (change,) = effect.changes
    return {"topic": change.topic, "change": change.words}


def _figures(effect: Effect) -> dict[str, Any]:
    change = effect.difference
    return {"top1": effect.top1, "points": change.points, **asdict(change)}


def _words(change: Change, alone: Difference, by_itself: str = "") -> str:
    return f"{change.topic} ({change.words}) {alone.points:+.2f}{by_itself}"
